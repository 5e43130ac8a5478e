"""Repairing a run: what failed runs again in the same DAG run, and the old run stays as it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from dataharbour.api.routes import repairing
from dataharbour.jobs.model import Detail, Failure, FailureClass, RunRequest

DAG, DAG_RUN = "job__hello", "manual__1"
REASON = Failure(FailureClass.USER_ERROR, "ValueError: x")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def runs(server):
    return server.services.runs


@pytest.fixture
def open_run(runs):
    """What a task does when it comes; DAG runs start with no clear."""

    def opened(map_index: int = 0, *, clears: int = 0, task_id: str = "load", **request):
        request = {"application": "hello.py", "backend": "local", **request}
        return runs.open_run(
            RunRequest(**request),
            application_sha256="0" * 64,
            dag_id=DAG,
            dag_run_id=DAG_RUN,
            task_id=task_id,
            map_index=map_index,
            principal="ana",
            clears=clears,
            now=now(),
        )

    return opened


@pytest.fixture
def failed(server, runs, open_run):
    """One of two mapped tasks has failed, and so has Airflow's task; the other has succeeded."""
    good, bad = open_run(0), open_run(1, args=("old",), labels={"team": "ops"})
    for run in (good, bad):
        runs.start_attempt(run.id, backend="local", now=now())
    runs.finish(bad.id, detail=Detail.FAILED, failure=REASON, clears=0, now=now())
    server.airflow.failed[DAG, DAG_RUN] = {("load", 1), ("report", -1)}
    return bad


def repair(client, run, **headers):
    return client.post(f"/api/v1/runs/{run.id}:repair", headers=headers)


def test_a_failed_run_gets_another_in_its_place_and_stays_as_it_is(admin, server, runs, failed):
    answer = repair(admin, failed)
    made = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == made["links"]["self"]
    assert answer.headers["idempotency-key"]
    assert (made["state"], made["detail"]) == ("QUEUED", "QUEUED")
    assert (made["dag_id"], made["dag_run_id"]) == (DAG, DAG_RUN)
    assert made["links"]["retry_of"].endswith(str(failed.id))
    assert made["labels"] == {"team": "ops"}
    old = admin.get(f"/api/v1/runs/{failed.id}").json()
    assert (old["state"], old["failure"]["message"]) == ("FAILED", "ValueError: x")
    assert server.airflow.cleared == [{("load", 1), ("report", -1)}]
    assert server.airflow.credentials[-1] == "Bearer admin", "the caller's own"


def test_the_history_shows_the_chain(admin, server, runs, open_run, failed):
    first = repair(admin, failed).json()
    again = open_run(1, clears=1)
    assert str(again.id) == first["id"]
    runs.finish(again.id, detail=Detail.FAILED, failure=REASON, clears=1, now=now())
    server.airflow.failed[DAG, DAG_RUN] = {("load", 1)}
    second = repair(admin, again).json()
    chain = admin.get(f"/api/v1/runs/{failed.id}/repairs").json()["items"]
    assert [run["id"] for run in chain] == [second["id"], first["id"], str(failed.id)]
    assert (
        admin.get(second["links"]["repairs"].removeprefix("/dataharbour")).json()["items"] == chain
    )
    [event] = [e for e in runs.events(failed.id) if e.kind == "run.repaired"]
    assert (event.actor, event.data) == ("user:admin", {"by": first["id"]})


def test_the_task_runs_what_it_says_now_not_what_failed(admin, runs, open_run, failed):
    made = repair(admin, failed).json()
    taken = open_run(1, clears=1, args=("new",))
    assert str(taken.id) == made["id"]
    assert (taken.args, taken.application_sha256) == (("new",), "0" * 64)
    assert taken.labels == {"team": "ops"}
    runs.start_attempt(taken.id, backend="local", now=now())
    assert open_run(1, clears=1, args=("newest",)).args == ("new",), "its driver has it already"


def test_tasks_that_no_task_process_had_told_run_again_as_well(
    server, admin, runs, open_run, failed
):
    """A run that was ended by somebody else than its task, in the same DAG run."""
    other = open_run(2)
    runs.finish(other.id, detail=Detail.FAILED, failure=REASON, now=now())
    server.airflow.failed[DAG, DAG_RUN] |= {("load", 2)}
    repair(admin, failed)
    again = open_run(2, clears=1)
    assert (again.retry_of, again.detail) == (other.id, Detail.QUEUED)


