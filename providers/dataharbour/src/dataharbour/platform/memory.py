"""How much memory a process and those that it has started use. Reads /proc."""

from __future__ import annotations

from pathlib import Path


def tree_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """Proportional set size of `pid` and its descendants: shared pages counted once over all.

    Of a process that we may not look into, the resident size.
    """
    children: dict[int, list[int]] = {}
    for entry in proc.glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # gone
            continue
        children.setdefault(parent, []).append(int(entry.name))
    total, wanted = 0, [pid]
    while wanted:
        one = wanted.pop()
        total += _bytes_of(proc / str(one))
        wanted += children.get(one, [])
    return total


def _bytes_of(entry: Path) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = (entry / name).read_text()
        except OSError:
            continue
        found = text.partition(f"\n{key}")[2].split()
        if found:
            return int(found[0]) * 1024
    return 0
