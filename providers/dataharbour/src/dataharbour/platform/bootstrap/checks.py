"""One finding of `harbour doctor`, how it reads, and the checks that every doctor has.

Reads /proc and /sys; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataharbour.errors import PlatformError

DISK_BYTES = 10_000_000_000  # 4 for the packages, the rest for data, logs and Spark's scratch space
MEMORY_BYTES = 4_000_000_000  # what the idle platform may take


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        id: stable name.
        ok: False when something should be done.
        detail: what was seen.
        remedy: what to do; empty when `ok`.
        needed: whether installing, or `up`, refuses to go on without it.
    """

    id: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True

    def __str__(self) -> str:
        mark = "ok" if self.ok else "FAIL" if self.needed else "note"
        remedy = f"\n      remedy: {self.remedy}" if self.remedy and not self.ok else ""
        return f"{mark:<4}  {self.id}: {self.detail}{remedy}"

    def as_json(self) -> dict[str, str | bool]:
        """As `doctor -o json` prints it."""
        return {"id": self.id, "ok": self.ok, "detail": self.detail, "remedy": self.remedy}


def insist(found: Iterable[Check]) -> None:
    """Raise the first needed check that failed.

    Raises:
        PlatformError: with the check's detail and remedy.
    """
    for check in found:
        if check.needed and not check.ok:
            raise PlatformError(check.detail, check.remedy)


def disk(folder: Path, free_bytes: int, *, needed_bytes: int, remedy: str) -> Check:
    """Whether there is enough space."""
    ok = free_bytes >= needed_bytes
    return Check(
        "disk",
        ok,
        f"{free_bytes / 1e9:.1f} GB are free at {folder}; {needed_bytes / 1e9:.0f} GB are needed.",
        "" if ok else remedy,
    )


def memory(available_bytes: int) -> Check:
    """Whether the platform fits beside what runs already."""
    ok = available_bytes >= MEMORY_BYTES
    return Check(
        "memory",
        ok,
        f"{available_bytes / 1e9:.1f} GB of memory are available; the platform uses up to "
        f"{MEMORY_BYTES / 1e9:.0f} GB.",
        "" if ok else "Stop something else, or services may be killed for want of memory.",
        needed=False,
    )


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that new processes may take: the system's, or what the container is allowed."""
    lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    values = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (x.partition(":") for x in lines)
    }
    available = values.get("MemAvailable", values["MemFree"])
    control = root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed = int((control / limit).read_text()) - int((control / used).read_text())
        except (OSError, ValueError):  # no such group; or "max", which is no limit
            continue
        available = min(available, allowed)
    return available
