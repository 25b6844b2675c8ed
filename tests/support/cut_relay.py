"""A relay to a server on loopback that cuts connections in the middle of an answer."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType

CHUNK = 4096
LOOK_UP = 0.05
"""Seconds after which a thread that waits for data looks whether its connection was cut."""


class CutRelay:
    """`address` is its own; of every `every` answers one is cut after some bytes, with a reset; 0 cuts none."""

    def __init__(self, target: tuple[str, int], every: int = 0) -> None:
        self.every = every
        self.cuts = 0
        self._target, self._answers = target, 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))

    @property
    def address(self) -> str:
        host, port = self._listening.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> CutRelay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target, timeout=30)
            except OSError:
                return
            ended = threading.Event()
            for source, sink, answers in ((client, server, False), (server, client, True)):
                source.settimeout(LOOK_UP)
                threading.Thread(target=self._pump, args=(source, sink, answers, ended), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                data = source.recv(CHUNK)
                if not data:
                    break
                if answers and self._is_cut(data):
                    sink.sendall(data[: len(data) // 2])
                    # Without lingering, closing sends a reset.
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                sink.sendall(data)
            except TimeoutError:
                continue
            except OSError:
                break
        ended.set()
        source.close()
        sink.close()

    def _is_cut(self, data: bytes) -> bool:
        if not data.startswith(b"HTTP/"):
            return False
        with self._lock:
            self._answers += 1
            cut = self.every > 0 and self._answers % self.every == 0
            self.cuts += cut
        return cut
