from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dataharbour.errors import JobInvalid, JobNotFound


def context(*, ti: dict[str, Any] | None = None, dag_run: dict[str, Any] | None = None) -> Any:
    """What Airflow gives a task, as far as a run needs it."""
    task = {
        "dag_id": "spark_job",
        "run_id": "manual__1",
        "task_id": "run",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 2,
    }
    run = {"triggering_user_name": "ana", "clear_number": 0}
    return {
        "ti": SimpleNamespace(**{**task, **(ti or {})}),
        "dag_run": SimpleNamespace(**{**run, **(dag_run or {})}),
    }


def caller(**changes: Any) -> Any:
    from dataharbour.operators.surroundings import caller_of

    return caller_of(context(**changes), attempts=3)


def test_the_task_instance_is_the_key_of_its_run():
    found = caller(ti={"map_index": 4})
    key = (found.dag_id, found.dag_run_id, found.task_id, found.map_index)
    assert key == ("spark_job", "manual__1", "run", 4)
    assert found.attempts == 3


def test_outside_mapped_tasks_there_is_no_index():
    assert caller(ti={"map_index": None}).map_index == -1


@pytest.mark.parametrize(("user", "principal"), [("ana", "ana"), (None, "airflow")])
def test_a_run_belongs_to_who_triggered_it(user, principal):
    assert caller(dag_run={"triggering_user_name": user}).principal == principal


@pytest.mark.parametrize(("number", "clears"), [(0, 0), (2, 2), (None, 0)])
def test_clears_are_counted_by_airflow(number, clears):
    assert caller(dag_run={"clear_number": number}).clears == clears


@pytest.mark.parametrize(("tries", "expected"), [(1, True), (2, True), (3, False)])
def test_the_last_try_is_known(tries, expected):
    found = caller(ti={"try_number": tries, "max_tries": 2})
    assert (found.may_retry, found.task_try) == (expected, tries)


def test_a_job_that_is_gone_is_told_with_those_that_are_there(installation):
    from dataharbour.operators.surroundings import declared_request

    installation.job("sales")
    with pytest.raises(JobNotFound, match="no job 'sails'") as caught:
        declared_request("sails", {})
    assert "sales" in caught.value.remedy


def test_a_job_whose_file_is_broken_is_told_with_what_is_wrong(installation):
    from dataharbour.operators.surroundings import declared_request

    installation.job("sales", retries="many")
    with pytest.raises(JobInvalid, match="retries"):
        declared_request("sales", {})
