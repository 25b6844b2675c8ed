"""Wait until a service answers: `ready.py URL [SECONDS]`, where URL is http://host:port/path or tcp://host:port.

Without SECONDS it tries once, as a health check does. It exits with 0 once there is an answer (over HTTP: with a status below
400), else with 1.
"""

from __future__ import annotations

import socket
import sys
import time
import urllib.request
from urllib.parse import urlsplit

TIMEOUT = 5.0
"""Seconds per attempt."""


def main(words: list[str]) -> int:
    """Wait for the service and return the exit code."""
    url, deadline = words[0], time.monotonic() + (float(words[1]) if len(words) > 1 else 0.0)
    while True:
        said = problem(url)
        if not said:
            return 0
        if time.monotonic() >= deadline:
            sys.stderr.write(f"{url} does not answer: {said}\n")
            return 1
        time.sleep(0.5)


def problem(url: str) -> str:
    """The reason why there is no answer now; empty if there is one."""
    try:
        if url.startswith("tcp://"):
            parts = urlsplit(url)
            socket.create_connection((parts.hostname or "", parts.port or 0), TIMEOUT).close()
        else:
            # Ignore the environment's proxies: they don't lead to the machines of a cluster.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            opener.open(url, timeout=TIMEOUT).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
