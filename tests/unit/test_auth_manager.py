"""Who may start any application, asked at the addresses of Airflow's own API.

The whole application of the API server, in a process of its own, with a metadata database and
users of every role, and without a socket.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.testing.asked_airflow import ask_airflow

ASK = """
import json
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils.db import initdb

initdb()
app = create_app(apps="core")

from datetime import UTC, datetime
from airflow.models.backfill import Backfill
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session
from fastapi.testclient import TestClient

manager = get_auth_manager()
users = {role: SimpleAuthManagerUser(username=role, role=role)
         for role in ("viewer", "user", "op", "admin")}
tokens = {role: manager.generate_jwt(user) for role, user in users.items()}
day = datetime(2026, 1, 1, tzinfo=UTC)
with create_session() as session:
    session.add(DagBundleModel(name="ours"))
    session.flush()
    session.add_all(DagModel(dag_id=dag_id, bundle_name="ours", fileloc="x")
                    for dag_id in ("spark_job", "job__hello"))
    backfills = {dag_id: Backfill(dag_id=dag_id, from_date=day, to_date=day, max_active_runs=1)
                 for dag_id in ("spark_job", "job__hello")}
    session.add_all(backfills.values())
    session.flush()
    backfills = {dag_id: backfill.id for dag_id, backfill in backfills.items()}


def run(dag_id):
    return {"dag_id": dag_id, "dag_run_id": "r"}


def task(dag_id):
    return run(dag_id) | {"task_id": "run", "new_state": "success"}


def bulk(*entities, action="update"):
    return {"actions": [{"action": action, "entities": list(entities)}]}


DAG_RUNS = "/api/v2/dags/{dag_id}/dagRuns"
BODIES = {
    "PATCH " + DAG_RUNS: lambda dag_id: bulk("r", action="delete"),
    "PATCH " + DAG_RUNS + "/{dag_run_id}/taskInstances": lambda dag_id: bulk(task(dag_id)),
    "POST /api/v2/dags/{dag_id}/clearDagRuns": lambda dag_id: {"dag_runs": [{"dag_run_id": "r"}]},
}
IN_THE_BODY = {
    "bulk": ("PATCH", "/api/v2/dags/~/dagRuns", lambda d: bulk(run(d))),
    "mixed bulk": ("PATCH", "/api/v2/dags/job__hello/dagRuns", lambda d: bulk(run(d))),
    "clear": ("POST", "/api/v2/dags/~/clearDagRuns", lambda d: {"dag_runs": [run(d)]}),
    "tasks": ("PATCH", "/api/v2/dags/~/dagRuns/~/taskInstances", lambda d: bulk(task(d))),
    "backfill": ("POST", "/api/v2/backfills", lambda d: {"dag_id": d}),
    "backfill, dry": ("POST", "/api/v2/backfills/dry_run", lambda d: {"dag_id": d}),
}
NAMES = {"dag_run_id": "r", "task_id": "run", "map_index": "-1", "group_id": "g", "asset_id": "1",
         "xcom_key": "k", "key": "k"}

client = TestClient(app, raise_server_exceptions=False)


def ask(role, method, path, body):
    headers = {"Authorization": f"Bearer {tokens[role]}"}
    answer = client.request(method, path, headers=headers, json=body)
    assert answer.status_code != 500, (method, path)
    if answer.status_code == 200 and "errors" in answer.text:  # a bulk answers for each
        parts = [part for part in answer.json().values() if part]
        return max((e["status_code"] for part in parts for e in part["errors"]), default=200)
    return answer.status_code


def statuses(role, method, path, body_of):
    return [ask(role, method, path.replace("{dag_id}", dag_id), body_of(dag_id))
            for dag_id in ("spark_job", "job__hello")]


def seen(role):
    headers = {"Authorization": f"Bearer {tokens[role]}"}
    answer = client.get("/api/v2/dags?exclude_stale=false", headers=headers)
    return sorted(dag["dag_id"] for dag in answer.json()["dags"])


answers = {"class": type(manager).__name__, "addresses": {}, "in_the_body": {}, "backfills": {}}
for verb in ("pause", "unpause", "cancel"):
    for role in ("viewer", "user", "op"):
        answers["backfills"][f"{verb} {role}"] = [
            ask(role, "PUT", f"/api/v2/backfills/{number}/{verb}", None)
            for number in backfills.values()
        ]

