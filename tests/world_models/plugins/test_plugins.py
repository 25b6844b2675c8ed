"""Plug-ins are found by what the user names, imported only then, and known by their code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.plugins import clean_plugins
from world_models.errors import UnknownNameError, UserError
from world_models.plugins import Kind, Registry, is_target, pack, read_target, unpack
from world_models.plugins.importing import load_target
from world_models.plugins.sources import sources_of


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with clean_plugins():
        yield


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", ["a:B", "a.b:C", "a.b:C.D", "./a.py:B", "/x/y z.py:B", "~/a.py:B", "a.py:B"])
def test_targets_are_told_from_names(text: str) -> None:
    assert is_target(text)


@pytest.mark.parametrize(
    "text",
    ["wall", "outputs/models/x", "s3://bucket/a", "http://h:80", "a:", ":B", "a b:C", "mpc:10", 3, None, "C:/x", "a-b:C"],
)
def test_names_are_not_targets(text: object) -> None:
    assert not is_target(text)


def test_a_file_is_looked_for_in_each_folder_and_named_where_it_is_not(tmp_path: Path) -> None:
    file = written(tmp_path / "b", "plug_one.py", "X = 1")
    target = read_target("./plug_one.py:X", (tmp_path / "a", tmp_path / "b"))
    assert (target.file, target.text) == (file.resolve(), "plug_one.py:X")
    with pytest.raises(UserError, match=r"there is no file plug_one.py in .*a: give its path"):
        read_target("plug_one.py:X", (tmp_path / "a",))
    written(tmp_path, "two-words.py", "")
    with pytest.raises(UserError, match="cannot have the name 'two-words'"):
        read_target("two-words.py:X", (tmp_path,))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "cannot be imported .ZeroDivisionError: division by zero.; it was looked for in"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_thing_at_all", "No module named 'no_such_thing_at_all'"),
        ("def (", "SyntaxError"),
        ("A = 1", "has no Plug; it has A"),
        ("import time; time.sleep(30)", "has not ended after 0.3 s"),
    ],
)
def test_an_import_that_fails_is_one_sentence(source: str, said: str, tmp_path: Path) -> None:
    name = f"plug_{len(source)}"
    written(tmp_path, f"{name}.py", source)
    with pytest.raises(UserError, match=said) as caught:
        load_target(read_target(f"{name}.py:Plug", (tmp_path,)), seconds=0.3 if "sleep" in source else 20.0)
    assert "\n" not in str(caught.value)


def test_a_plug_in_that_prints_spoils_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "plug_prints.py", "print('hello')\nclass Plug: pass")
    load_target(read_target("plug_prints.py:Plug", (tmp_path,)))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


@pytest.mark.parametrize("name", ["json", "planners", "numpy"])
def test_a_file_with_the_name_of_another_module_is_refused(name: str, tmp_path: Path) -> None:
    written(tmp_path, f"{name}.py", "class Plug: pass")
    with pytest.raises(UserError, match=r"has the name of another module.*rename the file"):
        load_target(read_target(f"{name}.py:Plug", (tmp_path,)))


def test_the_digest_is_of_a_file_and_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    written(tmp_path, "plug_main.py", "import plug_near\nfrom plug_pack.inner import Y\nimport json\nclass Plug: pass")
    near = written(tmp_path, "plug_near.py", "import plug_far\nX = 1")
    far = written(tmp_path, "plug_far.py", "Z = 1")
    inner = written(tmp_path, "plug_pack/inner.py", "Y = 1")
    written(tmp_path, "plug_pack/__init__.py", "")
    other = written(tmp_path, "plug_other.py", "")
    target = read_target("plug_main.py:Plug", (tmp_path,))
    before = sources_of(target).digest
    assert not sources_of(target).installed
    other.write_text("changed = True", encoding="utf-8")
    assert sources_of(target).digest == before
    for file in (near, far, inner):
        old = file.read_text(encoding="utf-8")
        file.write_text(old + "\nNEW = 2", encoding="utf-8")
        assert sources_of(target).digest != before
        file.write_text(old, encoding="utf-8")
    assert sources_of(target).digest == before


def test_the_digest_of_a_package_is_of_all_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "plugpackage/__init__.py", "")
    written(tmp_path, "plugpackage/tasks.py", "class Plug: pass")
    deep = written(tmp_path, "plugpackage/sub/deep.py", "A = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    target = read_target("plugpackage.tasks:Plug")
    before, digest = sources_of(target), sources_of(target).digest
    assert [str(file) for file in before.files] == [
        "plugpackage/__init__.py",
        "plugpackage/sub/deep.py",
        "plugpackage/tasks.py",
    ]
    deep.write_text("A = 2", encoding="utf-8")
    assert sources_of(target).digest != digest
    assert sources_of(read_target("torch:Tensor")).installed


def test_what_nobody_named_is_not_imported(tmp_path: Path) -> None:
    trace = tmp_path / "imported"
    written(tmp_path, "plug_trap.py", f"open({str(trace)!r}, 'w')\nclass Plug: pass")
    sys.path.append(str(tmp_path))
    registry = Registry()
    for name in ("plug_trap:Plug", "plug_trap.py:Plug"):
        assert registry.find(Kind.PLANNER, name) is None
        with pytest.raises(UserError, match=f"code that a record names.*give --plugin {name}"):
            registry.demand(Kind.PLANNER, name, ["grasp"])
    assert not trace.exists()
    registry.admit(Kind.PLANNER, "plug_trap.py:Plug", (tmp_path,))
    assert registry.find(Kind.TASK, "plug_trap.py:Plug") is None
    assert registry.find(Kind.PLANNER, "plug_trap.py:Plug") is not None
    assert trace.exists()


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown planner 'graps': did you mean 'grasp'"):
        Registry().demand(Kind.PLANNER, "graps", ["grasp", "gd"])


def test_two_homes_of_one_name_are_both_named(tmp_path: Path) -> None:
    registry = Registry()
    for folder in ("a", "b"):
        written(tmp_path / folder, "plug_same.py", "class Plug: pass")
    registry.admit(Kind.TASK, "plug_same.py:Plug", (tmp_path / "a",))
    registry.admit(Kind.TASK, "plug_same.py:Plug", (tmp_path / "a",))
    with pytest.raises(
        UserError, match=r"two tasks are called 'plug_same.py:Plug', one of .*a/plug_same.py and one of .*b/plug_same.py"
    ):
        registry.admit(Kind.TASK, "plug_same.py:Plug", (tmp_path / "b",))


def test_a_declared_version_stands_for_the_code(tmp_path: Path) -> None:
    file = written(tmp_path, "plug_versioned.py", "class Plug:\n    plugin_version = 3\n    def step(self): return 1")
    registry = Registry()
    registry.admit(Kind.PLANNER, "plug_versioned.py:Plug", (tmp_path,))
    found = registry.find(Kind.PLANNER, "plug_versioned.py:Plug")
    assert found is not None
    assert found.code == "version 3"
    assert str(file) in found.home


def notebook_class(body: str) -> type:
    """A class as a notebook's cell defines it: in no file."""
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(compile(body, "<cell>", "exec"), scope)
    found = scope["Plug"]
    assert isinstance(found, type)
    return found


