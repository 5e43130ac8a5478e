"""Runs, attempts and jobs as rows of a table, and in a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dataharbour.cli import show


def run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Id, what runs, state, when it was made, seconds."""
    seconds = "" if run["duration_s"] is None else f"{run['duration_s']:.1f}"
    what = run["job"] or run["application"]
    return run["id"], what, run["state"], run["created_at"][:19] + "Z", seconds


def job_row(job: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, backend, schedule, description; or what is wrong with its file."""
    if job["error"]:
        return job["name"], "BROKEN", "", job["error"]["detail"].split("\n")[0]
    description = (job["description"] or "").strip().split("\n")[0]
    return job["name"], job["backend"] or "", _when(job["schedule"]), description


def attempt_row(attempt: Mapping[str, Any]) -> tuple[str, ...]:
    """Number, state, start, end, and which driver had it."""
    started, ended = (_moment(attempt[name]) for name in ("claimed_at", "ended_at"))
    return str(attempt["number"]), attempt["state"], started, ended, attempt["holder"] or ""


def what(run: Mapping[str, Any]) -> str:
    """What a run carries out."""
    return f"job {run['job']}" if run["job"] else str(run["application"])


def waiting(queue: Mapping[str, Any]) -> str:
    """Why a run waits, and how long."""
    place = f" (number {queue['position']})" if queue["position"] else ""
    return f"{queue['message']}{place}"


def text(value: Any) -> str:
    """A value of the API on one line."""
    if isinstance(value, dict | list):
        return show.plain(json.dumps(value, ensure_ascii=False))
    return show.plain(str(value))


def _when(schedule: str | Mapping[str, Any] | None) -> str:
    """A schedule in a few words: its cron expression, or the assets it waits for."""
    if schedule is None or isinstance(schedule, str):
        return schedule or ""
    words = {"all": " and ", "any": " or "}[schedule.get("when", "all")]
    assets = words.join(schedule.get("assets", ()))
    return " or ".join(filter(None, (schedule.get("cron"), assets)))


def _moment(at: str | None) -> str:
    return f"{at[:19]}Z" if at else ""
