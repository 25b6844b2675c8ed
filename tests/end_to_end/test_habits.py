"""The checks before a commit are those of `make check`, and CI runs every target that it should."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    (body,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().removeprefix("@") for line in body.splitlines()]


def test_pre_commit_runs_what_make_check_runs_and_fast_tests_before_a_push():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [hook["entry"] for hook in hooks if "stages" not in hook] == recipe("check")
    assert [hook["entry"] for hook in hooks if hook.get("stages") == ["pre-push"]] == ["make test-fast"]
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)


def test_ci_runs_checks_tests_and_documentation():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    called = [found[1] for line in lines if (found := re.match(r"make ([a-z-]+)", line))]
    assert called == ["check", "docs", "test", "test-long"]


def test_documentation_is_built_strictly():
    (build,) = [command for command in recipe("docs") if "mkdocs build" in command]
    assert "--strict" in build


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
)
def test_links_lead_to_files_on_a_git_host_too(page):
    """The site's build checks them as the site has them, with their anchors."""
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing
