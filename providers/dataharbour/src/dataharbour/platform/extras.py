"""See that what is installed only where it is asked for is there. Starts the installer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dataharbour.platform import bootstrap
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.machine import base_python
from dataharbour.platform.bootstrap.run import wants_notebooks


def ensure_notebooks(root: Path, *call: str) -> None:
    """Become the installer where JupyterLab is missing; it ends by making the call again.

    Does nothing where this Python is not that of the checkout: its owner installs what they like.

    Args:
        root: the checkout.
        call: verb and options, as the installer knows them (`wants_notebooks`).
    """
    checkout = Checkout(root)
    is_ours = Path(os.path.realpath(sys.prefix)) == checkout.venv and checkout.notes.is_dir()
    if not is_ours or checkout.has_notebooks or not wants_notebooks(call):
        return  # noted, and gone all the same: `up` says that it is not installed
    python, installer = str(base_python()), str(Path(bootstrap.__file__).parent)
    os.execv(python, [python, "-I", installer, str(root), *call])
