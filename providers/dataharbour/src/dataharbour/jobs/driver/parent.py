"""Know the program that started this process. The standard library only, and little of that."""

from __future__ import annotations

import os


def started_by_java() -> bool:
    """Whether our parent is a JVM; in a cluster the supervisor's is, and the child's is not."""
    try:
        with open(f"/proc/{os.getppid()}/comm") as file:
            return file.read().strip() == "java"
    except OSError:
        return False
