"""Spark's event logs: how Spark is told to write one, and which one is an application's.

The logs of runs that are over lie in one folder (`Settings.event_logs`), where the history server
reads them. Without that folder nobody shows them, and none are written.

Which application is a run's is said twice: by its driver, which user code can speak for, and by the
application, whose settings name the run that it was started for (`mark_of`). Code may name any
application, and any run in an application of its own; it cannot make another's name its run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN = "spark.dataharbour.run"  # no job may set it: `conf` allows what it lists

# Of a driver with executors of its own, and of one on a standalone cluster. What a driver says of
# itself becomes part of paths.
_APPLICATION = re.compile(r"local-[0-9]{13}|app-[0-9]{14}-[0-9]{4,9}")


def settings_of(folder: Path) -> dict[str, str]:
    """Spark's settings for a log in `folder`; Spark makes one folder there for each application.

    The folder is a path and no URI: Spark takes either, and only of a path the characters as they
    are.
    """
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": str(folder),
        "spark.eventLog.rolling.enabled": "true",
        "spark.eventLog.compress": "true",
        "spark.eventLog.compression.codec": "zstd",
    }


def mark_of(run_id: object) -> dict[str, str]:
    """Spark's settings that say for which run an application was started."""
    return {RUN: str(run_id)}


def application_of(progress: Mapping[str, Any] | None) -> str | None:
    """The id that the driver of an attempt told of its Spark application; or None."""
    told = (progress or {}).get("application")
    return told if isinstance(told, str) and _APPLICATION.fullmatch(told) else None


def logged_application(progress: Mapping[str, Any] | None, logs: Path) -> str | None:
    """`application_of`, where its log is among `logs`."""
    application = application_of(progress)
    if application is None or not (logs / f"eventlog_v2_{application}").is_dir():
        return None
    return application


def page_of(application: str) -> str:
    """Where the history server has the application, below its address."""
    return f"history/{application}/jobs/"
