"""Have a fresh Connect server do once what jobs do, so that the first one does not wait for it.

What costs is loading and compiling classes: plans, joins, shuffles, reading and writing files.
"""

from __future__ import annotations

from pathlib import Path

from dataharbour.platform.connect_probe import query_problem

_STEP_S = 60.0


def statements(folder: Path) -> list[str]:
    """What is run, in this order; the server writes below `folder`."""
    numbers = f"file:{folder}"  # Hadoop takes a path as it is
    return [
        "select 1 as one",
        f"insert overwrite directory '{numbers}' using parquet "
        "select id, id % 7 as day, cast(id as double) / 3 as part, string(id) as name "
        "from range(0, 20000, 1, 2)",
        "select a.day, count(*) as rows, avg(a.part) as mean, max(b.name) as name, "
        "sum(case when a.part > 10 then 1 else 0 end) as large "
        f"from parquet.`{numbers}` a join parquet.`{numbers}` b on a.id = b.id + 1 "
        "where a.name is not null group by a.day order by a.day",
    ]


def warm_up(host: str, port: int, token: str, *, session: str, folder: Path) -> str | None:
    """None when all was run, else what went wrong."""
    for sql in statements(folder):
        problem = query_problem(host, port, token, session=session, sql=sql, timeout_s=_STEP_S)
        if problem is not None:
            return f"the warm-up stopped at {sql.split()[0]!r}: {problem}"
    return None
