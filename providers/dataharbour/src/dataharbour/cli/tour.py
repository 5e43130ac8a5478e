"""What `up` ends with: the first job, run as a client would run it, and the addresses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from dataharbour.cli.client import Client
from dataharbour.errors import DataHarbourError, JobFailed, PlatformError, Unavailable
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.object_store import REGION
from dataharbour.platform.report import Report
from dataharbour.platform.services import Platform
from dataharbour.platform.sign_in import ssh_hint
from dataharbour.storage.arrow import data_files, open_filesystem

JOB = "flights_delays"
_TIMEOUT_S = 600.0


def first_run(platform: Platform, report: Report) -> None:
    """Start the job over REST and follow it to its end.

    Raises:
        JobFailed: the run ended without success.
        DataHarbourError: the API did not take it, or could not be asked any more.
    """
    airflow = AirflowApi(platform.plan.url, password=platform.plan.credentials.users["admin"])
    with report.showing():
        _wait_for_dag(airflow, report)
        client = Client(f"{platform.plan.url}/dataharbour", airflow.token())
        began = time.monotonic()
        report.say(f"Running the job {JOB}: POST {client.url}/api/v1/jobs/{JOB}/runs")
        labels = {"labels": {"from": "harbour up"}}
        run = client.start(f"jobs/{JOB}/runs", labels, key=uuid4().hex)
        follow(client, run["id"], report, timeout_s=_TIMEOUT_S)
        report.ready(JOB, f"succeeded in {time.monotonic() - began:.1f} s from POST to result")


def follow(client: Client, run_id: str, report: Report, *, timeout_s: float) -> None:
    """Show how a run goes until it has succeeded.

    Raises:
        JobFailed: it ended without success.
        DataHarbourError: it was not seen to its end; the message says that it goes on.
    """
    log = f"./harbour job logs {run_id}"
    goes_on = f"The run {run_id} goes on; to follow it: {log} --follow"
    run: Mapping[str, Any] = {"ended_at": None}
    try:
        for run in client.watch(run_id, timeout_s=timeout_s):
            queue, current = run.get("queue"), (run.get("progress") or {}).get("current")
            state = queue["message"] if queue else str(run["detail"]).lower()
            report.waiting(JOB, f"{state}, {current}" if current else state)
    except DataHarbourError as error:
        raise type(error)(error.problem, f"{error.remedy} {goes_on}") from error
    except KeyboardInterrupt:
        report.say(goes_on)
        raise
    if run["ended_at"] is None:
        raise Unavailable(f"The first job has not ended within {timeout_s:.0f} s.", goes_on)
    if run["state"] != "SUCCEEDED":
        failure = run["failure"] or {"message": "no reason was recorded"}
        raise JobFailed(
            f"The run {run_id} ended {run['state']}: {failure['message']}", f"Its log: {log}"
        )


def welcome(platform: Platform, report: Report) -> None:
    """Say where things are and how to sign in."""
    plan = platform.plan
    password_file = plan.home.secrets / "airflow_passwords.json"
    report.say(
        f"\nAirflow and DataHarbour: {plan.url}   user admin, password in {password_file}\n"
        f"  sign in without it:    ./harbour open\n"
        f"  jobs API:              {plan.url}/dataharbour/docs\n"
        f'  clients:               eval "$(./harbour env)"\n'
        f"  stop:                  ./harbour down"
    )
    if plan.with_notebooks:
        report.say(f"  JupyterLab:            {plan.notebooks_url}   ./harbour open --notebooks")
    hint = ssh_hint(plan.url)
    if hint:
        report.say(hint)


def gold_rows(platform: Platform) -> list[tuple[str, ...]]:
    """The gold table by carrier, read from the lake with pyarrow: a header, then a row each."""
    columns = (
        "carrier",
        "name",
        "flights",
        "cancelled",
        "mean_dep_delay_min",
        "mean_arr_delay_min",
    )
    rows = read_table(platform, "gold/delays_by_carrier")
    rows.sort(key=lambda row: -int(row["flights"]))
    return [columns, *(tuple(_cell(row[column]) for column in columns) for row in rows)]


def read_table(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Rows of a small table of the lake."""
    import pyarrow.dataset as ds

    access_key, secret_key = platform.plan.credentials.s3["spark"]
    filesystem, folder = open_filesystem(
        f"{platform.plan.lake}/{name}",
        endpoint_url=platform.store.endpoint,
        access_key=access_key,
        secret_key=secret_key,
        region=REGION,
    )
    table = ds.dataset(data_files(filesystem, folder), filesystem=filesystem).to_table()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _wait_for_dag(airflow: AirflowApi, report: Report) -> None:
    deadline = time.monotonic() + 120
    while not airflow.has_dag(f"job__{JOB}"):
        report.waiting(JOB, "Airflow is reading the DAG files")
        if time.monotonic() > deadline:
            raise PlatformError(
                f"Airflow has not read the DAG job__{JOB} within 120 s.",
                "See logs/dag-processor.log in the state folder.",
            )
        time.sleep(0.5)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
