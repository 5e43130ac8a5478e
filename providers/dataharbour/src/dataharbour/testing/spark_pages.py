"""A server of pages, as Spark's history server is one: answers as told, keeps what it was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; names of headers in small letters."""

    path: str
    headers: dict[str, str]


class SparkPages:
    """Answers every request with `status`, `headers` and `body`, for the time of a `with`."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"hello"
        self.headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                pages.asked.append(Asked(self.path, headers))
                self.send_response(pages.status)
                for name, value in pages.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(pages.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> SparkPages:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
