"""End the runs whose Airflow task is gone, and mend the files of stored jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileRunsOperator(BaseOperator):
    """Ends each run that is open though its task is over, with what is left of its driver.

    The files of jobs that were stored over REST are made to say again what the database does.

    Returns:
        XCom: ids of the runs that were changed, by what was done to them; under
        ``mend`` the names of the jobs.

    Raises:
        Unavailable: some runs could not be looked after; everything else was done.
    """

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Look once."""
        from dataharbour import settings
        from dataharbour.hooks.backends import backend_of
        from dataharbour.hooks.database import DataHarbourDatabaseHook
        from dataharbour.jobs.reconcile import reconcile
        from dataharbour.operators.surroundings import now
        from dataharbour.triggers.task_state import task_of

        hook = DataHarbourDatabaseHook()
        store = hook.run_store(actor="reconciliation")
        try:
            changed = reconcile(store, task_of, backend_of=backend_of, clock=now)
        finally:
            mended = hook.definition_store(settings.load().stored_jobs).repair()
            if mended:
                self.log.warning("mend: %s", ", ".join(mended))
        return {**changed, "mend": mended} if mended else changed
