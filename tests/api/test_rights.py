"""Which rights each address asks for: those that it says, and no others."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest

from dataharbour.api.access import Right
from dataharbour.api.answers import OPERATE, RIGHTS
from dataharbour.api.app import create_app
from dataharbour.jobs.clusters import Cluster
from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.model import Detail, RunRequest

SAID = {
    f"{method.upper()} {path}": operation.get(RIGHTS, [])
    for path, operations in create_app(SimpleNamespace(access=None)).openapi()["paths"].items()
    for method, operation in operations.items()
    if path.startswith("/api/v1/")
}
EVERY_RIGHT = {f"{right.method} {right.part or 'DAG'}" for right in Right} | {OPERATE}
ONE_OFF = {"application": "hello.py", "backend": "local"}


def lacking(rights: set[str]) -> set[tuple[str, str | None]]:
    """As the stand-in for the auth manager has them."""
    pairs = (right.split(" ") for right in rights)
    return {(method, None if part == "DAG" else part) for method, part in pairs}


@pytest.fixture
def run_id(server) -> str:
    """A run of the job `hello` that has failed and left a file."""
    server.clusters.append(Cluster("standalone", "healthy"))
    runs, now = server.services.runs, server.services.now
    run = runs.open_run(
        RunRequest(application="report.ipynb", job="hello"),
        application_sha256="0" * 64,
        dag_id="job__hello",
        dag_run_id=uuid4().hex,
        task_id="run",
        principal="ada",
        now=now(),
    )
    grant = runs.start_attempt(run.id, backend="connect", now=now())
    folder = server.services.settings.home / "runs" / str(grant.attempt_id)
    folder.mkdir(parents=True)
    artifacts.write(folder, "notebook.ipynb", b"{}")
    runs.give_up(run.id, now=now())
    runs.finish(run.id, detail=Detail.FAILED, now=now())
    return str(run.id)


@pytest.fixture
def refused(server, admin, run_id):
    """Whether an address says no to who lacks rights, or shows nothing to them."""

    def asked(address: str, rights: set[str]) -> bool:
        server.roles.lacking = lacking(rights)
        method, path = address.split(" ")
        names = {"{run_id}": run_id, "{name}": "notebook.ipynb" if "artifacts" in path else "hello"}
        for name, value in names.items():
            path = path.replace(name, value)
        body = None if method in ("GET", "DELETE") else ONE_OFF if path.endswith("v1/runs") else {}
        answer = admin.request(method, path, json=body)
        if answer.status_code in (403, 404):
            return answer.json()["code"] in ("forbidden", "job-not-found", "run-not-found")
        assert answer.status_code < 500, answer.text
        return run_id not in path and answer.is_success and shows_nothing(answer.json())

    return asked


def shows_nothing(body) -> bool:
    items = body.get("items")
    if items and "day" in items[0]:
        return sum(day["failed"] for day in items) == 0
    return body.get("failed") == 0 or items == []


def test_every_address_says_which_rights_it_asks_for():
    assert [address for address, rights in SAID.items() if not rights] == []
    assert {right for rights in SAID.values() for right in rights} == EVERY_RIGHT


@pytest.mark.parametrize("address", sorted(SAID))
def test_an_address_asks_for_the_rights_that_it_says(refused, address):
    said = set(SAID[address])
    for right in said:
        assert refused(address, {right}), f"{right} is not asked for"
    assert not refused(address, EVERY_RIGHT - said), "another right is asked for"


def test_who_may_see_a_run_and_not_read_its_output_is_told_so(server, admin, run_id):
    server.roles.lacking = {("GET", "TASK_LOGS")}
    assert admin.get(f"/api/v1/runs/{run_id}").status_code == 200
    answer = admin.get(f"/api/v1/runs/{run_id}/logs")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "GET TASK_LOGS" in answer.json()["remedy"]


def test_a_list_of_jobs_asks_for_the_rights_once(server, admin, settings):
    for number in range(40):
        (settings.include_dir / "jobs" / f"job{number}.yaml").write_text("application: hello.py\n")
    assert len(admin.get("/api/v1/jobs").json()["items"]) == 41
    assert server.roles.asked == 1
