"""What `up` ends with: the first job, run as a client would run it, and the addresses."""

from __future__ import annotations

import time
from typing import Any

import httpx

from dataharbour.errors import JobFailed, PlatformError
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.report import Report
from dataharbour.platform.services import Platform
from dataharbour.platform.sign_in import ssh_hint

JOB = "flights_delays"
_TIMEOUT_S = 600.0
_TERMINAL = ("SUCCEEDED", "FAILED", "CANCELLED", "LOST")


def first_run(platform: Platform, report: Report) -> None:
    """POST the job over REST and follow it to its end.

    Raises:
        JobFailed: the run ended without success.
        PlatformError: the API did not take it.
    """
    password = platform.plan.credentials.users["admin"]
    token = AirflowApi(platform.plan.url, password=password).token()
    with httpx.Client(
        base_url=f"{platform.plan.url}/dataharbour/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    ) as api:
        _wait_for_dag(platform, report)
        began = time.monotonic()
        report.say(f"Running the job {JOB}: POST {api.base_url}jobs/{JOB}/runs")
        answer = api.post(f"jobs/{JOB}/runs", json={"labels": {"from": "harbour up"}})
        if answer.status_code != 202:
            raise PlatformError(
                f"The jobs API answered {answer.status_code}: {answer.text[:300]}",
                "See logs/api-server.log in the state folder.",
            )
        run = _follow(api, answer.json(), report)
    if run["state"] != "SUCCEEDED":
        failure = run.get("failure") or {}
        raise JobFailed(
            f"The run {run['id']} ended {run['state']}: {failure.get('message', 'no message')}",
            f"Its log: ./harbour job logs {run['id']}",
        )
    report.say(
        f"{JOB} succeeded in {time.monotonic() - began:.1f} s from POST to result "
        f"(run {run['id']}).\n"
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
    from pyarrow import fs

    plan = platform.plan
    if plan.lake.startswith("file://"):
        source: Any = ds.dataset(f"{plan.lake.removeprefix('file://')}/{name}", format="parquet")
    else:
        access_key, secret_key = plan.credentials.s3["spark"]
        store = fs.S3FileSystem(
            access_key=access_key,
            secret_key=secret_key,
            endpoint_override=platform.store.endpoint,
            region="us-east-1",
        )
        source = ds.dataset(f"lake/{name}", filesystem=store, format="parquet")
    rows: list[dict[str, Any]] = source.to_table().to_pylist()
    return rows


def _wait_for_dag(platform: Platform, report: Report) -> None:
    airflow = AirflowApi(platform.plan.url, password=platform.plan.credentials.users["admin"])
    deadline = time.monotonic() + 120
    while f"job__{JOB}" not in airflow.dag_ids():
        report.waiting("first-job", "Airflow is reading the DAG files")
        if time.monotonic() > deadline:
            raise PlatformError(
                f"Airflow has not read the DAG job__{JOB} within 120 s.",
                "See logs/dag-processor.log in the state folder.",
            )
        time.sleep(0.5)


def _follow(api: httpx.Client, run: dict[str, Any], report: Report) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    seen = ""
    while run["state"] not in _TERMINAL and time.monotonic() < deadline:
        text = progress_text(run)
        if text != seen:
            report.say(f"  {text}")
            seen = text
        run = api.get(f"runs/{run['id']}", params={"wait": 1}).json()
    return run


def progress_text(run: dict[str, Any]) -> str:
    """One line about a run that is under way."""
    progress = run.get("progress") or {}
    text = str(run["detail"]).lower()
    if progress.get("tasks"):
        text += f": {progress.get('tasks_done', 0)} of {progress['tasks']} Spark tasks"
    return text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
