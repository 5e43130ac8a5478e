"""Real Spark, both lanes: what a failure is called, and who can mend it."""

from __future__ import annotations

import json

import pytest

from dataharbour.jobs.model import FailureClass

pytestmark = pytest.mark.spark

# Each is tried in one session, and explained where an application's own failure is: in its process.
EVERY = """
    import json, sys
    from pyspark.sql import SparkSession, functions as F
    from dataharbour.jobs.driver.causes import explain

    spark = SparkSession.builder.getOrCreate()
    target = sys.argv[1]
    spark.range(1).write.parquet(target)
    divide = F.udf(lambda x: 1 // (x - 3), "long")
    allocate = F.udf(lambda x: len(bytearray(10**15)), "long")

    def cast():
        spark.conf.set("spark.sql.ansi.enabled", "true")
        spark.sql("select cast('abc' as int)").collect()

    def wrapped():
        try:
            spark.table("no_such_table").collect()
        except Exception as error:
            raise RuntimeError("the load failed") from error

    cases = {
        "table": lambda: spark.table("no_such_table").collect(),
        "column": lambda: spark.range(1).select("no_such_column").collect(),
        "path": lambda: spark.read.parquet("file:///nowhere/at/all").collect(),
        "syntax": lambda: spark.sql("selec 1").collect(),
        "zero": lambda: spark.sql("select 1/0").collect(),
        "cast": cast,
        "exists": lambda: spark.range(1).write.parquet(target),
        "worker": lambda: spark.range(10).select(divide("id")).collect(),
        "worker_memory": lambda: spark.range(1).select(allocate("id")).collect(),
        "raised": lambda: spark.sql("select raise_error('no sales today')").collect(),
        "wrapped": wrapped,
        "memory": lambda: bytearray(10**15),
        "rdd": lambda: spark.sparkContext.parallelize([1]).map(lambda x: x // 0).collect(),
        "jvm": lambda: spark._jvm.java.util.ArrayList().iterator().next(),
        "jvm_chain": lambda: spark.sparkContext.parallelize([1]).saveAsTextFile(target),
    }
    for name, case in cases.items():
        try:
            case()
        except BaseException as error:
            failure_class, message = explain(error)
            print("CASE", json.dumps([name, failure_class, message.splitlines()[:2]]), flush=True)
"""


# name: failure class, and how the first line begins
BOTH = {
    "table": ("USER_ERROR", "TABLE_OR_VIEW_NOT_FOUND (42P01): The table or view `no_such_table`"),
    "column": ("USER_ERROR", "UNRESOLVED_COLUMN.WITH_SUGGESTION (42703): "),
    "path": ("USER_ERROR", "PATH_NOT_FOUND (42K03): Path does not exist: file:/nowhere/at/all"),
    "syntax": ("USER_ERROR", "PARSE_SYNTAX_ERROR (42601): Syntax error at or near 'selec'"),
    "zero": ("USER_ERROR", "DIVIDE_BY_ZERO (22012): "),
    "cast": ("USER_ERROR", "CAST_INVALID_INPUT (22018): The value 'abc'"),
    "exists": ("USER_ERROR", "PATH_ALREADY_EXISTS (42K04): Path file:"),
    "worker": ("USER_ERROR", "ZeroDivisionError: integer division or modulo by zero"),
    "worker_memory": ("OUT_OF_MEMORY", "MemoryError"),
    "raised": ("USER_ERROR", "USER_RAISED_EXCEPTION (P0001): no sales today"),
    "wrapped": ("USER_ERROR", "TABLE_OR_VIEW_NOT_FOUND (42P01): "),
    "memory": ("OUT_OF_MEMORY", "MemoryError"),
}
LACKS = ("USER_ERROR", "JVM_ATTRIBUTE_NOT_SUPPORTED (0A000): ")
LANES = {
    "local": BOTH
    | {
        "rdd": ("USER_ERROR", "ZeroDivisionError: integer division or modulo by zero"),
        "jvm": ("USER_ERROR", "java.util.NoSuchElementException"),
        "jvm_chain": ("USER_ERROR", "org.apache.hadoop.mapred.FileAlreadyExistsException: "),
    },
    "connect": BOTH | {"rdd": LACKS, "jvm": LACKS, "jvm_chain": LACKS},
}


@pytest.mark.parametrize("lane", LANES)
def test_the_first_line_is_the_root_cause(lane, request, tmp_path):
    site = request.getfixturevalue(f"on_{lane}")
    run = site.start(EVERY, (tmp_path / "lake" / "t").as_uri())
    site.end(run)
    told = [line[5:] for line in site.output(run, "stdout") if line.startswith("CASE ")]
    found = {name: (class_, lines) for name, class_, lines in map(json.loads, told)}
    assert found.keys() == LANES[lane].keys(), site.output(run)
    for name, (failure_class, first) in LANES[lane].items():
        assert found[name][0] == failure_class, name
        assert found[name][1][0].startswith(first), name
    assert found["wrapped"][1][1] == "raised as: RuntimeError: the load failed"
    assert ("backend local" in found["rdd"][1][1]) is (lane == "connect")


def test_a_heap_that_is_too_small_is_told_as_such(on_local):
    source = """
        from pyspark.sql import SparkSession, functions as F
        spark = SparkSession.builder.getOrCreate()
        spark.range(3 * 10**6).select(F.repeat(F.lit("x"), 1000)).collect()  # 3 GB
    """
    run = on_local.start(source, conf={"spark.driver.memory": "512m"})
    state = on_local.end(run, timeout_s=180)
    assert state.failure.failure_class is FailureClass.OUT_OF_MEMORY, on_local.output(run)
    assert "OutOfMemoryError" in state.failure.message.splitlines()[0]
