"""Find out why runs wait: facts from Airflow, the reason from `jobs.queueing`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from dataharbour.errors import Unavailable
from dataharbour.jobs.model import Run, State
from dataharbour.jobs.queueing import Facts, Queue, TaskKey, key_of, why_queued


class Queues(Protocol):
    """What Airflow holds of tasks that wait."""

    def facts(self, keys: Collection[TaskKey]) -> Mapping[TaskKey, Facts]:
        """What is known of these tasks; raises `Unavailable`."""


class NotAsked:
    """Stands where nobody can be asked; every reason is unknown."""

    def facts(self, keys: Collection[TaskKey]) -> Mapping[TaskKey, Facts]:  # noqa: ARG002
        """See `Queues`."""
        return {}


def queues_of(queues: Queues, runs: Iterable[Run], *, now: datetime) -> dict[UUID, Queue]:
    """Why those of the runs wait that do; asks once for all of them."""
    waiting = [run for run in runs if run.state is State.QUEUED]
    try:
        facts = queues.facts([key_of(run) for run in waiting]) if waiting else {}
    except Unavailable:
        facts = {}
    found = {run.id: why_queued(run, facts.get(key_of(run)), now=now) for run in waiting}
    return {run_id: queue for run_id, queue in found.items() if queue is not None}
