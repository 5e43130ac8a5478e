"""A package index on loopback with real packages, and checkouts that install in seconds."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dataharbour.platform.bootstrap.index import PackageIndex
from dataharbour.platform.bootstrap.lock import Requirement, parse_requirements, select
from dataharbour.platform.bootstrap.machine import marker_environment, this_machine
from dataharbour.platform.bootstrap.sources import read_sources

ROOT = Path(__file__).resolve().parents[3]
# The installer, what builds the local package, and shellingham, which nothing here needs.
SMALL_SET = {
    "editables",
    "hatchling",
    "packaging",
    "pathspec",
    "pluggy",
    "setuptools",
    "shellingham",
    "trove-classifiers",
    "uv",
}
_SOURCE = "providers/dataharbour/src/dataharbour"


@dataclass
class Trial:
    """A checkout whose CLI only tells how it was called."""

    root: Path
    environment: dict[str, str]

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def command(self, *arguments: str) -> list[str]:
        return [str(self.root / "harbour"), *arguments]

    def harbour(
        self, *arguments: str, cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `./harbour`, with `more` in its environment."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **more},
            cwd=cwd or self.root,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=500,
        )

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `./harbour` as the leader of a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            env={**self.environment, **more},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            # A shell's background job, which a test run may be, ignores interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def require(self, names: set[str]) -> None:
        """Write a requirements.txt with only `names` of the real one."""
        chosen = [each for each in locked() if each.name in names]
        assert {each.name for each in chosen} == names
        (self.root / "requirements.txt").write_text("".join(f"{each}\n" for each in chosen))

    def distributions(self) -> set[str]:
        """Names of what is installed, normalised."""
        found = self.venv.glob("lib/python*/site-packages/*.dist-info/METADATA")
        names = (re.search(r"^Name: (.+)$", path.read_text(), re.M) for path in found)
        return {re.sub(r"[-_.]+", "-", name[1]).lower() for name in names if name}

    @property
    def is_complete(self) -> bool:
        return (self.venv / "harbour" / "requirements.txt").exists()


def locked() -> list[Requirement]:
    return parse_requirements((ROOT / "requirements.txt").read_text())


@pytest.fixture
def new_checkout() -> Iterator[Callable[[], Trial]]:
    """Makes checkouts that belong to one test."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(_checkout("a checkout", bare_environment()))


@pytest.fixture(scope="module")
def whole() -> Iterator[Trial]:
    """A checkout with the whole lock, and this machine's own settings and cache."""
    with _checkout("a whole checkout", dict(os.environ)) as trial:
        yield trial


@contextlib.contextmanager
def _checkout(name: str, environment: dict[str, str]) -> Iterator[Trial]:
    """A checkout in a folder that every user may enter."""
    parent = Path(tempfile.mkdtemp(prefix="dh-checkout-"))
    parent.chmod(0o755)
    try:
        yield Trial(copy_checkout(parent / name), environment)
    finally:
        shutil.rmtree(parent)


