from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.errors import JobFailed
from dataharbour.jobs.model import Output
from dataharbour.jobs.publication import (
    PublishPlan,
    Record,
    copied_by,
    outdated,
    plan_publish,
    publisher_tag,
    refuse_foreign,
    refuse_overlap,
    staging_of,
)

FLIGHTS = Output("silver/flights", ("month",))
GOLD = Output("gold/delays")


def plan(output: Output, *names: str, token: str = "t") -> PublishPlan:
    prefix = staging_of("7", output.table)
    staged = {prefix + name: 10 for name in names}
    return plan_publish(output, attempt_id="7", token=token, staged=staged)


def test_new_names_are_numbered_in_each_folder_and_carry_the_token():
    names = [
        "month=2/part-00003-b.c000.snappy.parquet",
        "month=1/part-00001-a.c000.snappy.parquet",
        "month=1/part-00000-a.c000.snappy.parquet",
    ]
    assert plan(FLIGHTS, *names).copies == (
        (
            f".attempts/7/silver/flights/{names[2]}",
            "silver/flights/month=1/part-00000-t.snappy.parquet",
        ),
        (
            f".attempts/7/silver/flights/{names[1]}",
            "silver/flights/month=1/part-00001-t.snappy.parquet",
        ),
        (
            f".attempts/7/silver/flights/{names[0]}",
            "silver/flights/month=2/part-00000-t.snappy.parquet",
        ),
    )


def test_marks_of_spark_are_not_published():
    made = plan(GOLD, "_SUCCESS", ".part-0.crc", "_temporary/0/part-0.parquet", "part-0.parquet")
    assert made.files == ("part-00000-t.parquet",)
    assert made.bytes == 10, "only of what is published"


def test_marks_of_folders_are_not_published():
    names = ["", "month=1/", "month=1_$folder$", "month=1/part-0.parquet", "month=1/x_$folder$"]
    assert plan(FLIGHTS, *names).files == ("month=1/part-00000-t.parquet",)
    with pytest.raises(JobFailed, match="wrote nothing"):
        plan(FLIGHTS, "", "month=1/", "month=1_$folder$")


def test_marks_of_folders_in_the_table_stay():
    current = ("gold/delays/", "gold/delays/x_$folder$", "gold/delays/old.parquet")
    assert outdated("gold/delays", Record(), current) == ["gold/delays/old.parquet"]


def test_old_files_go_and_the_record_stays():
    record = Record(files=plan(GOLD, "part-a.parquet").files)
    current = ["part-00000-s.parquet", "old.parquet", "_published.json", "part-00000-t.parquet"]
    assert outdated("gold/delays", record, (f"gold/delays/{name}" for name in current)) == [
        "gold/delays/old.parquet",
        "gold/delays/part-00000-s.parquet",
    ]


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


@given(st.sets(STAGED, min_size=1), st.sets(STAGED))
def test_every_staged_file_is_published_once_and_only_the_old_go(staged, before):
    made = plan(GOLD, *staged)
    assert len(set(made.files)) == len(staged)
    assert {source.rpartition("/")[2] for source, _ in made.copies} == staged
    old = plan(GOLD, *before, token="s").files if before else ()
    current = [f"gold/delays/{name}" for name in (*old, *made.files)]
    assert outdated("gold/delays", Record(files=made.files), current) == sorted(
        f"gold/delays/{name}" for name in old
    )


def test_only_the_copies_of_one_attempt_are_its_copies():
    attempt, other = "01a211d6-69d5-7787-a17e-6e83171b5bbf", "01a211d6-69d5-7787-a17e-6e83171b5bb0"
    mine, theirs = (
        f"gold/delays/month=1/part-00000-{publisher_tag(id)}-a1b2c3.snappy.parquet"
        for id in (attempt, other)
    )
    kept = f"gold/delays/part-00001-{publisher_tag(attempt)}-d4e5f6.parquet"
    record = Record(files=(kept.removeprefix("gold/delays/"),))
    current = [mine, theirs, kept, "gold/delays/old.parquet", "gold/delays/_published.json"]
    assert copied_by(publisher_tag(attempt), "gold/delays", record, current) == [mine]
    call = f"{publisher_tag(attempt)}-a1b2c3"
    assert copied_by(call, "gold/delays", record, current) == [mine]
    assert copied_by(call[:-1], "gold/delays", record, current) == []


@pytest.mark.parametrize(
    "tables", [["gold/a", "gold/a"], ["gold/a/b", "gold/a"], ["gold/a", "gold/a/b/c"]]
)
def test_tables_of_a_run_that_overlap_are_refused(tables):
    with pytest.raises(JobFailed, match="'gold/a"):
        refuse_overlap([Output(table) for table in tables])
    refuse_overlap([Output("gold/a"), Output("gold/ab"), Output("silver/a")])


def refuse(
    *names: str, record: Record | None = None, publication: int = 5, above: tuple[str, ...] = ()
) -> None:
    refuse_foreign(
        GOLD,
        record=record,
        publication=publication,
        current=[f"gold/delays/{name}" for name in names],
        above=above,
    )


def test_a_folder_with_data_that_nobody_published_is_refused():
    with pytest.raises(JobFailed, match=r"1 files that no job .* 'gold/delays/x.csv'") as caught:
        refuse("x.csv")
    assert "Move them away, or name another table" in caught.value.remedy
    refuse("", "x_$folder$")
    refuse("_published.json", "x.csv", record=Record(1))


def test_a_folder_that_holds_another_table_is_refused():
    with pytest.raises(JobFailed, match="'gold/delays/x' lies inside 'gold/delays'"):
        refuse("_published.json", "x/_published.json", record=Record(1))


def test_a_folder_inside_another_table_is_refused():
    with pytest.raises(JobFailed, match="'gold/delays' lies inside the table 'gold'"):
        refuse(above=("gold",))


def test_a_newer_publication_stays():
    with pytest.raises(JobFailed, match="attempt 8 has published, which began later"):
        refuse(record=Record(6, "8"))
    refuse(record=Record(5, "7"))
