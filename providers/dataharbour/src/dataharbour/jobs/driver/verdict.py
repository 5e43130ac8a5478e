"""Decide how an attempt ended and who can mend it.

Pure. The exit status is the truth; what the child said of itself explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_WORKER_DIED = "Python worker exited unexpectedly"  # Spark's words


class Stop(Enum):
    """Why the supervisor ended the child."""

    CANCELLED = "its owner cancelled it"
    TIMEOUT = "it ran too long"
    FENCED = "its lease was over"
    SERVER_LOST = "its Spark Connect server does not answer any more"
    TERMINATED = "the supervisor was told to stop"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when the child is over.

    Attributes:
        exit_code: as shells show it: 128 + n after signal n.
        stop: why we ended it, or None when it ended by itself.
        report: failure class and message from the child, or None.
        oom_kills: processes that the kernel killed for memory meanwhile.
        tail: the last lines of standard error.
    """

    exit_code: int
    stop: Stop | None = None
    report: tuple[str, str] | None = None
    oom_kills: int = 0
    tail: Sequence[str] = ()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended, as `driver.finish` takes it."""

    state: str
    exit_code: int
    failure_class: str | None = None
    message: str | None = None


def judge(evidence: Evidence) -> Verdict:
    """The verdict on an attempt."""
    code = evidence.exit_code
    if code == 0:
        # Also when we were about to stop it: it was faster.
        return Verdict("SUCCEEDED", 0)
    if evidence.stop is Stop.CANCELLED:
        return Verdict("CANCELLED", code, "CANCELLED", "The run was cancelled.")
    if evidence.stop is Stop.TIMEOUT:
        limit = f"{evidence.timeout_s:g} s" if evidence.timeout_s else "its limit"
        return Verdict("TIMED_OUT", code, "TIMEOUT", f"The run did not end within {limit}.")
    if evidence.stop is Stop.FENCED:
        text = "The driver could not reach the database and stopped itself before its lease ended."
        return Verdict("FAILED", code, "INFRA", text)
    if evidence.stop is Stop.SERVER_LOST:
        text = "The Spark Connect server did not answer any more; its client would wait for long."
        return Verdict("FAILED", code, "INFRA", text)
    if evidence.stop is Stop.TERMINATED:
        return Verdict(
            "FAILED",
            code,
            "INFRA",
            "The driver was told to stop (SIGTERM): the platform, or its machine, was shut down.",
        )
    failure_class, message = _cause(evidence)
    return Verdict("FAILED", code, failure_class, message)


def _cause(evidence: Evidence) -> tuple[str, str]:
    out_of_memory = _out_of_memory(evidence)
    if out_of_memory is not None:
        return "OUT_OF_MEMORY", out_of_memory
    if evidence.report is not None:
        return evidence.report
    code, tail = evidence.exit_code, "\n".join(evidence.tail)
    if code == 128 + 9:
        return "INFRA", f"The driver was killed (signal 9), not by us.\n{tail}"
    if code == 128 + 15:
        return "INFRA", f"The driver was told to stop (SIGTERM), not by us.\n{tail}"
    if code > 128:
        return "USER_ERROR", f"The driver died of signal {code - 128}.\n{tail}"
    return "USER_ERROR", f"The application ended with exit code {code}.\n{tail}"


def _out_of_memory(evidence: Evidence) -> str | None:
    """The message, where something other than the report says that memory was short.

    A Python whose JVM went away reports that it lost the connection (INFRA):
    what took the JVM is the cause.
    """
    failure_class, said = evidence.report or (None, "")
    worker_died = _WORKER_DIED in said
    if failure_class not in (None, "INFRA") and not worker_died:
        return None
    about = "\n".join(filter(None, (said, *evidence.tail)))
    for line in evidence.tail:
        if "OutOfMemoryError" in line:
            return f"{line.strip()}\n{about}"
    if evidence.oom_kills and worker_died:
        return f"The kernel killed a Python worker for want of memory.\n{about}"
    if evidence.oom_kills and evidence.exit_code == 128 + 9:
        return f"The kernel killed the driver for want of memory.\n{about}"
    return None
