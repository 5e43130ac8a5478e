from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.model import Detail, RunRequest
from dataharbour.testing.runs import CALLER, site_of


@dataclass(frozen=True)
class Task:
    """What Airflow tells a trigger of its task."""

    dag_id: str = CALLER.dag_id
    run_id: str = CALLER.dag_run_id
    task_id: str = CALLER.task_id
    map_index: int = -1


@pytest.fixture
def start(installation):
    """Starts an application; its run and the trigger that waits for it."""
    from dataharbour.triggers.run import RunTrigger

    def start(source: str, backend: Any = None) -> tuple[Any, RunTrigger]:
        site = site_of(installation, backend)
        request = RunRequest(application=installation.application(source), backend="local")
        run = open_run(site, request, caller=CALLER)
        attempt = begin(site, run)
        now = time.time()
        trigger = RunTrigger(
            run_id=str(run.id),
            attempt_id=str(attempt.attempt_id),
            backend="local",
            since=now,
            claim_by=now + 60,
            end_by=None,
            carry={"cursor": "1.0", "lines_left": 9},
        )
        trigger._task_instance = Task()
        return run, trigger

    return start


@pytest.fixture
def task_is(monkeypatch):
    """Sets what Airflow answers when it is asked for the state of the task."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def set_state(state: str | None) -> None:
        states = {CALLER.dag_run_id: {CALLER.task_id: state}}
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: states)

    return set_state


async def only_event(trigger: Any) -> dict[str, Any]:
    events = [event.payload async for event in trigger.run()]
    [event] = events
    return event


def claimed(installation, run):
    while installation.store().get(run.id).started_at is None:
        time.sleep(0.05)


def test_it_fires_once_when_the_driver_has_ended(start):
    _, trigger = start("print('done')")
    assert asyncio.run(only_event(trigger)) == {
        "attempt_id": trigger.attempt_id,
        "outcome": "ENDED",
        "cursor": "1.0",
        "lines_left": 9,
    }


def test_it_is_made_again_from_what_airflow_keeps(start):
    from dataharbour.triggers.run import RunTrigger

    _, trigger = start("print('done')")
    path, arguments = trigger.serialize()
    assert path == "dataharbour.triggers.run.RunTrigger"
    again = RunTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger.serialize()
    assert asyncio.run(only_event(again))["outcome"] == "ENDED"


def test_started_twice_it_fires_the_same(start):
    _, trigger = start("print('done')")
    assert asyncio.run(only_event(trigger)) == asyncio.run(only_event(trigger))


@pytest.mark.parametrize("state", ["failed", "success", None, "scheduled"])
def test_somebody_who_marks_or_clears_the_task_stops_the_driver(
    installation, start, task_is, state
):
    run, trigger = start("import time; time.sleep(60)")
    claimed(installation, run)
    task_is(state)
    asyncio.run(trigger.on_kill())
    assert installation.store().get(run.id).detail is Detail.CANCELLED


def test_a_trigger_that_only_moves_leaves_the_driver_alone(installation, start, task_is):
    run, trigger = start("import time; time.sleep(60)")
    claimed(installation, run)
    task_is("deferred")
    asyncio.run(trigger.on_kill())
    assert installation.store().get(run.id).detail is Detail.RUNNING


def test_a_driver_that_has_ended_is_not_cancelled(installation, start, task_is):
    run, trigger = start("print('done')")
    asyncio.run(only_event(trigger))
    task_is("queued")
    asyncio.run(trigger.on_kill())
    assert installation.store().get(run.id).detail is Detail.RUNNING


def test_of_a_driver_elsewhere_its_backend_is_asked(installation, start, monkeypatch):
    from dataharbour.hooks.backends import MAKERS
    from dataharbour.jobs.backends.names import BackendName
    from dataharbour.testing.plain_backend import PlainBackend

    class Elsewhere(PlainBackend):
        """A cluster on which drivers die before they can say anything."""

        def submit(self, context):
            return f"driver-{context.grant.number}"

        def is_alive(self, external_id):
            return None if external_id != "driver-1" else False

    monkeypatch.setitem(MAKERS, BackendName.LOCAL, Elsewhere)
    _, trigger = start("", backend=Elsewhere())
    event = asyncio.run(asyncio.wait_for(only_event(trigger), 20))  # a minute before it is due
    assert event["outcome"] == "UNCLAIMED"
