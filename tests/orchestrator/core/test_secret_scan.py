"""A checkout's changes are published without key files and lines that look like secrets, with a word in their place."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.core.secret_scan import is_key_file, publishable_diff
from orchestrator.tracking.environment import git_diff

PLANTED = "hunter2planted"
LINES = {
    "AWS Access Key": f"key = 'AKIA{'Q7' * 8}'  # {PLANTED}",
    "Secret Keyword": f'password = "{PLANTED}"',
    "GitHub Token": f"x = 'ghp_{'a1B2c3' * 6}' # {PLANTED}",
    "Private Key": f"-----BEGIN RSA PRIVATE KEY----- {PLANTED}",
    "more than 10000 characters": "x" * 10_001 + PLANTED,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for words in (["init", "-q"], ["config", "user.email", "a@example.org"], ["config", "user.name", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "code.py").write_text("\n".join(f"line_{i} = {i}" for i in range(60)) + "\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-qm", "first"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("kind", LINES)
def test_a_hunk_that_looks_like_a_secret_is_left_out_and_the_others_stay(checkout: Path, kind: str) -> None:
    lines = (checkout / "code.py").read_text().split("\n")
    lines[5], lines[50] = "line_5 = 'changed'", LINES[kind]
    (checkout / "code.py").write_text("\n".join(lines))
    diff = git_diff(checkout)
    assert "+line_5 = 'changed'" in diff
    assert PLANTED not in diff
    assert "# left out: the lines -48,7 +48,7" in diff
    assert kind in diff


@pytest.mark.parametrize("name", [".env", "deploy/prod.env", "id_rsa", "keys/a b.pem", ".netrc", "clé.key", ".aws/config"])
def test_key_files_are_never_published_even_when_added_with_n(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text(f"A={PLANTED}\n")
    (checkout / "new.py").write_text("plain = 1\n")
    subprocess.run(["git", "add", "-N", "-f", "."], cwd=checkout, check=True)
    diff = git_diff(checkout)
    assert PLANTED not in diff
    assert f"# left out: the changes of {name}, which is a file of keys or passwords" in diff
    assert "+plain = 1" in diff


def test_ordinary_files_are_no_key_files() -> None:
    ordinary = ["orchestrator/core/secrets.py", "docs/credentials.md", "environment.yaml", "keys.py", "monkey.py", "a/env.txt"]
    assert not [name for name in ordinary if is_key_file(name)]


def test_a_diff_without_secrets_is_published_as_it_is(checkout: Path) -> None:
    (checkout / "code.py").write_text("token = next(tokens)\ndigest = '" + "0a1b" * 16 + "'\n")
    command = ["git", "diff", "HEAD"]
    plain = subprocess.run(command, cwd=checkout, capture_output=True, check=True, text=True).stdout
    assert publishable_diff(plain) == plain.strip("\n")
