"""Who lives: told by boot, namespace, pid and start, never by a pid alone."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.core.process import NOBODY, Life, ProcessIdentity

ROOT = Path(__file__).resolve().parents[3]
SAY_WHO = """
import json, sys
from dataclasses import asdict
from orchestrator.core.process import ProcessIdentity
if len(sys.argv) > 1:
    print(ProcessIdentity(**json.loads(sys.argv[1])).life.value)
print(json.dumps(asdict(ProcessIdentity.here())))
"""


def test_this_process_lives_and_others_of_its_pid_are_gone_or_unknown() -> None:
    here = ProcessIdentity.here()
    assert here == ProcessIdentity.here()
    assert here.life is Life.ALIVE
    assert replace(here, started=here.started - 1).life is Life.GONE, "the pid was given again"
    assert replace(here, host="elsewhere").life is Life.UNKNOWN
    assert replace(here, machine="another", boot="another").life is Life.UNKNOWN, "two machines of one name"
    assert replace(here, namespace="pid:[7]").life is Life.UNKNOWN, "two containers of one name"
    assert NOBODY.life is Life.UNKNOWN


def test_what_ran_before_a_reboot_is_gone_whoever_has_its_pid_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.core.process._machine", lambda: "this one")
    monkeypatch.setattr("orchestrator.core.process._namespace", lambda: "pid:[4026531836]")
    here = ProcessIdentity.here()
    before = replace(here, boot="before")
    assert before.life is Life.GONE
    monkeypatch.setattr("orchestrator.core.process._namespace", lambda: "pid:[7]")
    assert before.life is Life.UNKNOWN, "a container may be on another machine now"


def test_a_record_of_an_earlier_version_is_gone_only_if_nobody_has_its_pid() -> None:
    here = ProcessIdentity.here()
    assert ProcessIdentity(here.host, os.getpid()).life is Life.UNKNOWN
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert ProcessIdentity(here.host, ended.pid).life is Life.GONE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_dead_process_that_nobody_has_waited_for_is_gone() -> None:
    here = ProcessIdentity.here()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = float(Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    alive = replace(here, pid=child.pid, started=started)
    assert alive.life is Life.ALIVE
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert alive.life is Life.GONE
    child.communicate()


def in_pid_namespace(*arguments: str) -> list[str]:
    """Lines printed by a process with pid 1 in a pid namespace of its own."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", SAY_WHO, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare of util-linux")
def test_another_process_of_the_same_pid_in_another_namespace_is_not_taken_for_it() -> None:
    (first,) = in_pid_namespace()
    life, second = in_pid_namespace(first)
    assert json.loads(first)["pid"] == json.loads(second)["pid"] == 1
    assert life != "alive"
    assert ProcessIdentity(**json.loads(first)).life is not Life.ALIVE
    assert life == ProcessIdentity(**json.loads(first)).life.value
    assert asdict(ProcessIdentity.here())["boot"] == json.loads(second)["boot"]
