"""Wait in the triggerer for the end of a run's attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dataharbour.clock import now
from dataharbour.hooks.backends import backend_of
from dataharbour.hooks.database import DataHarbourDatabaseHook
from dataharbour.jobs.follow import ProgressReport
from dataharbour.jobs.outcomes import Patience
from dataharbour.jobs.stopping import BY_AIRFLOW, cancel
from dataharbour.jobs.watch import until_settled
from dataharbour.triggers.task_state import task_state

_STOP_WITHIN_S = 20.0  # Airflow gives on_kill 30 s ([triggerer] on_kill_timeout)


class RunTrigger(BaseTrigger):
    """Fires when there is nothing more to wait for; holds no state, so it may be started anew.

    Args:
        run_id: the run.
        attempt_id: its newest attempt.
        backend: where its driver runs.
        since: when the wait began, seconds since the epoch.
        claim_by: until when the driver has claimed the attempt.
        end_by: until when the driver has ended, or None. (Airflow's own
            `timeout` would end the task and leave the driver.)
        carry: JSON values that come back with the event; `airflow dags test` loses
            those that Airflow itself should keep.
    """

    def __init__(
        self,
        *,
        run_id: str,
        attempt_id: str,
        backend: str,
        since: float,
        claim_by: float,
        end_by: float | None,
        carry: dict[str, Any],
    ) -> None:
        super().__init__()
        self.run_id = run_id
        self.attempt_id = attempt_id
        self.backend = backend
        self.since = since
        self.claim_by = claim_by
        self.end_by = end_by
        self.carry = carry

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, JSON values only."""
        names = ("run_id", "attempt_id", "backend", "since", "claim_by", "end_by", "carry")
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: the attempt, why the wait is over, and what was to be carried."""
        why = await until_settled(
            await DataHarbourDatabaseHook().aconninfo(),
            UUID(self.attempt_id),
            patience=Patience(self.since, self.claim_by, self.end_by),
            on_look=ProgressReport(since=self.since, emit=self.log.info),
            is_alive=lambda external_id: backend_of(self.backend).is_alive(external_id),
        )
        yield TriggerEvent({**self.carry, "attempt_id": self.attempt_id, "outcome": str(why)})

    async def on_kill(self) -> None:
        """Somebody marked or cleared the task: stop the driver."""
        if not await asyncio.to_thread(self._is_still_ours):
            await asyncio.to_thread(self._cancel)

    def _is_still_ours(self) -> bool:
        """Whether the task still waits.

        Airflow calls `on_kill` also when a trigger moves to another triggerer
        (https://github.com/apache/airflow/issues/73454).
        """
        ti = self.task_instance
        if ti is None:
            return False
        state = task_state(
            dag_id=ti.dag_id, dag_run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
        )
        return state == "deferred"

    def _cancel(self) -> None:
        store = DataHarbourDatabaseHook().run_store(actor=BY_AIRFLOW)
        if not store.attempt_state(UUID(self.attempt_id)).ended:
            cancel(
                store,
                UUID(self.run_id),
                backend_of=backend_of,
                within_s=_STOP_WITHIN_S,
                clock=now,
            )
