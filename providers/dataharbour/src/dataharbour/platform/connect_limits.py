"""When a Connect server is replaced: by this machine's memory, or as somebody has written down."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from dataharbour.platform.connect_pair import Limits
from dataharbour.platform.layout import Home

_MB = 2**20
_BESIDE_HEAP_MB = 700  # the JVM's own, and Python processes of user-defined functions
_UNITS = {
    "memory_mb": ("memory_bytes", _MB),
    "sessions": ("sessions", 1),
    "age_h": ("age_s", 3_600),
    "drain_h": ("drain_s", 3_600),
    "settle_s": ("settle_s", 1),
    "drivers": ("drivers", 1),
}


def heap_mb(memory_bytes: int) -> int:
    """The server's heap on a machine of that size: an eighth, from 1 to 2 GB.

    >>> heap_mb(8 * 2**30), heap_mb(12 * 2**30), heap_mb(64 * 2**30)
    (1024, 1536, 2048)
    """
    return min(max(memory_bytes // 8 // _MB, 1024), 2048)


def machine_bytes(root: Path = Path("/")) -> int:
    """The machine's memory, or what the container is allowed."""
    line = (root / "proc/meminfo").read_text(encoding="ascii").partition("MemTotal:")[2]
    total = int(line.split()[0]) * 1024
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, int((root / "sys/fs/cgroup" / name).read_text()))
        except (OSError, ValueError):  # no such group; or "max", which is no limit
            continue
    return total


def default_limits(heap: int) -> Limits:
    """The limits of a server with a heap of so many MB."""
    return Limits(memory_bytes=(heap + _BESIDE_HEAP_MB) * _MB)


def read_limits(home: Home, *, say: Callable[[str], None]) -> Limits:
    """The defaults, changed by ``config/spark_servers.yaml`` of the state folder if it is there."""
    defaults = default_limits(heap_mb(machine_bytes()))
    file = home.config / "spark_servers.yaml"
    try:
        return changed(defaults, file.read_text(encoding="utf-8"))
    except OSError:
        return defaults
    except ValueError as error:  # also of text that is no UTF-8
        say(f"{file} is not used: {error}")
        return defaults


def changed(limits: Limits, text: str) -> Limits:
    """`limits` with the lines ``name: number`` of a file.

    Raises:
        ValueError: a line is none of those.
    """
    values = {name: getattr(limits, name) for name in Limits.__slots__}
    for line in text.splitlines():
        name, _, number = line.partition("#")[0].partition(":")
        if not name.strip():
            continue
        if name.strip() not in _UNITS:
            raise ValueError(f"{name.strip()!r} is none of {', '.join(_UNITS)}")
        field, unit = _UNITS[name.strip()]
        value = float(number) * unit
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name.strip()} is no number from 0 on")
        values[field] = int(value) if field in ("memory_bytes", "sessions", "drivers") else value
    return Limits(**values)
