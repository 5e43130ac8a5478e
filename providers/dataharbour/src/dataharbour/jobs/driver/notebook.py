"""Run a notebook in the child, by papermill: a kernel of its own, saved after every cell.

The executed notebook is an artifact of the attempt from the first cell on: the supervisor keeps a
copy (`collection`), which is there however the driver ends. What the cells print goes to the
child's own outputs, and so to the run's log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataharbour.jobs.driver import artifacts, process
from dataharbour.jobs.driver.kernel import CELL_ERROR
from dataharbour.jobs.driver.redaction import in_json
from dataharbour.jobs.notebooks import is_code

if TYPE_CHECKING:
    from dataharbour.jobs.driver.control import Control

# What the child knows of secrets; the supervisor takes all of them out of the copy.
_SECRET = ("SPARK_CONNECT_AUTHENTICATE_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
           "PYSPARK_GATEWAY_SECRET")  # fmt: skip
_CONFIG_EXIT = 78
_TERMINATED = 128 + signal.SIGTERM


def run(application: str, source: bytes, args: list[str], control: Control, folder: str) -> int:
    """Run all cells; the exit code of the application.

    Args:
        application: the notebook's path.
        source: its content, which was verified.
        args: one text, the parameters as a JSON object.
        control: to the supervisor.
        folder: of the attempt.
    """
    if sys.path[0] == os.path.dirname(__file__):  # where the child lies; it would hide modules
        del sys.path[0]
    try:
        return _Run(application, source, control, Path(folder)).to_its_end(json.loads(args[0]))
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("papermill", "ipykernel", "nbclient"):
            raise
        text = (
            f"Notebooks cannot be run here: {error.name} is not installed. Install the extra: "
            './harbour up --notebooks, or pip install "airflow-provider-dataharbour[notebooks]".'
        )
    except _NotOurs as error:
        text = f"{os.path.basename(application)}: {error}"
    print(text, file=sys.stderr)  # noqa: T201 - the run's log
    control.send(kind="failure", failure_class="CONFIG", message=text)
    return _CONFIG_EXIT


class _NotOurs(Exception):
    """The file is no notebook that can be run here."""


class _Run:
    """One execution of one notebook."""

    def __init__(self, application: str, source: bytes, control: Control, folder: Path) -> None:
        self.application = application
        self.source = source
        self.control = control
        self.folder = folder
        self.kernel: Any = None  # Popen, once it is started
        self.is_terminated = False
        self.cell = 0  # number of the code cell that was started last, as in `In [3]`
        self.cells = 0
        self._clean = in_json(os.environ.get(name, "") for name in _SECRET)
        self._said_too_large = False

    def to_its_end(self, parameters: dict[str, Any]) -> int:
        """Execute; the exit code."""
        self._check()
        import papermill
        from nbclient.exceptions import DeadKernelError
        from papermill.exceptions import PapermillExecutionError
        from papermill.iorw import papermill_io

        from dataharbour.jobs.driver.papermill_engine import engine_for

        name, kept = os.path.basename(self.application), f"{artifacts.FOLDER}/{artifacts.NOTEBOOK}"
        papermill_io.register(name, self)
        papermill_io.register(kept, self)
        papermill.engines.papermill_engines.register("dataharbour", engine_for(self))
        signal.signal(signal.SIGTERM, self._on_terminate)
        self.control.send(kind="progress", cells_done=0, cells=self.cells)
        oom_before = process.oom_kills()
        try:
            papermill.execute_notebook(
                _literal(name),
                kept,
                parameters,
                engine_name="dataharbour",
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except PapermillExecutionError as error:
            self._report_cell(error)
        except DeadKernelError:
            self._report_death(process.oom_kills() > oom_before)
        except Exception as error:  # of the kernel's start, of the messages between us
            self._report_other(error)
        else:
            return 0
        return _TERMINATED if self.is_terminated else 1

    # --- what papermill reads and writes (a handler of its own for both names) -------------

    def read(self, _path: str) -> str:
        """The notebook, as it was verified."""
        return self.source.decode("utf-8")

    def write(self, text: str, _path: str) -> None:
        """Keep the notebook as it is now."""
        data = self._clean(text).encode("utf-8", "replace")
        if len(data) <= artifacts.MAX_BYTES:
            artifacts.write(self.folder / artifacts.FOLDER, artifacts.NOTEBOOK, data)
        elif not self._said_too_large:
            self._said_too_large = True
            limit = artifacts.MAX_BYTES // 2**20
            text = f"The outputs are over {limit} MiB: the notebook is kept as it was before them."
            print(text, file=sys.stderr)  # noqa: T201 - the run's log

    def pretty_path(self, path: str) -> str:
        """For papermill's own log."""
        return path

    # --- called by the engine ----------------------------------------------------------------

    def started(self, kernel: Any) -> None:
        """The kernel runs."""
        self.kernel = kernel
        if self.is_terminated:
            self._interrupt()

    def cell_starts(self) -> None:
        """A code cell is about to run.

        Raises:
            SystemExit: none shall any more.
        """
        if self.is_terminated:
            raise SystemExit(_TERMINATED)
        self.cell += 1

    def cell_ended(self) -> None:
        """It has ended well."""
        self.cells = max(self.cells, self.cell)  # papermill may have put in one for the parameters
        self.control.send(kind="progress", cells_done=self.cell, cells=self.cells)

    # --- the end --------------------------------------------------------------------------------

    def _on_terminate(self, _number: int, _frame: object) -> None:
        """Have the running cell raise KeyboardInterrupt: its `finally` runs, and it is kept."""
        self.is_terminated = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self.kernel is not None and self.kernel.poll() is None:
            os.killpg(self.kernel.pid, signal.SIGINT)

    def _report_cell(self, error: Any) -> None:
        """A cell raised: its root cause, with the cell's number, is the run's."""
        try:
            found = json.loads((self.folder / CELL_ERROR).read_text(encoding="utf-8"))
            failure_class, message = str(found["failure_class"]), str(found["message"])
        except (OSError, ValueError, KeyError, TypeError):
            trace = "\n".join(map(str, error.traceback))
            failure_class, message = "USER_ERROR", f"{error.ename}: {error.evalue}\n{trace}"
        first, _, rest = message.partition("\n")
        self._report(failure_class, f"{first} (cell {self.cell})", rest)

    def _report_death(self, out_of_memory: bool) -> None:
        """The kernel ended in the middle of a cell."""
        code = self.kernel.poll() if self.kernel is not None else None
        if code == -signal.SIGKILL and out_of_memory:
            failure_class, what = "OUT_OF_MEMORY", "was killed for want of memory"
        elif code == -signal.SIGKILL:
            failure_class, what = "INFRA", "was killed (signal 9), not by us"
        elif code is not None and code < 0:
            failure_class, what = "USER_ERROR", f"died of signal {-code}"
        else:
            failure_class, what = "USER_ERROR", f"ended with exit code {code}"
        self._report(failure_class, f"The notebook's kernel {what} (cell {self.cell}).", "")

    def _report_other(self, error: Exception) -> None:
        from dataharbour.jobs.driver.causes import explain

        _, message = explain(error)
        first, _, rest = message.partition("\n")
        self._report("INFRA", f"The notebook could not go on: {first} (cell {self.cell})", rest)

    def _report(self, failure_class: str, first: str, rest: str) -> None:
        message = f"{first}\n{rest}".rstrip()
        print(message, file=sys.stderr)  # noqa: T201 - the run's log
        self.control.send(kind="failure", failure_class=failure_class, message=message)

    def _check(self) -> None:
        try:
            notebook = json.loads(self.source)
            cells, metadata = notebook["cells"], notebook.get("metadata", {})
            language = metadata.get("kernelspec", {}).get("language", "python")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _NotOurs("it is no notebook of format 4") from None
        if str(language).lower() != "python":
            raise _NotOurs(f"it is a notebook of {language}; jobs run Python")
        self.cells = sum(is_code(cell) for cell in cells)


def _literal(path: str) -> str:
    """Papermill fills parameters into a path."""
    return path.replace("{", "{{").replace("}", "}}")
