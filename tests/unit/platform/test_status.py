from __future__ import annotations

import pytest

from dataharbour.cli import show
from dataharbour.platform import connect_state, ports
from dataharbour.platform.connect_pair import Pair
from dataharbour.platform.credentials import Credentials
from dataharbour.platform.layout import Home
from dataharbour.platform.spark_connection import spark_connection
from dataharbour.platform.status import _shown_as, status
from dataharbour.platform.supervise import ServiceState, Supervisor

PORTS = {
    "spark_connect": 1, "spark_ui": 2, "spark_standby_connect": 3, "spark_standby_ui": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "state", "current", "shown"),
    [
        ("spark", "running", "spark", "spark"),
        ("spark_standby", "running", "spark_standby", "spark"),
        ("spark", "running", "spark_standby", "spark_standby"),
        ("spark_standby", "stopped", "spark", None),
        ("spark", "stopped", "spark_standby", None),
        ("spark", "failed", "spark", "spark"),
        ("spark_standby", "orphaned", "spark", "spark_standby"),
        ("postgres", "stopped", "spark", "postgres"),
    ],
)
def test_the_server_of_new_runs_is_shown_as_spark(name, state, current, shown):
    pid = 7 if state in ("running", "orphaned") else None
    assert _shown_as(ServiceState(name, state, pid, None), current) == shown


def test_a_service_with_several_ports_shows_them_all(tmp_path, monkeypatch, capsys):
    home = Home(tmp_path)
    home.run.mkdir()
    ports.save(home.run / "ports.json", ports.PREFERRED)
    names = ("spark_master", "spark", "postgres")
    states = [ServiceState(name, "backoff", None, None) for name in names]
    monkeypatch.setattr(Supervisor, "states", lambda _: states)
    found = status(home)
    further = {row["name"]: row["further_ports"] for row in found["services"]}
    assert further == {
        "postgres": {},
        "spark": {"ui": 14040},
        "spark_master": {"rest": 16066, "ui": 18081},
    }
    show.status(found, output=show.Form.TEXT)
    printed = " ".join(capsys.readouterr().out.split())
    assert "spark_master backoff 17077, rest 16066, ui 18081" in printed
    assert "postgres backoff 15432 spark" in printed


@pytest.mark.parametrize(("server", "port", "page"), [("spark", 1, 2), ("spark_standby", 3, 4)])
def test_airflows_connection_names_the_server_and_its_pages(server, port, page):
    connection = spark_connection(server, PORTS, Credentials())
    assert (connection["host"], connection["port"]) == ("localhost", port)
    assert f'"ui_url": "http://127.0.0.1:{page}"' in connection["extra"]


def test_what_is_kept_is_read_again(tmp_path):
    home, pair = Home(tmp_path), Pair("spark_standby", "spark", 1.5, 2.5, "it leaked")
    connect_state.save(home, pair)
    assert connect_state.load(home) == pair


@pytest.mark.parametrize("text", ["", "{", '{"current": "other"}', '{"unknown": 1}', "[]"])
def test_what_cannot_be_read_is_the_first_server(tmp_path, text):
    home = Home(tmp_path)
    home.run.mkdir()
    (home.run / "spark_servers.json").write_text(text)
    assert connect_state.load(home) == Pair()
