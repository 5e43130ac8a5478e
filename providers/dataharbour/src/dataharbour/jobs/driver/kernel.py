"""The kernel of a notebook that runs as a job: IPython's own, bound to its driver.

Called as ``kernel.py FOLDER APPLICATION [OPTION…]`` by `notebook.py`. It dies with the child that
started it, leaves the cause of a cell's failure in ``FOLDER/cell_error.json``, and gives its
session on a Connect server back.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

CELL_ERROR = "cell_error.json"
_MACHINERY = ("IPython", "ipykernel")


def main(folder: str, application: str, options: list[str]) -> None:
    """Serve cells until the child asks for the end."""
    _die_with(int(os.environ["JPY_PARENT_PID"]))
    sys.path[0] = os.path.dirname(application)

    from ipykernel.kernelapp import IPKernelApp

    from dataharbour.jobs.driver.control import Control
    from dataharbour.jobs.driver.session import quiet_known_noise, stop_spark

    quiet_known_noise()
    app = IPKernelApp.instance()
    app.initialize(options)
    app.shell.events.register("post_run_cell", lambda result: _keep_error(Path(folder), result))
    try:
        app.start()
    finally:
        if stop_spark():
            Control(os.path.join(folder, "control")).send(kind="released")


def _die_with(parent: int) -> None:
    """The kernel has a session of its own, which the supervisor's signals do not reach."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(70)


def _keep_error(folder: Path, result: Any) -> None:
    """Note the root cause of a cell's failure, which the notebook holds as mere text."""
    from dataharbour.jobs.driver.causes import explain

    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return
    failure_class, message = explain(error.with_traceback(_own(error.__traceback__)))
    text = json.dumps({"failure_class": failure_class, "message": message})
    (folder / CELL_ERROR).write_text(text, encoding="utf-8")


def _own(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the cell on."""
    first = trace
    while trace is not None and _is_machinery(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    return trace or first


def _is_machinery(module: object) -> bool:
    return str(module).partition(".")[0] in _MACHINERY


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
