"""The engine that papermill runs a notebook with: our kernel, and word of every cell.

Imports papermill, so it is imported where a notebook is run, and nowhere else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine

from dataharbour.jobs.notebooks import is_code

if TYPE_CHECKING:
    from dataharbour.jobs.driver.notebook import _Run

# Sockets in the working folder, which is the driver's alone; over TCP every user of the machine
# could listen to a kernel's outputs. Relative, because a socket's path has 107 characters at most.
_SOCKET = ".kernel"
_KERNEL = Path(__file__).with_name("kernel.py")


def engine_for(run: _Run) -> type[Engine]:
    """The engine for one run."""

    class Kernel(AsyncKernelManager):  # type: ignore[misc]
        """Starts `kernel.py` with the interpreter of the child."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=[sys.executable, str(_KERNEL), str(run.folder), run.application,
                      "-f", "{connection_file}"],
                display_name="Python 3",
                language="python",
                env={"IPYTHONDIR": str(run.folder / "ipython")},
            )  # fmt: skip

    class Client(PapermillNotebookClient):  # type: ignore[misc]
        """Tells the run of every code cell."""

        def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
            if not is_code(cell):
                return super().execute_cell(cell, cell_index, **options)
            run.cell_starts()
            executed = super().execute_cell(cell, cell_index, **options)
            run.cell_ended()
            return executed

        def create_kernel_manager(self) -> AsyncKernelManager:
            self.km = Kernel(
                kernel_name=self.kernel_name,
                connection_file=str(run.folder / "kernel.json"),
                transport="ipc",
                ip=_SOCKET,
            )
            return self.km

        def start_new_kernel(self, **options: Any) -> None:
            super().start_new_kernel(**options)
            run.started(self.km.provisioner.process)

    class DataHarbourEngine(Engine):  # type: ignore[misc]
        """Papermill's entry."""

        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            *,
            stdout_file: Any,
            stderr_file: Any,
            **_others: Any,
        ) -> None:
            Client(
                nb_man,
                kernel_name=kernel_name,
                startup_timeout=60,
                iopub_timeout=300,  # seconds for large outputs to arrive after their cell has ended
                timeout=None,
                stdout_file=stdout_file,
                stderr_file=stderr_file,
            ).execute()

    return DataHarbourEngine