def test_a_notebook_s_class_is_known_by_its_code() -> None:
    registry, codes = Registry(), []
    for number in ("1", "2", "1", "1  # a comment"):
        registry.register(Kind.PLANNER, "mine", notebook_class(f"class Plug:\n    def plan(self): return {number}"))
        found = registry.find(Kind.PLANNER, "mine")
        assert found is not None
        codes.append(found.code)
    assert codes[0] == codes[2] == codes[3] != codes[1]


def test_what_a_notebook_s_class_uses_counts() -> None:
    def code(scale: int) -> str:
        registry = Registry()
        body = f"SCALE = {scale}\ndef helper(x): return x + {scale}\nclass Plug:\n    def plan(self): return helper(SCALE)"
        registry.register(Kind.PLANNER, "mine", notebook_class(body))
        found = registry.find(Kind.PLANNER, "mine")
        assert found is not None
        return found.code

    assert code(1) == code(1) != code(2)


def test_a_worker_that_sees_no_file_of_the_user_s_gets_them_all(tmp_path: Path) -> None:
    """Another process, in which the user's folder is gone, has the same plug-ins with the same code."""
    home = tmp_path / "home"
    written(home, "plug_main.py", "import plug_near\nclass Plug:\n    value = plug_near.X")
    written(home, "plug_near.py", "X = 41 + 1")
    registry = Registry()
    registry.admit(Kind.PLANNER, "plug_main.py:Plug", (home,))
    parcels = pack(registry)
    shutil.rmtree(home)
    worker = (
        "import pickle, sys; from world_models.plugins import PLUGINS, Kind, unpack\n"
        "unpack(pickle.load(sys.stdin.buffer), PLUGINS)\n"
        "found = PLUGINS.find(Kind.PLANNER, 'plug_main.py:Plug'); print(found.value.value, found.code)"
    )
    import pickle

    done = subprocess.run([sys.executable, "-c", worker], input=pickle.dumps(parcels), capture_output=True, check=False)
    assert done.stdout.decode().split() == ["42", parcels[0].code], done.stderr.decode()


def test_a_worker_with_other_code_says_so(tmp_path: Path) -> None:
    written(tmp_path, "plug_main.py", "class Plug: pass")
    registry = Registry()
    registry.admit(Kind.PLANNER, "plug_main.py:Plug", (tmp_path,))
    (parcel,) = pack(registry)
    other = type(parcel)(parcel.offer, "0123", parcel.folder, parcel.files)
    with pytest.raises(UserError, match=r"has code .* and 0123 where the driver runs: install the same version"):
        unpack((other,), Registry())
