"""An earlier revision is measured from a worktree that is gone afterwards, and left out where the repository lacks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import revisions
from benchmarks.small_batches import smallest, together


def test_a_revision_is_checked_out_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        own = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *own, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    for number in (1, 2):
        (tmp_path / "earlier.py").write_text(f"NUMBER = {number}\n", encoding="utf-8")
        git("add", "earlier.py")
        git("commit", "--quiet", "-m", "number")
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    with revisions.checked_out("HEAD~1") as tree:
        assert tree is not None
        assert revisions.output_of(tree, "import sys, earlier; print(earlier.NUMBER, *sys.argv[1:])", "a", "b") == "1 a b"
    assert not tree.exists()
    assert len(git("worktree", "list").splitlines()) == 1
    with revisions.checked_out("0123456") as tree:
        assert tree is None


def test_speed_ups_of_several_tasks() -> None:
    plain, ours = {("a", 1): 8.0, ("b", 1): 2.0}, {("a", 1): 1.0, ("b", 1): 1.0}
    assert together(plain, ours, ["a", "b"], 1) == 5
    assert smallest(plain, ours, ["a", "b"], 1) == 2