def copy_checkout(root: Path) -> Path:
    """What the installer needs of this checkout, with a CLI that prints its arguments."""
    package = root / _SOURCE
    package.mkdir(parents=True)
    for name in ("harbour", "requirements.txt", "uv.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, root / name)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy2(ROOT / "providers/dataharbour" / name, root / "providers/dataharbour" / name)
    for name in ("__init__.py", "errors.py", "platform/__init__.py"):
        (package / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / _SOURCE / name, package / name)
    installer = package / "platform" / "bootstrap"
    for name in ("schemas", "spark", "sql"):  # parts of the package, too
        shutil.copytree(ROOT / "include" / name, root / "include" / name)
    shutil.copytree(
        ROOT / _SOURCE / "platform/bootstrap",
        installer,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (package / "cli").mkdir()
    (package / "cli" / "__init__.py").touch()
    (package / "cli" / "__main__.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], sys.executable, os.getcwd(), dict(os.environ)]))\n"
    )
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    return root


def bare_environment() -> dict[str, str]:
    """PATH with the running Python's folder and the system's, a home, and no pip configuration."""
    base = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable))).parent
    home = os.environ.get("HOME", "/")
    return {"PATH": f"{base}:/usr/bin:/bin", "HOME": home, "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `SMALL_SET`, from the index that this machine is configured for."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    folder.chmod(0o755)
    small = [each for each in locked() if each.name in SMALL_SET]
    selection = select(small, (ROOT / "uv.lock").read_text(), this_machine(), marker_environment())
    index = PackageIndex(read_sources(os.environ))
    for requirement, file in selection.files.items():
        link = next(each for each in index.links(requirement.name) if each.name == file.name)
        index.download(
            link, folder / file.name, sha256=requirement.hashes, report=lambda done, total: None
        )
    return folder


@dataclass
class LocalIndex:
    """What the server on loopback offers, and what it was asked for.

    Attributes:
        folder: the files.
        form: ``json`` or ``html``.
        credentials: ``user:password`` that every request must carry; None for anybody.
        has_ranges: whether a download may start in the middle.
        held: prefix of the file whose second half is kept back until `release` is set.
        cut: prefix of the file that always ends in the middle, unless asked for the rest.
        files_at: where requests for files are sent on to.
    authorizations: that header of every request.
    asked: the path of every request, ``proxy `` before those that came as to a proxy.
        bytes_sent: of each file.
    """

    folder: Path
    url: str = ""
    form: str = "json"
    credentials: str | None = None
    has_ranges: bool = True
    held: str | None = None
    cut: str | None = None
    files_at: str | None = None
    authorizations: list[str | None] = field(default_factory=list)
    is_waiting: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    bytes_sent: dict[str, int] = field(default_factory=dict)

    def url_with(self, credentials: str) -> str:
        return self.url.replace("://", f"://{credentials}@")

    def downloads(self, prefix: str) -> list[str]:
        return [path for path in self.asked if path.split("/")[-1].startswith(prefix)]


@pytest.fixture
def new_index() -> Iterator[Callable[..., LocalIndex]]:
    """Starts indexes on loopback: over HTTPS if a TLS context is given."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path, *, tls: ssl.SSLContext | None = None) -> LocalIndex:
            index = LocalIndex(folder)
            handler = type("Handler", (_Handler,), {"index": index})
            server = _Server(("127.0.0.1", 0), handler)
            if tls:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            scheme = "https" if tls else "http"
            index.url = f"{scheme}://127.0.0.1:{server.server_port}/simple"
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
            ).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            stack.callback(index.release.set)
            return index

        yield start


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed break their connections."""


class _Handler(BaseHTTPRequestHandler):
    """Serves ``/simple/<project>/`` and ``/files/<name>``; as a proxy, for any host."""

    index: LocalIndex
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.index.asked.append(f"{'proxy ' if '://' in self.path else ''}{path}")
        self.index.authorizations.append(self.headers.get("Authorization"))
        if not self._may():
            self._answer(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="x"'})
        elif path.startswith("/simple/"):
            self._page(path.strip("/").split("/")[-1])
        elif self.index.files_at:
            self._answer(302, b"", "text/plain", {"Location": f"{self.index.files_at}{path}"})
        else:
            self._file(self.index.folder / path.removeprefix("/files/"))

    do_HEAD = do_GET

    def _may(self) -> bool:
        wanted = self.index.credentials
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return wanted is None or base64.b64decode(given).decode() == wanted

    def _page(self, project: str) -> None:
        names = [
            path.name
            for path in sorted(self.index.folder.iterdir())
            if re.split(r"-\d", path.name)[0].replace("_", "-").lower() == project
        ]
        if not names:
            self._answer(404, b"", "text/plain")
        elif self.index.form == "json":
            files = [{"filename": name, "url": f"/files/{name}", "hashes": {}} for name in names]
            page = {"meta": {"api-version": "1.0"}, "name": project, "files": files}
            kind = "application/vnd.pypi.simple.v1+json"
            self._answer(200, json.dumps(page).encode(), kind)
        else:
            anchors = "".join(f'<a href="../../files/{name}#x">{name}</a>' for name in names)
            self._answer(200, f"<!DOCTYPE html><body>{anchors}".encode(), "text/html")

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._answer(404, b"", "text/plain")
            return
        content = path.read_bytes()
        whole, start = len(content), 0
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and self.index.has_ranges:
            start, end = int(asked[1]), int(asked[2] or whole - 1)
            content = content[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(content) // 2
        with contextlib.suppress(ConnectionError):
            self._send(path.name, content[:half])
            if self.index.cut and path.name.startswith(self.index.cut) and start == 0:
                self.close_connection = True
                return
            if self.index.held and path.name.startswith(self.index.held):
                self.index.is_waiting.set()
                self.index.release.wait(60)
            self._send(path.name, content[half:])

    def _send(self, name: str, content: bytes) -> None:
        sent = self.index.bytes_sent
        sent[name] = sent.get(name, 0) + len(content)
        self.wfile.write(content)
        self.wfile.flush()

    def _answer(
        self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            **(headers or {}),
            "Content-Type": kind,
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The test's output is not the place."""


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate authority of one's own, and a server's context that it signed for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ca = (
        _certificate_of(authority, ca_key)
        .issuer_name(authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        _certificate_of(x509.Name([]), key)
        .issuer_name(authority)
        .add_extension(here, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "own.pem").write_bytes(
        own.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return folder / "ca.pem", context


def _certificate_of(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
