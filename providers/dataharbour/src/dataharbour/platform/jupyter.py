"""JupyterLab: its files, its command, its tickets, and whether it answers.

Three places: the notebooks' folder holds people's files and nothing else; `jupyter/config` is what
the server reads, and may not change; `jupyter/home` and `jupyter/run` are its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path

from dataharbour.platform import credentials
from dataharbour.platform.layout import Home
from dataharbour.platform.ports import LOOPBACK

TICKET_SECONDS = 60
CHOICE = "notebooks"  # the file in the folder of configurations that remembers
_SOCKET_PATH_MAX = 107
_SOCKET_NAME = len("/kernel-00000000-0000-0000-0000-000000000000-ipc-5")
_CONFIG = Path(__file__).with_name("jupyter_config.py")
_STARTUP = Path(__file__).with_name("jupyter_startup.py")
_NO_NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


def is_chosen(home: Home) -> bool:
    """Whether `up` starts JupyterLab: what was said last; False where one may not look."""
    try:
        return (home.config / CHOICE).read_text().strip() == "on"
    except OSError:
        return False


def remember(home: Home, *, wanted: bool) -> None:
    """Keep the choice for the next starts."""
    credentials.write_private(home.config / CHOICE, "on" if wanted else "off")


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("jupyterlab") is not None


@dataclass(frozen=True, slots=True)
class JupyterFiles:
    """Its folders in the state folder.

    Attributes:
        root: `Home.jupyter`.
        notebooks: `Home.notebooks`.
        owner: uid and gid of the server.
    """

    root: Path
    notebooks: Path
    owner: tuple[int, int]

    @property
    def config(self) -> Path:
        """What the server reads; it may not write there."""
        return self.root / "config"

    @property
    def own(self) -> Path:
        """HOME of the server and of its kernels."""
        return self.root / "home"

    @property
    def run(self) -> Path:
        """Connection files and sockets of the kernels."""
        return self.root / "run"

    @property
    def tmp(self) -> Path:
        """Their temporary files."""
        return self.root / "tmp"

    @property
    def startup(self) -> Path:
        """What each kernel runs first."""
        return self.config / "startup.py"

    def write(self, *, port: int, token: str, welcome: Path, connect_ports: Sequence[int]) -> None:
        """Make the folders, give them to the server, and render the configuration.

        Args:
            port: where it listens.
            token: what it asks for.
            welcome: a notebook to begin with; it is put there once.
            connect_ports: of Spark's servers, the present one first.
        """
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o711)
        labs = self.config / "labconfig"
        for folder in (self.config, labs):
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, -1, self.owner[1])
            folder.chmod(0o750)
        # What lies inside of these is the server's: whoever is root touches nothing there, since
        # it may be a link to anywhere.
        for folder in (self.notebooks, self.own, self.run, self.tmp):
            folder.mkdir(exist_ok=True)
            os.chown(folder, *self.owner)
            folder.chmod(0o700)
        settings = {
            "port": port,
            "token": token,
            "notebooks": str(self.notebooks),
            "checkpoints": str(self.own / "checkpoints"),
            "transport": transport(self.run),
        }
        texts = {
            self.config / "settings.json": json.dumps(settings, indent=1),
            self.config / "jupyter_server_config.py": _CONFIG.read_text(),
            self.config / "migrated": "",  # else Jupyter looks for files of its version 3
            labs / "page_config.json": json.dumps(_NO_NEWS),
            self.startup: _STARTUP.read_text(),
        }
        for file, text in texts.items():
            _write_for(file, text, group=self.owner[1])
        self.name_servers(connect_ports)
        if not (self.config / "welcomed").exists():
            self._welcome(welcome)

    def name_servers(self, connect_ports: Sequence[int]) -> None:
        """Which of Spark's servers kernels use that start from now on; nothing without JupyterLab.

        Args:
            connect_ports: the present one first; a kernel that finds that gone takes another.
        """
        if self.config.is_dir():
            ports = " ".join(map(str, connect_ports))
            _write_for(self.config / "connect_ports", ports, group=self.owner[1])

    def _welcome(self, notebook: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with suppress(FileExistsError):
            file = os.open(self.notebooks / notebook.name, flags, 0o600)
            with os.fdopen(file, "wb") as stream:
                os.fchown(file, *self.owner)
                stream.write(notebook.read_bytes())
        _write_for(self.config / "welcomed", "", group=self.owner[1])


def transport(folder: Path) -> str:
    """How kernels are talked to: over sockets in `folder`, where their paths are short enough."""
    fits = len(os.fsencode(folder)) + _SOCKET_NAME <= _SOCKET_PATH_MAX
    return "ipc" if fits else "tcp"


def command(python: Path) -> list[str]:
    """The command line; holds no secret."""
    return [str(python), "-P", "-m", "jupyterlab"]


def environment(files: JupyterFiles) -> dict[str, str]:
    """Where the server finds its parts, also when its Python is not that of our environment."""
    data = Path(sysconfig.get_path("data"))
    return {
        "HOME": str(files.own),
        "TMPDIR": str(files.tmp),
        "PYTHONSTARTUP": str(files.startup),  # which IPython's kernels run, too
        "IPYTHONDIR": str(files.own / "ipython"),
        "JUPYTER_CONFIG_DIR": str(files.config),
        "JUPYTER_DATA_DIR": str(files.own / "data"),
        "JUPYTER_RUNTIME_DIR": str(files.run),
        "JUPYTER_PATH": str(data / "share" / "jupyter"),
        "JUPYTERLAB_DIR": str(data / "share" / "jupyter" / "lab"),
        "JUPYTERLAB_SETTINGS_DIR": str(files.own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(files.own / "workspaces"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }


def kernel_environment(
    *, connect_port: int, token: str, lake: str, s3: Mapping[str, str]
) -> dict[str, str]:
    """What connects a kernel to Spark and to the lake, by the names that `harbour env` uses.

    Args:
        connect_port: of Spark's present server; when that was replaced, a kernel finds the other
            by itself (`jupyter_startup`).
        token: of both servers.
        lake: as Spark names it.
        s3: what S3 clients read.
    """
    return {
        "SPARK_REMOTE": f"sc://localhost:{connect_port}/;user_id=notebooks",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
        "HARBOUR_LAKE": lake.replace("s3a://", "s3://"),
        "DATAHARBOUR_LAKE": lake,  # as Spark and the notebooks that run as jobs have it
        **s3,
    }


def problem(port: int, token: str, *, timeout_s: float = 2.0) -> str | None:
    """None when the server lets our token in and nobody without it, else the reason."""
    try:
        known = _status(port, timeout_s, {"Authorization": f"token {token}"})
        unknown = _status(port, timeout_s, {})
    except (OSError, HTTPException) as error:
        return f"port {port}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    if known != 200:
        return f"the server on port {port} does not take our token (status {known})"
    if unknown != 403:
        return f"the server on port {port} lets everybody in (status {unknown})"
    return None


def _status(port: int, timeout_s: float, headers: Mapping[str, str]) -> int:
    connection = HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", "/api/status", headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def make_link(port: int, token: str, *, now: float | None = None) -> str:
    """An address that signs in once, within a minute: it proves that its maker has the token."""
    expires = int((time.time() if now is None else now) + TICKET_SECONDS)
    what = f"{expires}.{secrets.token_hex(12)}"
    proof = hmac.new(token.encode(), what.encode(), hashlib.sha256).hexdigest()
    return f"http://{LOOPBACK}:{port}/lab?ticket={what}.{proof}"


def _write_for(file: Path, text: str, *, group: int) -> None:
    """Readable by the server, writable by us alone."""
    credentials.write_private(file, text)
    os.chown(file, -1, group)
    file.chmod(0o640)
