"""A server of pages, as Spark's history server is one: answers as told, keeps what it was asked."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from dataharbour.jobs.event_logs import mark_of

_ENVIRONMENT = re.compile(r"/api/v1/applications/([^/]+)/environment")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; names of headers in small letters."""

    path: str
    headers: dict[str, str]


class SparkPages:
    """Answers every request with `status`, `headers` and `body`, for the time of a `with`.

    But for the settings of applications, where it answers as Spark does: `runs` says which there
    are, and for which run each was started, `looked_at` which were asked for.
    """

    def __init__(self) -> None:
        self.runs: dict[str, str | None] = {}
        self.looked_at: list[str] = []
        self.status, self.body = 200, b"hello"
        self.headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if found := _ENVIRONMENT.fullmatch(self.path):
                    self._tell_environment(found[1])
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                pages.asked.append(Asked(self.path, headers))
                self.send_response(pages.status)
                for name, value in pages.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(pages.body)

            def _tell_environment(self, application: str) -> None:
                pages.looked_at.append(application)
                self.send_response(200 if application in pages.runs else 404)
                self.end_headers()
                if application in pages.runs:
                    run = pages.runs[application]
                    mark = {} if run is None else mark_of(run)
                    settings = {"spark.app.id": application, **mark}
                    document = {"sparkProperties": [list(pair) for pair in settings.items()]}
                    self.wfile.write(json.dumps(document).encode())

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
