"""End the runs whose Airflow task is gone, and put this machine's files of runs and jobs right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileRunsOperator(BaseOperator):
    """Ends each run that is open though its task is over, with what is left of its driver.

    The files of jobs that were stored over REST are made to say again what the database does, and
    what attempts have left is removed: folders on this machine whose runs ended long ago
    (`jobs.folders`), and outputs in the lake that nobody will publish (`jobs.staging`).

    Returns:
        XCom: ids of the runs that were changed, by what was done to them; under
        ``mend`` the names of the jobs.

    Raises:
        Unavailable: some runs could not be looked after; everything else was done.
    """

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Look once."""
        from dataharbour.hooks.database import DataHarbourDatabaseHook
        from dataharbour.jobs.folders import remove_old_folders
        from dataharbour.jobs.reconcile import reconcile
        from dataharbour.jobs.staging import remove_left_staging
        from dataharbour.operators.surroundings import site_of_task
        from dataharbour.triggers.task_state import task_of

        site = site_of_task(actor="reconciliation")
        try:
            changed = reconcile(site, task_of)
        finally:
            stored_jobs = site.settings.stored_jobs
            mended = DataHarbourDatabaseHook().definition_store(stored_jobs).repair()
            if mended:
                self.log.warning("mend: %s", ", ".join(mended))
            now = site.clock()
            if removed := remove_old_folders(site.store, site.settings, now=now):
                self.log.info("Removed the folders of %d attempts", removed)
            if removed := remove_left_staging(site.store, site.lake, now=now):
                self.log.info("Removed what %d attempts had staged", removed)
        return {**changed, "mend": mended} if mended else changed
