"""What the backend `standalone` asks of a master, and how it reads the answers; no Spark here."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import jwt
import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.applications import resolve_application
from dataharbour.jobs.backends.launch import (
    LakeEndpoint,
    LaunchContext,
    NotSubmitted,
    StartedDriver,
)
from dataharbour.jobs.backends.master import ClusterEndpoint, Master, Unanswered, sign
from dataharbour.jobs.backends.standalone import StandaloneBackend, submission
from dataharbour.jobs.driver.carried import MAX_SOURCE, Carried
from dataharbour.jobs.model import AttemptGrant, RunRequest
from dataharbour.settings import Settings

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
ATTEMPT, RUN = UUID(int=1), UUID(int=2)


class FakeMaster:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.tokens: list[str | None] = []
        master = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                master.asked.append((self.path, json.loads(body or b"{}")))
                master.tokens.append(self.headers.get("Authorization"))
                answer = master.answers.get([*self.path.split("/"), "", ""][3], (200, {}))
                status, document = answer if isinstance(answer, tuple) else (200, answer)
                text = document if isinstance(document, str) else json.dumps(document)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def master() -> Iterator[FakeMaster]:
    made = FakeMaster()
    yield made
    made.server.shutdown()
    made.server.server_close()


def endpoint(*urls: str, **fields: str) -> ClusterEndpoint:
    return ClusterEndpoint("spark://m:7077", urls or ("http://127.0.0.1:1",), key=KEY, **fields)


@pytest.fixture
def context(tmp_path: Path) -> LaunchContext:
    (tmp_path / "a.py").write_text("print(1)")
    settings = Settings(
        home=tmp_path / "home",
        include_dir=tmp_path,
        applications=(tmp_path,),
        lake="s3a://lake",
        java_home=None,
        spark_defaults=None,
        driver_dsn_file=tmp_path / "driver.dsn",
    )
    return LaunchContext(
        grant=AttemptGrant(attempt_id=ATTEMPT, run_id=RUN, number=1, fence=1, token="the-token"),
        request=RunRequest(
            "a.py",
            args=("--x", "a b"),
            conf={
                "spark.driver.memory": "1g",
                "spark.executor.cores": "2",
                "spark.executor.instances": "3",
                "spark.sql.shuffle.partitions": "7",
            },
        ),
        application=resolve_application("a.py", settings.applications),
        principal="ana",
        settings=settings,
        driver_conninfo="host=db user=harbour_driver password=driver-password",
        lake=LakeEndpoint("s3a://lake", access_key="lake-key", secret_key="lake-secret"),
    )


def pairs(args: list[str]) -> dict[str, str]:
    values = [args[at + 1] for at, part in enumerate(args) if part == "--conf"]
    return dict(value.split("=", 1) for value in values)


def test_the_request_names_the_master_where_spark_reads_it_and_no_secret_in_an_argument(context):
    body = submission(context, endpoint(driver_file="/opt/driver/cluster.py"))
    args = body["appArgs"]
    assert args[:4] == ["--master", "spark://m:7077", "--deploy-mode", "client"]
    assert args[-1] == "/opt/driver/cluster.py"
    conf = pairs(args)
    assert conf["spark.cores.max"] == "6", "two cores for each of three executors"
    assert conf["spark.executor.memory"] == "512m"
    assert conf["spark.sql.shuffle.partitions"] == "7"
    assert conf["spark.ui.enabled"] == "false"
    assert conf["spark.dataharbour.run"] == str(RUN)
    assert not [key for key in conf if key.startswith("spark.driver.")]
    assert body["sparkProperties"]["spark.driver.memory"] == "1g"
    assert body["sparkProperties"]["spark.driver.cores"] == "1"
    assert body["sparkProperties"]["spark.driver.supervise"] == "false"
    visible = json.dumps([args, body["sparkProperties"]])
    for secret in ("the-token", "driver-password", "lake-secret", "lake-key", KEY):
        assert secret not in visible


def test_the_attempt_travels_in_the_environment(context):
    variables = submission(context, endpoint())["environmentVariables"]
    carried = Carried.take(variables)
    assert carried.source == b"print(1)"
    assert carried.args == ["--x", "a b"]
    assert carried.ticket == "the-token"
    assert {"the-token", "driver-password"} <= set(carried.secrets)
    assert "lake-" not in json.dumps([asdict(replace(carried, source="")), variables])
    assert carried.environment["DATAHARBOUR_RUN_ID"] == str(RUN)
    assert "_SPARK_AUTH_SECRET" in carried.unset
    assert variables == {
        "HARBOUR_PLATFORM": str(context.settings.home),
        "HARBOUR_SERVICE": "driver",
        "SPARK_ENV_LOADED": "1",
    }


def test_an_application_that_is_too_large_to_travel_is_told(context):
    context.application.path.write_text("#" * (MAX_SOURCE + 1))
    with pytest.raises(ConfigError, match="can travel") as caught:
        submission(context, endpoint())
    assert "backend local" in caught.value.remedy


def test_requests_are_signed_for_a_minute(master):
    master.answers["status"] = {"success": True, "driverState": "RUNNING"}
    assert Master(endpoint(master.url), clock=lambda: 1_000).state("driver-1") == "RUNNING"
    token = (master.tokens[0] or "").removeprefix("Bearer ")
    claims = jwt.decode(token, b"k" * 32, ["HS256"], options={"verify_exp": False})
    assert claims == {"sub": "dataharbour", "exp": 1_060}


def test_a_key_without_padding_is_the_same_key():
    assert sign(KEY, until=5) == sign(KEY.rstrip("="), until=5)


@pytest.mark.parametrize(
    ("state", "alive"),
    [
        ("SUBMITTED", True),
        ("RUNNING", True),
        ("FINISHED", False),
        ("FAILED", False),
        ("KILLED", False),
        ("ERROR", False),
        ("RELAUNCHING", None),
        ("UNKNOWN", None),
        (None, None),
    ],
)
def test_what_a_state_says_about_life(master, state, alive):
    answer = {"success": state is not None} | ({"driverState": state} if state else {})
    master.answers["status"] = answer
    assert StandaloneBackend(lambda: endpoint(master.url)).is_alive("driver-1") is alive


def test_a_master_that_is_away_or_refuses_us_leaves_it_open(master):
    assert StandaloneBackend(endpoint).is_alive("driver-1") is None
    master.answers["status"] = (403, "<html>no</html>")
    assert StandaloneBackend(lambda: endpoint(master.url)).is_alive("driver-1") is None
    StandaloneBackend(endpoint).kill(StartedDriver(ATTEMPT, "driver-1", "ana"))


def test_a_connection_that_somebody_deleted_stops_nobody():
    def gone() -> ClusterEndpoint:
        raise LookupError("The conn_id `dataharbour_spark_standalone` isn't defined")

    backend = StandaloneBackend(gone)
    assert backend.is_alive("driver-1") is None
    backend.kill(StartedDriver(ATTEMPT, "driver-1", "ana"))


def test_a_standby_master_is_passed_over(master):
    standby, leader = FakeMaster(), master
    standby.answers["create"] = {
        "success": False, "message": "Exception: Current state is not alive: STANDBY. …",
    }  # fmt: skip
    leader.answers["create"] = {"success": True, "submissionId": "driver-7"}
    urls = ("http://127.0.0.1:1", standby.url, leader.url)
    assert Master(endpoint(*urls)).create({"action": "x"}) == "driver-7"
    assert leader.asked == [("/v1/submissions/create", {"action": "x"})]
    standby.server.shutdown()
    standby.server.server_close()


def test_what_the_master_refuses_is_told_in_its_words(master):
    master.answers["create"] = (400, {"action": "ErrorResponse", "message": "Field x is missing."})
    with pytest.raises(ConfigError, match="took no driver: Field x is missing"):
        Master(endpoint(master.url)).create({})


def test_something_else_at_that_address_is_told(master):
    master.answers["create"] = (404, "<html>")
    with pytest.raises(Unavailable, match="answers 404, and no JSON"):
        Master(endpoint(master.url)).create({})


def test_a_kill_is_confirmed(master, monkeypatch):
    states = iter(["RUNNING", "RUNNING", "KILLED"])
    monkeypatch.setattr(Master, "state", lambda *_: next(states))
    StandaloneBackend(lambda: endpoint(master.url)).kill(StartedDriver(ATTEMPT, "driver-1", "ana"))
    assert [path for path, _ in master.asked] == ["/v1/submissions/kill/driver-1"]
    assert next(states, "asked until it was over") == "asked until it was over"


def test_a_driver_that_nobody_knows_is_not_killed(master):
    StandaloneBackend(lambda: endpoint(master.url)).kill(StartedDriver(ATTEMPT, None, "ana"))
    assert master.asked == []


def test_a_cluster_that_is_away_has_taken_no_driver_unless_an_answer_was_lost(
    master, context, monkeypatch
):
    with pytest.raises(NotSubmitted, match="No Spark master answers"):
        StandaloneBackend(endpoint).submit(context)
    errors = iter([Unanswered("lost", ""), Unavailable("refused", "")])

    def create(*_):
        raise next(errors)

    monkeypatch.setattr(Master, "create", create)
    with pytest.raises(Unavailable, match="lost") as caught:
        StandaloneBackend(endpoint).submit(context)
    assert not isinstance(caught.value, NotSubmitted)


def test_people_are_led_to_the_masters_page_only_where_they_get_in(master):
    backend = StandaloneBackend(lambda: endpoint(ui_url=master.url))
    assert backend.ui_url("driver-1") == master.url
    assert master.tokens == [None], "asked as a browser would"
    master.answers[""] = (403, "<html>no token</html>")
    assert backend.ui_url("driver-1") is None
    assert StandaloneBackend(lambda: endpoint(ui_url="http://127.0.0.1:1")).ui_url("x") is None
    assert StandaloneBackend(endpoint).ui_url("driver-1") is None
