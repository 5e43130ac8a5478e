"""The contract with Airflow's private modules, asked in a process of its own.

A real metadata database, real users and tokens of SimpleAuthManager; no server.
`tests/integration/test_api_live.py` asks the rest over HTTP.
"""

from pathlib import Path

import pytest

from dataharbour.api.access import Right
from dataharbour.testing.asked_airflow import ask_airflow

ASK = """
import asyncio, json, os
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils.db import initdb
from fastapi import Request

from dataharbour import airflow_compat
from dataharbour.api.access import Right
from dataharbour.errors import DataHarbourError

initdb()
manager = init_auth_manager()
access = airflow_compat.AirflowAccess()


def request(**headers):
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "state": {}})


def told(call, *args):
    try:
        return call(*args)
    except DataHarbourError as error:
        return [error.code, error.problem, error.remedy]


def asked(coroutine):
    return told(asyncio.run, coroutine)


answers = {"users": {}}
for role in ("viewer", "user", "op", "admin"):
    token = manager.generate_jwt(SimpleAuthManagerUser(username=role, role=role))
    by_header = asyncio.run(access.authenticate(request(authorization=f"Bearer {token}")))
    by_cookie = asyncio.run(access.authenticate(request(cookie=f"_token={token}")))
    answers["users"][role] = {
        "name": access.name(by_header),
        "cookie_name": access.name(by_cookie),
        "may": {
            right.name: [access.may(by_header, right.method, right.part, dag_id)
                         for dag_id in ("spark_job", None)]
            for right in Right
        },
        "operate": access.may_operate(by_header),
        "dags": sorted(access.readable_dags(by_header)),
    }

from airflow import settings
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.team import Team
from airflow.utils.session import create_session
from sqlalchemy import event

with create_session() as session:
    ours = DagBundleModel(name="ours")
    ours.teams.append(Team(name="ops"))
    session.add(ours)
    session.flush()
    session.add(DagModel(dag_id="job__ours", bundle_name="ours", fileloc="x"))
statements = []
event.listen(settings.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))


class PerDag(type(manager)):
    asked = []  # and lets nobody see what is of no team

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        self.asked.append([method, access_entity and access_entity.name, details.team_name])
        return details.team_name == "ops"


manager.__class__ = PerDag
many = ["job__ours", *(f"job__{number}" for number in range(200))]
answers["seen"] = sorted(access.those_that_may_be_seen(by_header, many))
answers["statements_for_many"] = len(statements)
answers["asked_of_seen"] = sorted(map(str, {tuple(each) for each in PerDag.asked}))
PerDag.asked.clear()
for right in Right:
    access.may(by_header, right.method, right.part, "job__ours")
answers["asked_of_rights"] = {r.name: each for r, each in zip(Right, PerDag.asked, strict=True)}
manager.__class__ = PerDag.__base__

answers["cookie_becomes"] = access.credential(request(cookie="_token=abc"))
answers["header_wins"] = access.credential(request(authorization="Bearer h", cookie="_token=c"))
answers["anonymous"] = asked(access.authenticate(request()))
answers["garbage"] = asked(access.authenticate(request(authorization="Bearer garbage")))
answers["basic"] = asked(access.authenticate(request(authorization="Basic YTpi")))
answers["no_connection"] = told(airflow_compat.database_conninfo)

os.environ["AIRFLOW_CONN_DATAHARBOUR_DB"] = json.dumps({
    "conn_type": "postgres", "host": "h", "port": 5, "login": "u", "password": "p w", "schema": "d"
})
from psycopg.conninfo import conninfo_to_dict
found = conninfo_to_dict(told(airflow_compat.database_conninfo))
answers["conninfo"] = {name: found[name] for name in ("host", "port", "user", "password", "dbname")}

answers["base_url"] = airflow_compat.base_url()
os.environ["AIRFLOW__API__BASE_URL"] = "https://ops.example/airflow/"
answers["given_base_url"] = airflow_compat.base_url()

with settings.engine.begin() as connection:
    connection.exec_driver_sql("drop table dag_bundle_team")
answers["database_broken"] = told(access.readable_dags, by_header)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict:
    home: Path = tmp_path_factory.mktemp("airflow")
    return ask_airflow(ASK, home=home, api__port="21099")


@pytest.mark.parametrize(
    ("role", "trigger", "operate"),
    [
        ("viewer", False, False),
        ("user", True, False),
        ("op", True, True),
        ("admin", True, True),
    ],
)
def test_roles_have_the_rights_that_the_api_counts_on(answers, role, trigger, operate):
    found = answers["users"][role]
    assert found["name"] == found["cookie_name"] == role
    assert found["may"] == {right.name: [right.method == "GET" or trigger] * 2 for right in Right}
    assert found["operate"] == operate
    assert found["dags"] == []


def test_whatever_their_number_the_teams_of_dags_are_one_question(answers):
    assert answers["seen"] == ["job__ours"]
    assert answers["asked_of_seen"] == ["('GET', None, 'ops')", "('GET', None, None)"]
    assert answers["statements_for_many"] == 1


def test_the_auth_manager_is_asked_for_the_right_itself(answers):
    assert answers["asked_of_rights"] == {
        right.name: [right.method, right.part, "ops"] for right in Right
    }


def test_the_credential_is_the_callers_own(answers):
    assert answers["cookie_becomes"] == "Bearer abc"
    assert answers["header_wins"] == "Bearer h"


@pytest.mark.parametrize("who", ["anonymous", "garbage", "basic"])
def test_who_cannot_prove_who_they_are_is_not_authenticated(answers, who):
    code, problem, remedy = answers[who]
    assert code == "not-authenticated"
    assert "signed-in user" in problem
    assert "/auth/token" in remedy


def test_the_connection_is_read_as_airflow_has_it(answers):
    assert answers["conninfo"] == {
        "host": "h",
        "port": "5",
        "user": "u",
        "password": "p w",
        "dbname": "d",
    }


def test_a_missing_connection_is_named(answers):
    code, problem, remedy = answers["no_connection"]
    assert code == "config"
    assert "dataharbour_db" in problem
    assert "Admin > Connections" in remedy


def test_airflows_address_is_the_configured_one_or_its_port(answers):
    assert answers["base_url"] == "http://127.0.0.1:21099"
    assert answers["given_base_url"] == "https://ops.example/airflow"


def test_a_broken_metadata_database_is_unavailable_and_no_traceback(answers):
    assert answers["database_broken"][0] == "unavailable"
