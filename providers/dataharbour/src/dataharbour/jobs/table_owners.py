"""Decide whose table is whose: one, and all that lies in it, is one job's alone. Pure."""

from __future__ import annotations

from dataharbour.jobs.job_spec import JobSpec


class Owners:
    """The tables of the jobs that were taken so far."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}  # the job of each table
        self._around: dict[str, str] = {}  # a job that has a table in this folder

    def take(self, spec: JobSpec) -> None:
        """The tables of this job are taken from now on."""
        for output in spec.outputs:
            self._owners[output.table] = spec.name
            self._around |= dict.fromkeys(output.folders_above, spec.name)

    def why_not(self, spec: JobSpec) -> str | None:
        """Why this job cannot be beside those before it."""
        for output in spec.outputs:
            for folder in (output.table, *output.folders_above):
                if folder in self._owners:
                    owner = f"the table {folder!r} of the job {self._owners[folder]}"
                    return f"outputs: {output.table!r} is, or lies inside, {owner}"
            if output.table in self._around:
                owner = self._around[output.table]
                return f"outputs: {output.table!r} holds a table of the job {owner}"
        return None


def clash(spec: JobSpec, other: JobSpec) -> str | None:
    """A table of `spec` that cannot be beside those of `other`."""
    theirs = [f"{output.table}/" for output in other.outputs]
    for output in spec.outputs:
        mine = f"{output.table}/"
        if any(mine.startswith(their) or their.startswith(mine) for their in theirs):
            return output.table
    return None
