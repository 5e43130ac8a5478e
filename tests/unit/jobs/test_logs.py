"""A page of a log costs what it shows, not what the log holds."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
import pytest

from dataharbour.jobs.model import RunRequest
from dataharbour.jobs.statements import statement

from .conftest import NOW

CHUNKS = 20_000


@pytest.fixture
def long_log(store, database):
    """A run with two attempts, each of 20,000 chunks of three lines; its id."""
    run = store.open_run(
        RunRequest("job.py", backend="local"),
        application_sha256="",
        dag_id="spark_job",
        dag_run_id=uuid4().hex,
        task_id="run",
        principal="ana",
        now=NOW,
    )
    with psycopg.connect(database) as connection:
        for _ in range(2):
            grant = store.start_attempt(run.id, backend="local", now=NOW)
            connection.execute(
                """insert into log_chunk (attempt_id, first_line, lines, line_count, written_at)
                   select %(attempt)s, 3 * n + 1, (select jsonb_agg(
                              jsonb_build_array(0, 'stdout', %(number)s || '.' || (3 * n + i)))
                          from generate_series(1, 3) i), 3, now()
                   from generate_series(0, %(chunks)s - 1) n""",
                {"attempt": grant.attempt_id, "number": grant.number, "chunks": CHUNKS},
            )
            connection.commit()
        connection.execute("analyze")
    return run.id


def lines(store, run_id, cursor, limit):
    return [item.line for item in store.logs(run_id, cursor=cursor, limit=limit).items]


def chunks_read(database: str, run_id, *, number: int, after: int, limit: int) -> int:
    """How many rows of log_chunk, or of its index, the statement looks at."""
    values = {"run_id": run_id, "number": number, "after": after, "limit": limit}
    explain = "explain (analyze, format json) " + statement("log_chunks")
    with psycopg.connect(database) as connection:
        [[document]] = connection.execute(explain, values).fetchall()
    found = document if isinstance(document, list) else json.loads(document)

    def count(node) -> int:
        own = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        mine = own if node.get("Relation Name") == "log_chunk" else 0
        return mine + sum(map(count, node.get("Plans", ())))

    return count(found[0]["Plan"])


@pytest.mark.parametrize(
    ("cursor", "limit", "first", "last"),
    [
        (None, 4, "1.1", "1.4"),
        ("1.2", 2, "1.3", "1.4"),
        ("1.3", 1, "1.4", "1.4"),
        ("1.30000", 5, "1.30001", "1.30005"),
        ("1.59998", 4, "1.59999", "2.2"),
        ("1.60000", 1, "2.1", "2.1"),
        ("2.59999", 9, "2.60000", "2.60000"),
    ],
)
def test_a_page_begins_at_the_line_after_the_cursor(store, long_log, cursor, limit, first, last):
    found = lines(store, long_log, cursor, limit)
    assert (found[0], found[-1]) == (first, last)
    assert len(found) == min(limit, len(found))


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1, 30_000, 59_998, 60_000, 10**17])
def test_a_page_reads_no_more_chunks_than_its_lines_need(database, long_log, number, after):
    read = chunks_read(database, long_log, number=number, after=after, limit=10)
    assert read <= 2 * (10 + 2) + 2, "two attempts, the chunks of the lines, and one to begin at"


def test_all_pages_together_are_the_log(store, long_log):
    seen, cursor = [], None
    while True:
        page = store.logs(long_log, cursor=cursor, limit=17_000)
        seen += [item.line for item in page.items]
        cursor = page.next
        if not page.items:
            break
    assert seen == [f"{attempt}.{n}" for attempt in (1, 2) for n in range(1, 3 * CHUNKS + 1)]


def test_lines_that_were_cleaned_away_end_no_log(store, database, long_log):
    with psycopg.connect(database) as connection:
        connection.execute("delete from log_chunk where first_line < 30000")
    page = store.logs(long_log, limit=2)
    assert [item.line for item in page.items] == ["1.30001", "1.30002"]
    assert page.next == "1.30002"
