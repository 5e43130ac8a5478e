"""Decide whose table is whose: one, and all that lies in it, is one job's alone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dataharbour.jobs.job_spec import JobSpec


def contested(specs: Iterable[JobSpec]) -> dict[str, str]:
    """Of each job that cannot be beside another: why.

    None of those that declare a table is its owner: a file that is new must not take a table, nor
    the job away that has been filling it.
    """
    specs = list(specs)
    declaring: dict[str, set[str]] = defaultdict(set)  # jobs by table
    around: dict[str, set[str]] = defaultdict(set)  # jobs that have a table in this folder
    for spec in specs:
        for output in spec.outputs:
            declaring[output.table].add(spec.name)
            for folder in output.folders_above:
                around[folder].add(spec.name)
    found: dict[str, str] = {}
    for spec in specs:
        for output in spec.outputs:
            for folder in (output.table, *output.folders_above):
                for other in sorted(declaring[folder] - {spec.name}):
                    found.setdefault(
                        spec.name,
                        f"outputs: {output.table!r} is, or lies inside, the table {folder!r} of "
                        f"the job {other}",
                    )
            for other in sorted(around[output.table] - {spec.name}):
                found.setdefault(
                    spec.name, f"outputs: {output.table!r} holds a table of the job {other}"
                )
    return found


def clash(spec: JobSpec, other: JobSpec) -> str | None:
    """A table of `spec` that cannot be beside those of `other`."""
    theirs = [f"{output.table}/" for output in other.outputs]
    for output in spec.outputs:
        mine = f"{output.table}/"
        if any(mine.startswith(their) or their.startswith(mine) for their in theirs):
            return output.table
    return None
