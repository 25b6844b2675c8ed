"""`grasp` as a process: output that nobody reads, closed streams, full disks, signals, and a folder that is gone."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GRASP = (sys.executable, "-m", "sweeps")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

WAITING = """\
import sys, time
from sweeps.cli import main as cli, process
from sweeps.console.command import Command

def wait(arguments):
    print("waiting", flush=True)
    time.sleep(60)

def write(arguments):
    for number in range(20_000):
        print("line", number)
    sys.stderr.write("written\\n")
    return 0

def fail(arguments):
    raise RuntimeError("a fault")

verbs = (("wait", wait), ("write", write), ("fail", fail))
cli.VERBS = {name: Command(name, name, lambda parser: None, run) for name, run in verbs}
sys.exit(process.run_process())
"""
"""The real process with commands of its own, which need no second of imports."""


def shell(line: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$GRASP` is the command, and `$TRIAL` is the process with commands for tests."""
    words = ["bash", "-c", line, "bash", WAITING]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, "GRASP": " ".join(GRASP), "PYTHON": sys.executable},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('set -o pipefail; "$PYTHON" -c "$1" write | head -1', 0, "written"),
        ('set -o pipefail; "$PYTHON" -c "$1" write | true', 0, "written"),
        ('"$PYTHON" -c "$1" write >&-', 0, "written"),
        ('"$PYTHON" -c "$1" write <&- >&- 2>&-', 0, ""),
        ('"$PYTHON" -c "$1" write >/dev/full', 2, "not all output could be written (No space left on device)"),
        ('"$PYTHON" -c "$1" write >/dev/null 2>/dev/full', 0, ""),
        ('"$PYTHON" -c "$1" fail', 70, "RuntimeError: a fault\ngrasp: this is a fault of grasp's"),
        ("$GRASP --help | head -1", 0, ""),
        ("$GRASP sweeep >&-", 2, "grasp: unknown command 'sweeep': did you mean 'sweep'?"),
    ],
)
def test_output_that_nobody_reads_ends_nothing(line: str, code: int, says: str) -> None:
    done = shell(line)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_output_survives_a_pipe_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen([sys.executable, "-c", WAITING, "write"], stdout=writing, env=ENVIRONMENT)
    os.close(writing)
    with os.fdopen(reading) as stream:
        lines = 0
        for _ in stream:
            lines += 1
            if lines % 5_000 == 0:
                time.sleep(0.05)
    assert (process.wait(30), lines) == (0, 20_000)


def test_a_folder_that_is_gone_is_named_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    done = shell(f"rmdir {folder}; $GRASP status", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "grasp: the folder in which this command was started has been removed: change to one that exists.\n"


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["ctrl-c", "term", "hangup"]
)
def test_each_signal_has_its_exit_code_and_the_command_goes_on(sent: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said == "\ngrasp: stopped; everything finished so far is kept, go on with: grasp wait\n"


def test_nohup_is_respected_and_a_closed_terminal_ends_the_process() -> None:
    nohup = 'trap \'\' HUP; exec "$PYTHON" -c "$1" wait'
    for line, ends in (('exec "$PYTHON" -c "$1" wait', True), (nohup, False)):
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", line, "bash", WAITING],
            stdin=end,
            stdout=end,
            stderr=end,
            env={**ENVIRONMENT, "PYTHON": sys.executable},
        )
        os.close(end)
        assert b"waiting" in os.read(terminal, 1000)
        os.close(terminal)
        try:
            assert process.wait(1 if not ends else 30) == 143
        except subprocess.TimeoutExpired:
            assert not ends
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("option", ["error", "error::DeprecationWarning"])
def test_a_librarys_warning_is_no_error(option: str) -> None:
    code = "import warnings; from sweeps.cli.process import run_process; run_process(); warnings.warn('advice')"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        env={**ENVIRONMENT, "PYTHONWARNINGS": option},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "UserWarning: advice" in done.stderr


def test_a_name_is_what_was_typed_whatever_the_locale() -> None:
    variables = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=utf-8"
    ended = shell(f"{variables} $GRASP config name=墙 output=/tmp/ü | grep -E '^(name|output)'")
    assert [" ".join(line.split()) for line in ended.stdout.splitlines()] == [
        "output: /tmp/ü # override output=/tmp/ü",
        "name: 墙 # override name=墙",
    ], ended.stderr
