"""Carry runs out without Airflow, on an `Installation`: what an operator does, in one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from dataharbour import settings
from dataharbour.jobs.backends.launch import Backend
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.conclude import Conclusion, conclude
from dataharbour.jobs.execute import begin, open_run
from dataharbour.jobs.finalize import Gate
from dataharbour.jobs.follow import LogTail, follow, tail_of
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.jobs.model import Output, RunRequest
from dataharbour.jobs.outcomes import patience
from dataharbour.jobs.site import Site
from dataharbour.jobs.states import terminal
from dataharbour.testing.fixtures import Installation
from dataharbour.testing.plain_backend import PlainBackend

CALLER = Caller(
    dag_id="spark_job", dag_run_id="manual__1", task_id="run", map_index=-1, principal="ana"
)

_STAGES_SALES = """
    import shutil, sys
    from pathlib import Path
    from urllib.parse import urlsplit
    output, table, starts = sys.argv[1:]
    with open(starts, "a") as file:
        file.write("started\\n")
    folder = Path(urlsplit(output).path) / "gold/sales"
    folder.mkdir(parents=True)
    shutil.copy(table, folder / "part-0.parquet")
    print("staged", Path(table).name)
"""


def site_of(installation: Installation, backend: Backend | None = None) -> Site:
    """The installation as `jobs.execute` takes it; everything runs on `backend` (plain Python)."""
    loaded = settings.load()
    return Site(
        store=installation.store("operator"),
        settings=loaded,
        lake=LakeEndpoint(loaded.lake),
        backend_of=lambda _: backend or PlainBackend(),
        clock=lambda: datetime.now(UTC),
    )


def carry_out(
    site: Site,
    request: RunRequest,
    *,
    caller: Caller = CALLER,
    emit: Callable[[str], None] = print,
) -> Conclusion:
    """One try of a task, in place, for up to 30 seconds."""
    run = open_run(site, request, caller=caller)
    if terminal(run.detail):
        return Conclusion(run, run.failure)
    attempt = begin(site, run)
    wait = patience(
        claim_within_s=site.backend_of(run.backend).claim_within_s,
        timeout_s=run.timeout_s,
        now=time.time(),
    )
    tail = LogTail(site.store, run.id, cursor=tail_of(attempt), lines_left=100, emit=emit)
    with Gate.of(run, site.lake, site.settings.include_dir) as gate:
        attempt, why = follow(
            site.store,
            run.id,
            patience=wait,
            seconds=30,
            tail=tail,
            report=lambda _: None,
            is_alive=site.backend_of(run.backend).is_alive,
        )
        if why is None:
            raise TimeoutError(f"the run {run.id} is still {attempt.observed}")
        return conclude(site, run, attempt, why, caller=caller, gate=gate)


def sales_request(installation: Installation, *, count: int = 3, then: str = "") -> RunRequest:
    """A run that stages `count` rows of the table gold/sales, and then runs `then`."""
    import pyarrow as pa
    from pyarrow import parquet

    table = installation.root / f"{count}.parquet"
    parquet.write_table(pa.table({"amount": range(count)}), table)
    return RunRequest(
        application=installation.application(_STAGES_SALES + then, name="sales.py"),
        args=("{output}", str(table), str(installation.root / "starts")),
        backend="local",
        outputs=(Output("gold/sales"),),
    )


def starts(installation: Installation) -> int:
    """How often the application of `sales_request` was started."""
    file = installation.root / "starts"
    return file.read_text().count("started") if file.exists() else 0


def sales(installation: Installation) -> list[int]:
    """The amounts that are published in gold/sales."""
    from pyarrow import parquet

    files = sorted((installation.lake / "gold" / "sales").glob("*.parquet"))
    return [amount for file in files for amount in parquet.read_table(file)["amount"].to_pylist()]
