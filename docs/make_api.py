"""Write docs/api.md from the docstrings of the public names: `python docs/make_api.py` in the repository's root."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from importlib import import_module
from pathlib import Path

import grasp_orchestrator

PAGE = Path(__file__).with_name("api.md")
CALLS = ("sweep", "load_sweep", "Sweep", "Agreement", "plan", "Planned", "tune", "load_study", "Study")
"""Names that the page explains in full, in its order: examples use what those before them have made."""
PACKAGES = ("world_models", "planners", "orchestrator", "sweeps")
TESTING = ("world_models.testing", "planners.testing", "orchestrator.testing")
INTRODUCTION = """# The Python interface

This page is made from the docstrings by `python docs/make_api.py`; its examples are run by the tests, from top to bottom.

```python
import grasp_orchestrator as grasp
```

Names that are listed here are public. Everything else is private by convention: it may move or change from one version to the
next.
"""


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for name in CALLS:
        parts += _entry(f"grasp.{name}", getattr(grasp_orchestrator, name), level=2)
    others = [name for name in grasp_orchestrator.__all__ if name not in CALLS]
    parts.append("## Other names of `grasp_orchestrator`\n\n" + _table(grasp_orchestrator.__name__, others))
    parts += [f"## `{name}`\n\n" + _summary(name) + _table(name, import_module(name).__all__) for name in (*PACKAGES, *TESTING)]
    return "\n".join(parts)


def _entry(name: str, value: object, level: int) -> list[str]:
    """A heading, the signature and the docstring of a name; of a class, its public members as well."""
    heading = f"{'#' * level} `{name}`\n"
    if isinstance(value, property):
        return [heading, f"Property. {_doc(value)}"]
    signature = "" if inspect.isclass(value) else f"```python\n{name.rpartition('.')[2]}{_signature(value)}\n```\n\n"
    parts = [heading, signature + _doc(value)]
    if inspect.isclass(value):
        members = {key: one for key, one in vars(value).items() if not key.startswith("_") and _documented(one)}
        for key, member in members.items():
            parts += _entry(f"{name.rpartition('.')[2]}.{key}", member, level + 1)
    return parts


def _documented(member: object) -> bool:
    return isinstance(member, property) or inspect.isfunction(member)


def _signature(value: object) -> str:
    """Parameters and return type as the source has them, one parameter to a line where they are many."""
    assert callable(value)
    signature = inspect.signature(value)
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    words = []
    for plain, typed in zip(parameters, signature.parameters.values(), strict=True):
        if plain.name == "self":
            continue
        kind = {plain.VAR_POSITIONAL: "*", plain.VAR_KEYWORD: "**"}.get(plain.kind, "")
        annotation = "" if typed.annotation is typed.empty else f": {typed.annotation}"
        default = "" if plain.default is plain.empty else f" = {plain.default!r}"
        words.append(f"{kind}{plain.name}{annotation}{default}")
    result = f" -> {signature.return_annotation}"
    line = f"({', '.join(words)}){result}"
    return line if len(line) < 90 else "(\n" + "".join(f"    {word},\n" for word in words) + f"){result}"


def _doc(value: object) -> str:
    """The docstring with its examples fenced; a blank line ends each, so that doctest reads the page."""
    text = inspect.getdoc(value) or ""
    return re.sub(r"(?m)^(>>> (?:.|\n)*?)(?=\n\n(?!>>> )|\Z)", r"```pycon\n\1\n\n```", text) + "\n"


def _summary(module: str) -> str:
    return (inspect.getdoc(import_module(module)) or "").partition("\n")[0] + "\n\n"


def _table(module: str, names: list[str]) -> str:
    """Names with the first sentence of each."""
    rows = [f"| `{name}` | {_first(getattr(import_module(module), name))} |" for name in sorted(names, key=str.lower)]
    return "\n".join(["| name | what it is |", "|---|---|", *rows, ""])


def _first(value: object) -> str:
    """The first paragraph of a docstring as one line; of values that have none of their own, their type."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return f"a `{type(value).__name__}`"
    text = (inspect.getdoc(value) or "").partition("\n\n")[0]
    plain = dataclasses.is_dataclass(value) or (inspect.isclass(value) and issubclass(value, enum.Enum))
    return " ".join(text.split()).replace("|", r"\|") if not plain or text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
