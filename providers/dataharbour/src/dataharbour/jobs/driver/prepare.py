"""The child's side of `standby`: import what nearly every application imports, then wait."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import warnings


def wait_for_work() -> list[str]:
    """The arguments of `child.py`, once there are some; the process is then as they want it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyspark.sql.connect.session
        import pyspark.sql.functions  # noqa: F401
    gc.freeze()  # a collection need not look at all that again
    with socket.socket(fileno=os.dup(0)) as channel:
        channel.sendall(b"ready\n")
        line = channel.makefile("rb").readline()
    if not line:
        sys.exit(0)
    work = json.loads(line)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(work["environment"])
    os.chdir(work["folder"])
    arguments: list[str] = work["arguments"]
    return arguments
