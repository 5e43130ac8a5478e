from __future__ import annotations

import json
import os
import runpy
import socket
import stat
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from dataharbour.platform import jupyter
from dataharbour.platform.jupyter import JupyterFiles
from dataharbour.platform.layout import Home

NOW = 1_795_571_600.0


@pytest.fixture
def files(tmp_path: Path) -> JupyterFiles:
    files = JupyterFiles(tmp_path / "jupyter", tmp_path / "notebooks", (os.getuid(), os.getgid()))
    (tmp_path / "welcome.ipynb").write_text("{}")
    write(files)
    return files


def write(files: JupyterFiles, **changed) -> None:
    welcome = files.root.parent / "welcome.ipynb"
    given = {"port": 18899, "token": "s3cret", "welcome": welcome, "connect_ports": [1, 2]}
    files.write(**given | changed)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_peoples_files_are_in_the_folder_of_notebooks(files):
    assert [path.name for path in files.notebooks.iterdir()] == ["welcome.ipynb"]
    assert mode(files.notebooks) == 0o700


def test_the_welcome_is_put_there_once(files):
    (files.notebooks / "welcome.ipynb").unlink()
    write(files)
    assert list(files.notebooks.iterdir()) == []


def test_a_notebook_of_that_name_is_left_alone(tmp_path):
    files = JupyterFiles(tmp_path / "jupyter", tmp_path / "notebooks", (os.getuid(), os.getgid()))
    files.notebooks.mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (files.notebooks / "welcome.ipynb").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "welcome.ipynb").write_text("{}")
    write(files)
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_what_the_server_reads_it_cannot_write_and_others_cannot_read(files):
    assert mode(files.config) == 0o750
    for path in files.config.rglob("*"):
        assert mode(path) == (0o750 if path.is_dir() else 0o640), path


def test_the_token_stands_in_one_file_and_in_no_command_or_variable(files):
    holders = [p for p in files.root.rglob("*") if p.is_file() and "s3cret" in p.read_text()]
    assert holders == [files.config / "settings.json"]
    said = [*jupyter.command(Path("/p")), *jupyter.environment(files).values()]
    assert not any("s3cret" in text for text in said)


def test_kernels_are_reached_by_sockets_where_their_paths_are_short_enough(tmp_path):
    short, long = Path("/srv/harbour/jupyter/run"), Path("/srv") / ("x" * 60)
    assert jupyter.transport(short) == "ipc"
    assert jupyter.transport(long) == "tcp"
    sockets = str(short / "kernel-7436e494-f92f-4b1b-bf94-937960aed732-ipc-5")
    assert len(sockets) == len(str(short)) + jupyter._SOCKET_NAME


def test_the_choice_is_remembered(tmp_path):
    home = Home(tmp_path)
    assert not jupyter.is_chosen(home)
    jupyter.remember(home, wanted=True)
    assert jupyter.is_chosen(home)
    jupyter.remember(home, wanted=False)
    assert not jupyter.is_chosen(home)


# --- the server that a kernel finds ----------------------------------------------------------


@pytest.fixture
def servers():
    """Two ports that answer: while the sessions of a replaced server end, it is still there."""
    with socket.create_server(("127.0.0.1", 0)) as old, socket.create_server(("", 0)) as new:
        yield old, new


