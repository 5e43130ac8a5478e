"""End the runs whose Airflow task is gone, and put this machine's files of runs and jobs right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileRunsOperator(BaseOperator):
    """Ends each run that is open though its task is over, with what is left of its driver.

    The files of jobs that were stored over REST are made to say again what the database does, and
    the folders of attempts whose runs ended long ago are removed (`jobs.folders`).

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
        from dataharbour.jobs.folders import remove_old_folders
        from dataharbour.jobs.reconcile import reconcile
        from dataharbour.operators.surroundings import now
        from dataharbour.triggers.task_state import task_of

        hook = DataHarbourDatabaseHook()
        store = hook.run_store(actor="reconciliation")
        installed = settings.load()
        try:
            changed = reconcile(store, task_of, backend_of=backend_of, clock=now)
        finally:
            mended = hook.definition_store(installed.stored_jobs).repair()
            if mended:
                self.log.warning("mend: %s", ", ".join(mended))
            removed = remove_old_folders(store, installed.home / "runs", now=now())
            if removed:
                self.log.info("Removed the folders of %d attempts", removed)
        return {**changed, "mend": mended} if mended else changed
