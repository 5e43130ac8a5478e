"""The keeper with two servers that speak the protocol; only the processes are made up."""

from __future__ import annotations

import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest

from dataharbour.errors import Unavailable
from dataharbour.platform import connect_keeper, connect_state
from dataharbour.platform.connect_keeper import Keeper
from dataharbour.platform.connect_pair import Limits, Pair
from dataharbour.platform.layout import Home
from dataharbour.platform.supervise import ServiceState

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pandas 3, which pyspark does not know yet
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

Response = base_pb2.ExecutePlanResponse
LIMITS = Limits(memory_bytes=2**40, settle_s=0)
LEAKY = Limits(memory_bytes=2**40, sessions=0, settle_s=0)


class Spark(base_pb2_grpc.SparkConnectServiceServicer):
    """One server: its protocol, and its page."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.sessions, self.served = 1, 5
        self.queries: list[str] = []
        self.users: set[str] = set()
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        base_pb2_grpc.add_SparkConnectServiceServicer_to_server(self, self._grpc)
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        self._http = HTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.page = self._http.server_port

    def ExecutePlan(self, request, context):
        if self.hangs.is_set():
            time.sleep(5)
        plan = request.plan
        sql = plan.root.sql.query or plan.command.sql_command.input.sql.query
        self.queries.append(sql)
        self.users.add(request.user_context.user_id)
        if plan.HasField("root"):
            yield Response(arrow_batch=Response.ArrowBatch(row_count=1, data=b"x"))
        else:
            yield Response(sql_command_result=Response.SqlCommandResult())

    def _handler(self):
        spark = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = (
                    f"<h4>{spark.sessions}\n session(s) are online,\n running\n 0\n Request(s)</h4>"
                    f"Session Statistics ({spark.served})"
                ).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_) -> None:
                pass

        return Page

    def close(self) -> None:
        self._grpc.stop(None)
        self._http.shutdown()
        self._http.server_close()


class Supervisor:
    """Starts and stops nothing, and says what it was told."""

    def __init__(self) -> None:
        self.since = {"spark": time.time() - 300}
        self.done: list[str] = []
        self.is_alive = True

    def states(self) -> list[ServiceState]:
        if not self.is_alive:
            return []
        return [
            ServiceState(name, "running", os.getpid(), self.since[name])
            if name in self.since
            else ServiceState(name, "stopped", None, None)
            for name in ("spark", "spark_standby", "postgres")
        ]

    def start(self, name: str) -> None:
        self.done.append(f"start {name}")
        self.since[name] = time.time()

    def stop(self, names, *, timeout_s: float) -> None:
        for name in names:
            self.done.append(f"stop {name}")
            del self.since[name]


class Platform:
    """What the keepers of a test have in common."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.supervisor = Supervisor()
        self.spark = {"spark": Spark(), "spark_standby": Spark()}
        self.connection: str | None = None
        self.kernels_use: list[int] = []
        self.airflow_is_away = False
        self.said: list[str] = []
        self.keeper = self.new_keeper()

    def new_keeper(self) -> Keeper:
        """As after `kill -9` of the last."""
        ports = {connect_state.PORTS[name]: each.port for name, each in self.spark.items()}
        ports |= {connect_state.PAGES[name]: each.page for name, each in self.spark.items()}
        self.keeper = Keeper(
            self.home, self.supervisor, ports=ports, token="t",
            publish=self.publish, tell_notebooks=self.tell_notebooks, say=self.said.append,
        )  # fmt: skip
        return self.keeper

    def publish(self, server: str) -> None:
        if self.airflow_is_away:
            raise Unavailable("Airflow does not answer.", "Wait.")
        self.connection = server

    def tell_notebooks(self, ports: list[int]) -> None:
        self.kernels_use = ports

    @property
    def pair(self) -> Pair:
        return connect_state.load(self.home)

    def until(self, condition, *, limits: Limits = LIMITS, each=lambda: None) -> None:
        for _ in range(100):
            self.keeper.turn(limits)
            each()
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.pair} {self.supervisor.done} {self.said[-9:]}")


@pytest.fixture
def platform(tmp_path, monkeypatch):
    monkeypatch.setattr(connect_keeper, "PROBE_S", 0.3)
    monkeypatch.setattr(connect_keeper, "_PAGE_EVERY_S", 0.0)
    found = Platform(Home(tmp_path))
    yield found
    for each in found.spark.values():
        each.close()