answers["reads"] = {
    role: [ask(role, "GET", "/api/v2/dags/~/dagRuns", None), *seen(role)] for role in tokens
}
for path, operations in app.openapi()["paths"].items():
    for method in operations:
        if "{dag_id}" not in path or method == "get":
            continue
        address = f"{method.upper()} {path}"
        body_of = BODIES.get(address, lambda dag_id: {})
        named = path
        for name, value in NAMES.items():
            named = named.replace("{" + name + "}", value)
        answers["addresses"][address] = {
            role: statuses(role, method.upper(), named, body_of) for role in tokens
        }
for name, (method, path, body_of) in IN_THE_BODY.items():
    answers["in_the_body"][name] = {role: statuses(role, method, path, body_of) for role in tokens}
answers["login"] = client.get("/auth/login").status_code
answers["menu"] = client.get(
    "/ui/auth/menus", headers={"Authorization": f"Bearer {tokens['user']}"}
).json()["authorized_menu_items"]


class Generous(SimpleAuthManager):  # answers many at once, and looks at no single one
    def is_authorized_dag(self, **asked):
        return True

    def batch_is_authorized_dag(self, requests, *, user):
        return True

    def is_authorized_configuration(self, *, method, user, details=None):
        return method == "GET" or user == "op"


from dataharbour.auth_manager import OneOffRunsNeedOp
theirs = type("Theirs", (OneOffRunsNeedOp, Generous), {})()
several = [{"method": "GET"}] + [
    {"method": "POST", "access_entity": DagAccessEntity.RUN, "details": DagDetails(id=dag_id)}
    for dag_id in (None, "job__hello", "spark_job")
]
answers["of_another_manager"] = {
    user: [theirs.batch_is_authorized_dag(several, user=user),
           theirs.batch_is_authorized_dag(several[:-1], user=user),
           theirs.is_authorized_dag(user=user, **several[-1])]
    for user in ("user", "op")
}
print(json.dumps(answers))
"""
OF_THE_DAG_ITSELF = {
    "PATCH /api/v2/dags/{dag_id}",
    "DELETE /api/v2/dags/{dag_id}",
}
READS = {
    "POST /api/v2/dags/{dag_id}/dagRuns/list",
    "POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
    "POST /api/v2/dags/{dag_id}/favorite",
    "POST /api/v2/dags/{dag_id}/unfavorite",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict:
    home: Path = tmp_path_factory.mktemp("airflow")
    return ask_airflow(
        ASK,
        home=home,
        core__plugins_folder=str(home),
        core__auth_manager="dataharbour.auth_manager.DataHarbourAuthManager",
    )


def test_whatever_changes_runs_of_spark_job_takes_op_and_those_of_jobs_a_user(answers):
    changes = {
        address: found
        for address, found in answers["addresses"].items()
        if address not in OF_THE_DAG_ITSELF | READS and "queuedEvents" not in address
    }
    assert "POST /api/v2/dags/{dag_id}/dagRuns" in changes
    assert len(changes) > 15
    for address, found in changes.items():
        assert found["viewer"] == [403, 403], address
        assert found["user"][0] == 403, address
        assert found["user"][1] != 403, address
        assert 403 not in found["op"] + found["admin"], address


def test_the_dag_itself_and_what_is_read_are_as_ever(answers):
    for address in READS:
        assert 403 not in answers["addresses"][address]["viewer"], address
    for address in OF_THE_DAG_ITSELF:
        assert 403 not in answers["addresses"][address]["user"], address
    everything = [200, "job__hello", "spark_job"]
    assert answers["reads"] == dict.fromkeys(("viewer", "user", "op", "admin"), everything)


def test_a_dag_that_the_body_names_is_asked_for_too(answers):
    for name, found in answers["in_the_body"].items():
        assert found["user"][0] == 403, name
        assert found["user"][1] != 403, name
        assert 403 not in found["op"], name


def test_a_backfill_is_its_dags(answers):
    for verb in ("pause", "unpause", "cancel"):
        assert answers["backfills"][f"{verb} viewer"] == [403, 403]
        assert answers["backfills"][f"{verb} user"][0] == 403
        assert answers["backfills"][f"{verb} user"][1] != 403
        assert 403 not in answers["backfills"][f"{verb} op"]


def test_the_login_page_and_the_menu_are_the_simple_managers(answers):
    assert answers["class"] == "DataHarbourAuthManager"
    assert answers["login"] == 200
    assert "Dags" in answers["menu"]


def test_before_another_manager_it_demands_the_same(answers):
    assert answers["of_another_manager"] == {
        "user": [False, True, False],
        "op": [True, True, True],
    }
