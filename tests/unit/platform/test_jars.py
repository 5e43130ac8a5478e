from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dataharbour.errors import ConfigError, PlatformError, Unavailable
from dataharbour.platform.jars import Jar, fetch, missing, read_lock
from dataharbour.platform.maven import Maven, Repository

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "include" / "spark" / "jars.lock"


def jar(name: str = "tool", content: bytes = b"x" * 300_000) -> Jar:
    return Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest(), len(content))


class Server:
    """A Maven repository that can be told to misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []  # path, Range, Authorization
        self.break_after: list[int | None] = []  # bytes of the next answers; None is all
        self.knows_ranges = True
        self.status: int | None = None
        self.sent_bytes = 0
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted, path = request.headers.get("Range"), request.path
        self.requests.append((path, wanted, request.headers.get("Authorization")))
        content = self.files.get(path)
        status = self.status or (404 if content is None else 200)
        content = content or b"no"
        start = 0
        if status == 200 and wanted and self.knows_ranges:
            status, start = 206, int(wanted.removeprefix("bytes=").rstrip("-"))
        request.send_response(status)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        cut = self.break_after.pop(0) if self.break_after else None
        sent = content[start:] if cut is None else content[start : start + cut]
        with contextlib.suppress(ConnectionError):  # the client has heard enough
            for begin in range(0, len(sent), 2**16):
                self.sent_bytes += request.wfile.write(sent[begin : begin + 2**16])

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    server = Server()
    yield server
    server.close()


def source(url: str, tmp_path: Path, login: tuple[str, str] | None = None) -> Maven:
    return Maven(local=tmp_path / "m2", repository=Repository(url, login))


def test_jars_are_downloaded_in_mavens_layout_and_everybody_may_read_them(server, tmp_path):
    one, two = jar("one", b"1" * 10), jar("two", b"2" * 20)
    server.files = {f"/{one.path}": b"1" * 10, f"/{two.path}": b"2" * 20}
    told: list[tuple[int, int]] = []
    umask = os.umask(0o077)
    try:
        fetch(
            [one, two],
            tmp_path / "jars",
            source=source(server.url, tmp_path),
            on_progress=lambda done, total: told.append((done, total)),
        )
    finally:
        os.umask(umask)
    assert sorted(p.name for p in (tmp_path / "jars").iterdir()) == ["one-1.0.jar", "two-1.0.jar"]
    assert (tmp_path / "jars" / "one-1.0.jar").stat().st_mode & 0o777 == 0o644
    assert server.requests[0][0].startswith("/org/example/")
    assert told[-1] == (30, 30)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    for _ in range(2):
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert len(server.requests) == 1


def test_a_jar_that_was_changed_on_disk_is_fetched_again(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    (tmp_path / "jars" / it.name).write_bytes(b"x" * 299_999 + b"y")  # the same size
    assert missing([it], tmp_path / "jars") == (it,)
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert missing([it], tmp_path / "jars") == ()


def test_a_wrong_content_is_refused_and_nothing_of_it_is_left(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"y" * 300_000
    with pytest.raises(PlatformError, match="the lock says 300000 bytes with sha256") as caught:
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert "jars.lock" in caught.value.remedy
    assert list((tmp_path / "jars").iterdir()) == []


def test_an_endless_answer_does_not_fill_the_disk(server, tmp_path):
    it = jar("tool", b"x" * 10)
    server.files[f"/{it.path}"] = b"x" * 50_000_000
    with pytest.raises(PlatformError):
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert server.sent_bytes < 25_000_000  # what lies in buffers on the way is sent in vain


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    server.break_after = [100_000, 50_000]
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert [wanted for _, wanted, _ in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert missing([it], tmp_path / "jars") == ()


def test_a_later_start_goes_on_where_a_killed_one_stopped(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / f".{it.name}.part").write_bytes(b"x" * 200_000)
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert [wanted for _, wanted, _ in server.requests] == ["bytes=200000-"]
    assert [p.name for p in (tmp_path / "jars").iterdir()] == [it.name]


def test_a_wrong_beginning_is_thrown_away_and_fetched_whole(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / f".{it.name}.part").write_bytes(b"y" * 200_000)
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert [wanted for _, wanted, _ in server.requests] == ["bytes=200000-", None]
    assert missing([it], tmp_path / "jars") == ()


def test_a_server_without_ranges_is_read_from_the_beginning(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    server.break_after, server.knows_ranges = [100_000], False
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert missing([it], tmp_path / "jars") == ()


def test_what_keeps_breaking_off_is_unavailable_and_its_beginning_stays(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    server.break_after = [10, 10, 10, 10]
    with pytest.raises(Unavailable, match="broke off 4 times"):
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert (tmp_path / "jars" / f".{it.name}.part").stat().st_size == 40


def test_the_mirrors_login_is_sent_and_stands_in_no_message(server, tmp_path):
    it = jar()
    with pytest.raises(Unavailable, match="answered 404") as caught:
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path, ("me", "s3cret")))
    assert server.requests[0][2] == "Basic bWU6czNjcmV0"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refusal_is_not_asked_for_again(server, tmp_path, status):
    it = jar()
    server.status = status
    with pytest.raises(Unavailable, match=str(status)):
        fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert len(server.requests) == 1


def test_mavens_own_folder_comes_first_and_only_when_it_is_right(server, tmp_path):
    it = jar()
    server.files[f"/{it.path}"] = b"x" * 300_000
    found = tmp_path / "m2" / it.path
    found.parent.mkdir(parents=True)
    found.write_bytes(b"x" * 300_000)
    fetch([it], tmp_path / "jars", source=source(server.url, tmp_path))
    assert server.requests == []
    found.write_bytes(b"y" * 300_000)
    fetch([it], tmp_path / "other", source=source(server.url, tmp_path))
    assert len(server.requests) == 1


def test_jars_of_an_earlier_lock_go_away(server, tmp_path):
    it, folder = jar(), tmp_path / "jars"
    server.files[f"/{it.path}"] = b"x" * 300_000
    folder.mkdir()
    (folder / "tool-0.9.jar").write_bytes(b"old")
    (folder / "note.txt").write_text("somebody's")
    fetch([it], folder, source=source(server.url, tmp_path))
    assert sorted(p.name for p in folder.iterdir()) == ["note.txt", it.name]


def test_a_host_that_nobody_answers_for_is_unavailable_quickly(tmp_path):
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            fetch(
                [jar(str(n)) for n in range(30)],
                tmp_path / "jars",
                source=source(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path),
            )
    assert time.monotonic() - began < 3
    assert "settings.xml" in caught.value.remedy
    assert list((tmp_path / "jars").iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ["org.example:tool:1.0 abc 10", "org.example:tool 00 10", f"a:b:1 {'0' * 64} many"],
)
def test_a_line_that_is_no_locked_jar_is_named(tmp_path, line):
    file = tmp_path / "jars.lock"
    file.write_text(f"# comment\n\n{line}\n")
    with pytest.raises(ConfigError, match="line 3") as caught:
        read_lock(file)
    assert line in caught.value.problem


def test_the_lock_has_the_hadoop_of_pyspark_and_nothing_that_pyspark_brings():
    from dataharbour.platform.spark import spark_home

    bundled = {p.name for p in (spark_home() / "jars").glob("*.jar")}
    jars = read_lock(LOCK)
    versions = {j.artifact: j.version for j in jars}
    assert f"hadoop-client-api-{versions['hadoop-aws']}.jar" in bundled
    stems = {re.sub(r"-\d[^/]*\.jar$", "", name) for name in bundled}
    assert not stems & set(versions)
    assert len({j.version for j in jars if j.group == "software.amazon.awssdk"}) == 1
    assert len(jars) == len(versions) == 30
    assert sum(j.size_bytes for j in jars) < 13_000_000