@pytest.fixture
def kernel(files, monkeypatch):
    """Starts one: the address of Spark that its user's code finds."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(files.config))
    monkeypatch.setenv("SPARK_REMOTE", "as JupyterLab was started")
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)

    def start() -> str:
        runpy.run_path(str(files.startup))
        return os.environ["SPARK_REMOTE"]

    return start


def port_of(server) -> int:
    return server.getsockname()[1]


def test_a_kernel_uses_the_server_that_took_over(files, servers, kernel):
    old, new = map(port_of, servers)
    files.name_servers([old, new])
    assert kernel() == f"sc://localhost:{old}/;user_id=notebooks"
    files.name_servers([new, old])
    assert kernel() == f"sc://localhost:{new}/;user_id=notebooks"


def test_a_kernel_uses_the_one_that_answers(files, servers, kernel):
    old, new = servers
    files.name_servers([port_of(old), port_of(new)])
    old.close()
    assert kernel() == f"sc://localhost:{port_of(new)}/;user_id=notebooks"


def test_a_kernel_that_is_told_nothing_keeps_what_it_has(files, kernel):
    (files.config / "connect_ports").unlink()
    assert kernel() == "as JupyterLab was started"


def test_without_jupyterlab_nobody_is_told(tmp_path):
    JupyterFiles(tmp_path / "jupyter", tmp_path / "notebooks", (-1, -1)).name_servers([1, 2])
    assert not (tmp_path / "jupyter").exists()


# --- the configuration, as Jupyter runs it ---------------------------------------------------


class Section(SimpleNamespace):
    """A traitlets Config, as far as a configuration file uses it."""

    def __getattr__(self, name):
        made = Section()
        setattr(self, name, made)
        return made


@pytest.fixture
def configured(files, monkeypatch):
    pytest.importorskip("jupyter_server", reason="the extra notebooks is not installed")
    for name, value in jupyter.environment(files).items():
        monkeypatch.setenv(name, value)
    c = Section()
    found = runpy.run_path(str(files.config / "jupyter_server_config.py"), init_globals={"c": c})
    return SimpleNamespace(c=c, **{name: found[name] for name in ("Identity", "Checkpoints")})


@pytest.fixture
def identity(configured):
    configured.Identity.used.clear()
    return configured.Identity(token="s3cret")


def ticket(*, token: str = "s3cret", now: float = NOW) -> str:
    link = jupyter.make_link(18899, token, now=now)
    assert link.startswith("http://127.0.0.1:18899/lab?ticket=")
    assert token not in link
    return parse_qs(urlsplit(link).query)["ticket"][0]


def test_a_ticket_signs_in_once_within_a_minute(identity):
    fresh = ticket()
    assert identity.redeem(fresh, NOW + 59)
    assert not identity.redeem(fresh, NOW + 59)
    assert not identity.redeem(ticket(), NOW + 61)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "",
        lambda t: "x",
        lambda t: t[:-1],
        lambda t: "9" + t,  # a later end
        lambda t: t.replace(".", "..", 1),
        lambda t: "\u00e9." + t,
        lambda t: ticket(token="another"),
    ],
)
def test_a_ticket_that_was_not_made_with_the_token_is_worth_nothing(identity, change):
    assert not identity.redeem(change(ticket()), NOW)


def request(argument: dict[str, str], header: str = ""):
    return SimpleNamespace(
        get_argument=lambda name, default: argument.get(name, default),
        request=SimpleNamespace(headers={"Authorization": header} if header else {}),
    )


def test_the_token_is_taken_from_the_header_and_not_from_the_address(identity):
    assert identity.get_token(request({}, "token s3cret")) == "s3cret"
    assert identity.get_token(request({"token": "s3cret"})) == ""
    assert identity.get_token(request({})) == ""


def test_the_server_is_closed_to_others(configured):
    server = configured.c.ServerApp
    assert (server.ip, server.allow_origin, server.allow_remote_access) == ("127.0.0.1", "", False)
    assert (server.terminals_enabled, server.open_browser) == (False, False)
    assert configured.c.IdentityProvider.token == "s3cret"


def test_a_checkpoint_is_kept_outside_of_the_folder_of_notebooks(configured, files):
    checkpoints = configured.Checkpoints(root_dir=str(files.notebooks))
    first = Path(checkpoints.checkpoint_path("one", "a/x.ipynb"))
    second = Path(checkpoints.checkpoint_path("one", "b/x.ipynb"))
    assert first != second
    assert first.parent.is_dir()
    assert not first.is_relative_to(files.notebooks)


# --- readiness ---------------------------------------------------------------------------------


@pytest.fixture
def server():
    """Answers with the status that the test sets, by whether the token is right."""
    answers = {True: 200, False: 403}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers[self.headers.get("Authorization") == "token s3cret"])
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield SimpleNamespace(port=http.server_port, answers=answers)
        http.shutdown()


def test_it_is_ready_when_our_token_opens_and_nothing_else_does(server):
    assert jupyter.problem(server.port, "s3cret") is None
    assert "does not take our token" in (jupyter.problem(server.port, "old") or "")
    server.answers[False] = 200
    assert "lets everybody in" in (jupyter.problem(server.port, "s3cret") or "")


def test_a_server_that_does_not_listen_is_told_with_its_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert jupyter.problem(port, "s3cret") == f"port {port}: Connection refused"


# --- what each kernel runs first ----------------------------------------------------------------


def test_a_kernel_keeps_asking_for_its_session(monkeypatch):
    asked, over = threading.Event(), threading.Event()

    def sleep(_):
        if asked.is_set():
            over.set()
            threading.Event().wait()  # for ever: it dies with the tests

    session = SimpleNamespace(conf=SimpleNamespace(get=lambda _: asked.set()))
    module = types.ModuleType("pyspark.sql.connect.session")
    module.SparkSession = SimpleNamespace(_default_session=session)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("time.sleep", sleep)
    names: dict = {}
    exec(jupyter._STARTUP.read_text(), names)
    assert over.wait(5)
    assert set(names) <= {"__builtins__", "__doc__"}


def test_the_welcome_is_a_notebook_that_can_be_a_job():
    root = Path(__file__).resolve().parents[3]
    cells = json.loads((root / "include/notebooks/welcome.ipynb").read_text())["cells"]
    assert any("parameters" in cell["metadata"].get("tags", ()) for cell in cells)
    assert all(not cell.get("outputs") for cell in cells)
