"""The reader of YAML: bombs are refused before they are expanded, faults are named with their file and line."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import process_time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from world_models.files.yaml_reading import MAX_BYTES, YamlError, load_yaml, parse_yaml

LETTERS = "abcdefghi"
ALIASES = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in pairwise(LETTERS)
)
MERGES = ALIASES.replace("[x,x,x,x,x,x,x,x,x,x]", "{k: 1}").replace(" [*", " {<<: [*").replace("]\n", "]}\n")
FAULTS = [
    (ALIASES, r"line 5: aliases repeat more than"),
    (MERGES, r"line \d: aliases repeat more than"),
    ("a: &a [*a]", "an alias contains itself"),
    ("[" * 100_000, "nested deeper"),
    ("- " * 5_000 + "x", "nested deeper"),
    ("a: 1\nb: " + ":".join(["1"] * 90_000), "line 2: a number has more than"),
    ("a: 1\nb: " + "1" * 5_000, "line 2: a number has more than"),
    ("a:\n\tb: 1", "line 2: a tab cannot indent YAML"),
    ("a: 1\nb:\n  c: 1\n  c: 2", "line 4: the key 'c' is given twice"),
    ("1: a\n0x1: b", "line 2: the key 1 is given twice"),
    ("? [a]\n: 1", "line 1: a key is a list"),
    ("a: 1\nb: 2025-13-45", "line 2: .*month"),
    ("a: !!python/object/apply:os.system [ls]", "line 1: .*tag"),
    ("a: 1\n---\nb: 1", "line 2"),
    ("a: 1\nb: \0", "line 2: the character"),
    ("a: [", "line 1"),
]


@pytest.mark.parametrize(("text", "sentence"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_named_with_its_file_and_line_at_once(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "my.yaml").write_text(text)
    before = process_time()
    with pytest.raises(YamlError, match=rf"^config file '.*my\.yaml' cannot be read \((?s:.*){sentence}.*\): correct"):
        load_yaml(tmp_path / "my.yaml", "config file")
    assert process_time() - before < 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_are_told_by_their_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "my.yaml").write_bytes("name: 墙é\n".encode(encoding))
    assert load_yaml(tmp_path / "my.yaml", "config file") == {"name": "墙é"}


@pytest.mark.parametrize(("data", "sentence"), [(b"b: 1\na: \xe9\n", "line 2: .*UTF-8"), (b"x" * (MAX_BYTES + 1), "too large")])
def test_what_is_no_text_or_too_large_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "my.yaml").write_bytes(data)
    with pytest.raises(YamlError, match=sentence):
        load_yaml(tmp_path / "my.yaml", "config file")


def test_sound_files_are_read_as_yaml_reads_them(tmp_path: Path) -> None:
    text = "a: &a {k: 1}\nb: {<<: *a, k: 2}\nc: [*a, *a, 1:20, 0x1F, ~, 2025-01-02, 1e3, 'x']\n"
    assert parse_yaml(text, "config file", "here") == yaml.safe_load(text)
    assert parse_yaml("", "config file", "here") is None
    with pytest.raises(YamlError, match="No such file"):
        load_yaml(tmp_path / "none.yaml", "config file")


PIECES = [
    *"[]{}:,-?*&!|>\"'%\n\t #",
    "a: ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!set ",
    "!!omap ",
    "!!timestamp ",
    "!!int ",
    "x",
    "\ufeff",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(YamlError):
        parse_yaml(text, "config file", "here")
