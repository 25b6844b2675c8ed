"""Brings the pages at the repository root into the site, so that the same text and links work on a git host and in the site."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT_PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Names at the root, and the names of their pages."""
ROOT_LINK = re.compile(r"\]\((?:\.\./)?(README|CONTRIBUTING|CHANGELOG)\.md(?=[#)])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages. `docs/page.md` there is `page.md` here."""
    root = Path(config.config_file_path).parent
    for name, page in ROOT_PAGES.items():
        text = (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to the root's pages at their pages in the site."""
    return ROOT_LINK.sub(lambda link: f"]({ROOT_PAGES[link[1] + '.md']}", markdown)
