"""Real Spark, both lanes: the counts that a run reports are those of its tables."""

from __future__ import annotations

import pytest

from dataharbour.jobs.model import Detail

pytestmark = pytest.mark.spark

COPY = """
    import sys, time
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    source, target = sys.argv[1:]
    spark.read.parquet(source).repartition(3).write.parquet(target)
    {then}
"""

# The server tells of a running query every two seconds; the second stage outlives some of them,
# when the first has read the table.
TWO_STAGES = """
    def slowly(batches):
        import time
        time.sleep(7)
        yield from batches
    spark.read.parquet(source).repartition(2).mapInArrow(slowly, "x long").collect()
"""


@pytest.fixture
def table(tmp_path) -> str:
    """1,000 rows in two files."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = tmp_path / "lake" / "source"
    folder.mkdir(parents=True)
    for name in "ab":
        parquet.write_table(pa.table({"x": list(range(500))}), folder / f"{name}.parquet")
    return folder.as_uri()


@pytest.mark.parametrize("then", ["spark.stop()", "pass", "raise SystemExit(3)"])
def test_a_context_tells_rows_and_bytes_to_the_last(on_local, table, tmp_path, then):
    run = on_local.start(COPY.format(then=then), table, (tmp_path / "lake" / "t").as_uri())
    state = on_local.end(run)
    assert state.exit_code == (3 if "3" in then else 0), on_local.output(run)
    progress = on_local.store.get(run.id).progress
    # The source is read once for its schema, without rows, and once for its rows.
    assert (progress["rows_read"], progress["rows_written"]) == (1000, 1000)
    assert progress["bytes_read"] > 500
    assert progress["bytes_written"] > 500
    assert progress["stages_done"] == progress["stages"] >= 2
    assert progress["tasks_done"] == progress["tasks"]
    assert "current" not in progress, "nothing runs any more"
    metrics = on_local.store.get(run.id).metrics
    assert 200 * 2**20 < metrics["peak_memory_bytes"] < 2 * 2**30, "a JVM and its Python"
    assert metrics["cpu_s"] > 2


def test_what_runs_now_is_named(on_local):
    run = on_local.start("""
        import time
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        spark.sparkContext.setJobDescription("count the sheep")
        def slowly(rows):
            import time
            time.sleep(4)
            return rows
        print(spark.sparkContext.parallelize(range(10), 4).mapPartitions(slowly).count())
    """)
    seen: set[str] = set()
    while not on_local.store.wait(run.id, timeout_s=0.1).ended:
        progress = on_local.store.get(run.id).progress or {}
        seen.add(progress.get("current", ""))
    assert any(line.startswith("stage 0 (count the sheep): ") for line in seen), seen


def test_connect_tells_bytes_and_says_nothing_of_rows(on_connect, table, tmp_path):
    run = on_connect.start(COPY.format(then=TWO_STAGES), table, (tmp_path / "lake" / "t").as_uri())
    assert on_connect.end(run).observed is Detail.SUCCEEDED, on_connect.output(run)
    found = on_connect.store.get(run.id)
    progress = found.progress
    assert progress["bytes_read"] > 500
    assert progress["stages"] >= progress["stages_done"] >= 1
    assert not {"rows_read", "rows_written", "bytes_written"} & set(progress)
    assert 30 * 2**20 < found.metrics["peak_memory_bytes"] < 2**30, "the client alone"
