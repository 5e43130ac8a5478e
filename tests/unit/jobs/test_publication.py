from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.errors import JobFailed
from dataharbour.jobs.model import Output
from dataharbour.jobs.publication import plan_publish, staging_of

FLIGHTS = Output("silver/flights", ("month",))
GOLD = Output("gold/delays")


def plan(output: Output, *names: str, current: tuple[str, ...] = ()):
    prefix = staging_of("7", output.table)
    return plan_publish(output, attempt_id="7", staged=[prefix + n for n in names], current=current)


def test_new_names_are_numbered_in_each_folder():
    names = [
        "month=2/part-00003-b.c000.snappy.parquet",
        "month=1/part-00001-a.c000.snappy.parquet",
        "month=1/part-00000-a.c000.snappy.parquet",
    ]
    assert plan(FLIGHTS, *names).copies == (
        (
            f".attempts/7/silver/flights/{names[2]}",
            "silver/flights/month=1/part-00000.snappy.parquet",
        ),
        (
            f".attempts/7/silver/flights/{names[1]}",
            "silver/flights/month=1/part-00001.snappy.parquet",
        ),
        (
            f".attempts/7/silver/flights/{names[0]}",
            "silver/flights/month=2/part-00000.snappy.parquet",
        ),
    )


def test_marks_of_spark_are_not_published():
    made = plan(GOLD, "_SUCCESS", ".part-0.crc", "_temporary/0/part-0.parquet", "part-0.parquet")
    assert made.files == ["part-00000.parquet"]


def test_old_files_go_and_the_record_stays():
    current = ("gold/delays/part-00000.parquet", "gold/delays/part-00001.parquet",
               "gold/delays/old.parquet", "gold/delays/_published.json")  # fmt: skip
    made = plan(GOLD, "part-a.parquet", current=current)
    assert made.deletes == ("gold/delays/old.parquet", "gold/delays/part-00001.parquet")


def test_a_table_without_files_is_no_success():
    with pytest.raises(JobFailed, match="wrote nothing for its declared output 'gold/delays'"):
        plan(GOLD, "_SUCCESS")


@pytest.mark.parametrize(
    ("output", "name"),
    [(GOLD, "month=1/p.parquet"), (FLIGHTS, "p.parquet"), (FLIGHTS, "day=1/p.parquet"),
     (FLIGHTS, "month=1/day=1/p.parquet"), (GOLD, "_x=1/p.parquet")],
)  # fmt: skip
def test_other_partitions_than_declared_are_refused(output, name):
    with pytest.raises(JobFailed, match="which is declared with"):
        plan(output, name)


STAGED = st.from_regex(r"part-[0-9a-f]{1,6}(\.c000)?(\.snappy|\.zstd)?\.parquet", fullmatch=True)
PUBLISHED = st.from_regex(r"part-0000[0-9](\.snappy)?\.parquet", fullmatch=True)


@given(st.sets(STAGED, min_size=1), st.sets(PUBLISHED))
def test_every_staged_file_is_published_once_and_nothing_new_is_deleted(staged, old):
    made = plan(GOLD, *staged, current=tuple(f"gold/delays/{name}" for name in old))
    assert len({target for _, target in made.copies}) == len(staged)
    assert {source.rpartition("/")[2] for source, _ in made.copies} == staged
    assert not {target for _, target in made.copies} & set(made.deletes)
    again = plan(GOLD, *staged, current=tuple(target for _, target in made.copies))
    assert again.copies == made.copies
    assert again.deletes == ()