def test_the_same_key_repairs_once(admin, server, failed):
    first = repair(admin, failed, **{"Idempotency-Key": "k"})
    second = repair(admin, failed, **{"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["id"] == second.json()["id"]
    assert len(server.airflow.cleared) == 1


def test_a_repeated_repair_is_answered_with_its_if_match_too(admin, failed):
    seen = admin.get(f"/api/v1/runs/{failed.id}").headers["etag"]
    headers = {"Idempotency-Key": "k", "If-Match": seen}
    assert [repair(admin, failed, **headers).status_code for _ in range(2)] == [202, 200]


def test_a_key_of_another_repair_is_refused(admin, server, runs, open_run, failed):
    repair(admin, failed, **{"Idempotency-Key": "k"})
    other = open_run(2)
    runs.finish(other.id, detail=Detail.FAILED, failure=REASON, clears=0, now=now())
    server.airflow.failed[DAG, DAG_RUN] = {("load", 2)}
    answer = repair(admin, other, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-conflict")
    assert runs.get(other.id).is_current


def test_of_two_people_one_repairs(admin, server, failed):
    seen = admin.get(f"/api/v1/runs/{failed.id}").headers["etag"]
    with server.client("op") as op, ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(lambda client: repair(client, failed, **{"If-Match": seen}), [admin, op])
        )
    assert sorted(answer.status_code for answer in answers) in ([202, 409], [202, 412])
    late = repair(admin, failed, **{"If-Match": seen})
    assert (late.status_code, late.json()["code"]) == (412, "stale")
    unguarded = repair(admin, failed)
    assert (unguarded.status_code, unguarded.json()["code"]) == (409, "conflict")
    assert "repairs" in unguarded.json()["remedy"]


def test_another_version_than_the_one_that_was_read_is_refused(admin, server, failed):
    answer = repair(admin, failed, **{"If-Match": '"1-00000000"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    assert server.airflow.cleared == []


def test_only_what_has_ended_badly_is_repaired(admin, driver):
    path = f"/api/v1/runs/{driver.run_id}:repair"
    assert admin.post(path).status_code == 409
    driver.finish()
    answer = admin.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "is SUCCEEDED" in answer.json()["detail"]


def test_a_task_that_hears_of_the_end_a_moment_later_is_waited_for(admin, server, failed):
    both, server.airflow.failed[DAG, DAG_RUN] = server.airflow.failed[DAG, DAG_RUN], set()
    later = threading.Timer(0.7, server.airflow.failed.__setitem__, [(DAG, DAG_RUN), both])
    later.start()
    assert repair(admin, failed).status_code == 202
    later.join()


def test_a_task_that_airflow_does_not_have_as_failed_is_not_repaired(
    admin, server, runs, failed, monkeypatch
):
    monkeypatch.setattr(repairing, "HEARD_WITHIN_S", 0.0)
    server.airflow.failed[DAG, DAG_RUN] = {("report", -1)}
    answer = repair(admin, failed)
    assert answer.status_code == 409
    assert "does not have the task" in answer.json()["detail"]
    assert runs.get(failed.id).is_current
    assert server.airflow.cleared == []


def test_a_dag_run_that_is_gone_is_told(admin, server, failed):
    server.airflow.failed.clear()
    answer = repair(admin, failed)
    assert answer.status_code == 409
    assert ":retry" in answer.json()["remedy"]


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (400, "refused-by-airflow")])
def test_when_airflow_refuses_nothing_is_kept(admin, server, runs, failed, status, code):
    server.airflow.fail_with = status
    answer = repair(admin, failed)
    assert answer.json()["code"] == code
    assert [run.id for run in runs.repairs(failed.id)] == [failed.id]
    assert runs.get(failed.id).is_current
    server.airflow.fail_with = None
    assert repair(admin, failed).status_code == 202


def test_when_airflow_refuses_the_other_failed_runs_are_as_they_were(
    admin, server, runs, open_run, failed
):
    """Their tasks, which nobody has cleared, still hear of their ends."""
    other = open_run(2)
    runs.finish(other.id, detail=Detail.FAILED, failure=REASON, now=now())
    server.airflow.failed[DAG, DAG_RUN] |= {("load", 2)}
    server.airflow.fail_with = 403
    assert repair(admin, failed).status_code == 403
    assert runs.get(other.id).clears is None
    assert open_run(2).id == other.id


def test_when_the_answer_is_lost_the_same_key_completes_it(admin, server, runs, failed):
    server.airflow.lose_the_answer = True
    lost = repair(admin, failed, **{"Idempotency-Key": "k"})
    assert lost.status_code == 503
    server.airflow.lose_the_answer = False
    again = repair(admin, failed, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["detail"]) == (200, "QUEUED")
    assert len(runs.repairs(failed.id)) == 2


def test_a_task_that_comes_before_the_answer_is_not_disturbed(
    admin, server, runs, open_run, failed
):
    """Somebody clears it in Airflow at the same moment."""

    def task_comes() -> None:
        runs.start_attempt(open_run(1, clears=1).id, backend="local", now=now())

    server.airflow.before_clear = task_comes
    made = repair(admin, failed).json()
    assert made["detail"] == "SUBMITTING"


def test_who_may_not_start_may_not_repair_and_a_foreign_run_is_not_there(server, failed):
    with server.client("viewer") as viewer:
        assert repair(viewer, failed).status_code == 403
    server.roles.hidden.add(DAG)
    with server.client("op") as op:
        assert repair(op, failed).status_code == 404


def test_a_one_off_run_is_repaired_by_op_alone(server, admin):
    run = admin.post("/api/v1/runs", json={"application": "hello.py"}).json()
    admin.post(f"/api/v1/runs/{run['id']}:cancel")
    server.airflow.failed["spark_job", run["dag_run_id"]] = {("run", -1)}
    path = f"/api/v1/runs/{run['id']}:repair"
    with server.client("user") as user:
        assert user.post(path).status_code == 403
    assert admin.post(path).status_code == 202


def test_who_repeats_the_first_request_is_told_of_the_run_in_its_place(server, admin):
    key = {"Idempotency-Key": "first"}
    body = {"application": "hello.py"}
    run = admin.post("/api/v1/runs", json=body, headers=key).json()
    admin.post(f"/api/v1/runs/{run['id']}:cancel")
    server.airflow.failed["spark_job", run["dag_run_id"]] = {("run", -1)}
    made = admin.post(f"/api/v1/runs/{run['id']}:repair").json()
    again = admin.post("/api/v1/runs", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, made["id"])


def test_a_page_of_another_site_cannot_repair(server, failed):
    with server.client(None, cookies={"_token": "admin"}) as browser:
        assert repair(browser, failed, Origin="http://evil.example").status_code == 403
