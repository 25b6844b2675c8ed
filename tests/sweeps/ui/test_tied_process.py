"""A server and what it has started end with `grasp ui`, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.ui.tied_process import tied_process
from tests.support.small_sweeps import ROOT, until

SERVER = ("sh", "-c", "sleep 300 & sleep 300 & wait")
OWNER = f"""\
import os, time
from sweeps.ui.tied_process import tied_process
with open(os.devnull, "wb") as log, tied_process({SERVER!r}, log, os.environ) as server:
    print(server.pid, flush=True)
    time.sleep(300)
"""


def is_over(group: int) -> bool:
    """Whether no process of a group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP], ids=["kill -9", "hangup"])
def test_a_server_and_its_workers_do_not_outlive_their_owner(how: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    group = int(owner.stdout.readline())
    assert not is_over(group)
    owner.send_signal(how)
    owner.wait(30)
    owner.stdout.close()
    until(lambda: is_over(group), "the end of the server", 30)


def test_a_server_ends_with_the_block_and_so_does_its_watcher(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        with tied_process(SERVER, log, os.environ) as server:
            assert not is_over(server.pid)
        until(lambda: is_over(server.pid), "the end of the server", 30)  # init may be late to bury the workers
    assert (tmp_path / "log").read_bytes() == b""
