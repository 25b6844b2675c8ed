"""A proxy for an HTTP server that loses answers to requests that were done, delays, and answers with errors."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

Fault = Callable[[int, str, str], "str | int | float | threading.Event | None"]
"""Fault of a request by its number, method and path: `drop` (forwarded, but its answer is lost), a status (not forwarded),
seconds of delay or an event to wait for before it is forwarded, or None."""


class FaultyProxy:
    """`uri` is its address; `fault` may be changed at any time; `seen` are method, path and fault of each request."""

    def __init__(self, target: str) -> None:
        self.fault: Fault = lambda number, method, path: None
        self.seen: list[tuple[str, str, object]] = []
        self.headers: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, target))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def judge(self, method: str, path: str) -> str | int | float | threading.Event | None:
        with self._lock:
            fault = self.fault(len(self.seen), method, path)
            self.seen.append((method, path, fault))
        return fault

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: FaultyProxy, target: str) -> type[BaseHTTPRequestHandler]:
    where = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.headers.append(dict(self.headers))
            fault = proxy.judge(self.command, urlsplit(self.path).path)
            if isinstance(fault, int):
                self.answer(fault, b"by the proxy", {})
                return
            if isinstance(fault, float):
                time.sleep(fault)
            if isinstance(fault, threading.Event):
                fault.wait(60)
            status, data, headers = self.forward(body)
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
                return
            self.answer(status, data, headers)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            try:
                connection.request(self.command, self.path, body, {**headers, "Host": where.netloc})
                answer = connection.getresponse()
                return answer.status, answer.read(), {"Content-Type": answer.getheader("Content-Type", "text/plain")}
            except OSError:
                return 502, b"no server behind the proxy", {}
            finally:
                connection.close()

        def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client has given up

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
