"""End the runs whose Airflow task is gone, and put this machine's files of runs and jobs right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dataharbour.jobs.site import Site


class ReconcileRunsOperator(BaseOperator):
    """Ends each run that is open though its task is over, with what is left of its driver.

    The files of jobs that were stored over REST are made to say again what the database does, and
    what attempts have left is removed: folders on this machine whose runs ended long ago
    (`jobs.folders`), and outputs in the lake that nobody will publish (`jobs.staging`).

    Returns:
        XCom: ids of the runs that were changed, by what was done to them; under
        ``mend`` the names of the jobs.

    Raises:
        DataHarbourError: something could not be done, e.g. some runs could not be looked after;
            everything else was. The log names each.
    """

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Look once."""
        from dataharbour.operators.surroundings import site_of_task

        site = site_of_task(actor="reconciliation")
        changed: dict[str, list[str]] = {}
        failed: list[Exception] = []
        for part in (self._end_runs, self._mend_jobs, self._remove_folders, self._remove_staging):
            try:
                changed |= part(site)
            except Exception as error:  # the other parts do not depend on this one
                self.log.exception("%s failed", part.__name__.strip("_"))
                failed.append(error)
        if failed:
            raise failed[0]
        return changed

    def _end_runs(self, site: Site) -> dict[str, list[str]]:
        from dataharbour.jobs.reconcile import reconcile
        from dataharbour.triggers.task_state import task_of

        return reconcile(site, task_of)

    def _mend_jobs(self, site: Site) -> dict[str, list[str]]:
        from dataharbour.hooks.database import DataHarbourDatabaseHook

        mended = DataHarbourDatabaseHook().definition_store(site.settings.stored_jobs).repair()
        if not mended:
            return {}
        self.log.warning("mend: %s", ", ".join(mended))
        return {"mend": mended}

    def _remove_folders(self, site: Site) -> dict[str, list[str]]:
        from dataharbour.jobs.folders import remove_old_folders

        if removed := remove_old_folders(site.store, site.settings, now=site.clock()):
            self.log.info("Removed the folders of %d attempts", removed)
        return {}

    def _remove_staging(self, site: Site) -> dict[str, list[str]]:
        from dataharbour.jobs.staging import remove_left_staging

        if removed := remove_left_staging(site.store, site.lake, now=site.clock()):
            self.log.info("Removed what %d attempts had staged", removed)
        return {}
