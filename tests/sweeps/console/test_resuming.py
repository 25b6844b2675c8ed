"""The command that goes on after a stop can be pasted."""

import shlex

from sweeps.console.resuming import resume_command


def test_every_word_survives_the_shell_and_a_dry_run_is_not_repeated() -> None:
    words = ["sweep", "--conf", "my conf", "--join", "planners.gd.settings={iterations: 3}", "--dry-run", "~space.init_noise"]
    again = resume_command(words)
    assert shlex.split(again) == ["grasp", *(word for word in words if word != "--dry-run")]


def test_credentials_are_left_out_and_the_command_says_so() -> None:
    again = resume_command(["sync", "tracking.uri=http://me:secret@host:5000"])
    assert "secret" not in again
    assert shlex.split(again, comments=True) == ["grasp", "sync", "tracking.uri=http://host:5000"]
    assert "credentials" in again
