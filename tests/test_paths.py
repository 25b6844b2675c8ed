"""House rule: text becomes a part of a path, or of an address, in one module each, which check and quote it.

A path is joined from names that the code spells out, or by `world_models.files.names.inside`. What pathlib checks itself
(`with_name`, `with_suffix`) is fine, and so are values that are numbers by their format (`{k:d}`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TREES = ("world_models", "orchestrator", "sweeps")
JOINS = "world_models/files/names.py"
"""Where paths are joined."""
URIS = "orchestrator/storage/uris.py"
"""Where addresses are made."""
SCHEMES = ("sqlite", "http", "https", "file", "s3", "gs", "gcs", "abfs", "abfss", "postgresql", "ray", "mlflow-artifacts")
MASKS = "orchestrator/core/messages.py"
"""Where addresses are shown to people, without their secrets."""
WORDS = {"say", "require", "UserError", "refusal"}
"""Calls whose arguments are sentences for people."""


def is_composed(node: ast.expr) -> bool:
    """Whether an expression makes a text of values: an f-string, `str(...)`, a sum or a `%` or `format` of texts."""
    match node:
        case ast.JoinedStr(values=values):
            return any(isinstance(value, ast.FormattedValue) and not is_number(value) for value in values)
        case ast.Call(func=ast.Name(id="str")):
            return True
        case ast.Call(func=ast.Attribute(attr="format" | "join", value=ast.Constant(value=str()))):
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            return any(is_text(half) or is_composed(half) for half in (left, right))
    return False


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_number(value: ast.FormattedValue) -> bool:
    """Whether a value is a whole number by its format, so that any other raises."""
    spec = value.format_spec
    last = spec.values[-1] if isinstance(spec, ast.JoinedStr) and spec.values else None
    return isinstance(last, ast.Constant) and str(last.value).endswith("d")


def composed_paths(tree: ast.AST) -> Iterator[int]:
    """Lines where a path is made of composed text."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.Div(), right=right) if is_composed(right):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr="joinpath"), args=args) if any(map(is_composed, args)):
                yield node.lineno
            case ast.Call(func=ast.Name(id="Path" | "PurePosixPath"), args=args) if any(
                is_composed(one) and not isinstance(one, ast.Call) for one in args
            ):
                yield node.lineno


def composed_addresses(tree: ast.AST) -> Iterator[int]:
    """Lines where an address is made of text; sentences for people may hold one."""
    for node in outside_of_sentences(tree):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=first), *rest]) if rest and begins_with_scheme(first):
                yield node.lineno
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str() as second), *_]) if second.startswith(
                "://"
            ):
                yield node.lineno
            case ast.BinOp(op=ast.Add() | ast.Mod(), left=ast.Constant(value=first)) if begins_with_scheme(first):
                yield node.lineno


def begins_with_scheme(text: object) -> bool:
    return isinstance(text, str) and any(text.startswith(f"{scheme}:/") for scheme in SCHEMES)


def outside_of_sentences(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        called = node.func if isinstance(node, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else None
        if name not in WORDS:
            yield node
            waiting += ast.iter_child_nodes(node)


def faults(path: str, source: str) -> list[str]:
    tree = ast.parse(source)
    found = [] if path == JOINS else [f"{path}:{line}: a path of composed text: use inside()" for line in composed_paths(tree)]
    if path not in (URIS, MASKS):
        found += [f"{path}:{line}: an address of composed text: use {URIS}" for line in composed_addresses(tree)]
    return found


@pytest.mark.parametrize("folder", TREES)
def test_paths_and_addresses_are_made_in_one_place_each(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [one for file in files for one in faults(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "planted",
    [
        'file = folder / f"{name}.json"',
        "file = out / str(config['name'])",
        'file = root / (name + ".zip")',
        'file = Path(f"{name}.grasp.zip")',
        'file = root.joinpath("a", "%s.txt" % name)',
        'uri = f"sqlite:///{file}"',
        'uri = "file://" + str(folder)',
        'uri = f"{scheme}://{host}"',
    ],
)
def test_planted_examples_are_found(planted: str) -> None:
    assert len(faults("sweeps/planted.py", planted)) == 1


@pytest.mark.parametrize(
    "sound",
    [
        'file = folder / "report.txt"',
        'file = inside(folder, f"{name}.json")',
        'part = folder / f"{number:08d}.json"',
        'temporary = file.with_name(f".{file.name}.tmp")',
        "share = done / (total + 1)",
        'raise UserError(f"http://{host} cannot be reached")',
    ],
)
def test_what_is_checked_elsewhere_is_left_alone(sound: str) -> None:
    assert faults("sweeps/sound.py", sound) == []