def test_a_server_in_health_is_warmed_up_told_to_airflow_and_left_alone(platform):
    platform.until(lambda: any("warmed up" in line for line in platform.said))
    assert platform.keeper.turn(LIMITS)
    assert (platform.connection, platform.supervisor.done) == ("spark", [])
    queries = platform.spark["spark"].queries
    assert any(query.startswith("insert overwrite") for query in queries)
    assert platform.spark["spark"].users == {"harbour-probe"}


def leave(platform) -> None:
    platform.spark["spark"].sessions = 1  # the keeper's own


def test_a_leaking_server_is_replaced_and_stopped_once_it_is_idle(platform):
    platform.spark["spark"].sessions, platform.spark["spark"].served = 3, 10
    platform.until(lambda: platform.connection == "spark_standby", limits=LEAKY)
    for _ in range(3):
        platform.keeper.turn(LEAKY)
    assert platform.supervisor.done == ["start spark_standby"], "two runs go on"
    leave(platform)
    platform.until(lambda: "stop spark" in platform.supervisor.done, limits=LEAKY)
    assert "9 sessions" in platform.pair.why


def test_a_hanging_server_is_replaced_as_soon_as_the_other_answers(platform):
    platform.until(lambda: platform.connection == "spark")
    platform.spark["spark"].hangs.set()
    platform.until(lambda: platform.connection == "spark_standby")
    assert "has not answered" in platform.pair.why
    assert platform.supervisor.done == ["start spark_standby"], "it may come back"
    assert platform.kernels_use == [platform.spark[n].port for n in ("spark_standby", "spark")]


def test_one_that_answers_again_is_not_replaced(platform):
    platform.until(lambda: platform.connection == "spark")
    platform.spark["spark"].hangs.set()
    platform.keeper.turn(LIMITS)
    platform.spark["spark"].hangs.clear()
    for _ in range(3):
        platform.keeper.turn(LIMITS)
    assert platform.supervisor.done == []


def test_while_airflow_is_away_runs_keep_their_server_and_it_is_asked_again(platform):
    platform.until(lambda: platform.connection == "spark")
    platform.airflow_is_away = True
    platform.until(lambda: platform.pair.current == "spark_standby", limits=LEAKY)
    leave(platform)
    for _ in range(3):
        platform.keeper.turn(LEAKY)
    assert "stop spark" not in platform.supervisor.done, "new runs still come to it"
    platform.airflow_is_away = False
    platform.until(lambda: "stop spark" in platform.supervisor.done, limits=LEAKY)
    assert platform.connection == "spark_standby"


def test_without_the_supervisor_nothing_is_changed(platform):
    platform.until(lambda: platform.connection == "spark")
    platform.supervisor.is_alive = False
    before = platform.pair
    assert not platform.keeper.turn(LEAKY)
    assert platform.pair == before


def test_a_keeper_that_is_killed_at_each_turn_gets_there(platform):
    platform.spark["spark"].sessions, platform.spark["spark"].served = 2, 10

    def killed() -> None:
        warm = platform.keeper._lives.get("spark_standby")
        if warm is None or not warm.answered or warm.warmed:  # it must come to warm one up
            platform.new_keeper()

    platform.until(lambda: platform.connection == "spark_standby", limits=LEAKY, each=killed)
    leave(platform)
    platform.until(lambda: "stop spark" in platform.supervisor.done, limits=LEAKY, each=killed)
    assert platform.supervisor.done == ["start spark_standby", "stop spark"]


@pytest.mark.parametrize("at", ["save", "publish", "save-after-publish"])
def test_a_keeper_that_dies_while_it_switches_is_followed_by_one_that_ends_it(
    platform, monkeypatch, at
):
    platform.until(lambda: platform.connection == "spark")
    real, saves = connect_state.save, []

    class Killed(BaseException):
        pass

    def save(home, pair):
        saves.append(pair)
        if at == "save" or (at == "save-after-publish" and len(saves) == 2):
            raise Killed
        real(home, pair)

    def publish(server):
        if at == "publish":
            raise Killed
        platform.connection = server

    monkeypatch.setattr(connect_state, "save", save)
    monkeypatch.setattr(platform, "publish", publish)
    platform.new_keeper()
    with pytest.raises(Killed):
        platform.until(lambda: False, limits=LEAKY)
    monkeypatch.undo()
    monkeypatch.setattr(connect_keeper, "_PAGE_EVERY_S", 0.0)
    platform.new_keeper()
    platform.until(lambda: "stop spark" in platform.supervisor.done, limits=LEAKY)
    assert platform.pair.current == platform.pair.published == "spark_standby"
    assert platform.connection == "spark_standby"
