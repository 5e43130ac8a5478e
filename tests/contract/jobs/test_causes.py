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


@pytest.mark.parametrize("lane", ["local", "connect"])
def test_every_case(lane, request, tmp_path):
    site = request.getfixturevalue(f"on_{lane}")
    run = site.start(EVERY, (tmp_path / "lake" / "t").as_uri())
    site.end(run)
    for line in site.output(run, "stdout"):
        if line.startswith("CASE"):
            print(lane, *json.loads(line[5:]))
    print(site.store.get(run.id).progress)


def test_heap(on_local):
    run = on_local.start(
        """
        from pyspark.sql import SparkSession, functions as F
        spark = SparkSession.builder.getOrCreate()
        spark.range(10**8).select(F.repeat(F.lit("x"), 1000)).collect()
    """,
        conf={"spark.driver.memory": "512m", "spark.driver.maxResultSize": "64g"},
    )
    state = on_local.end(run)
    print("HEAP", state.exit_code, state.failure)
    print(*on_local.output(run, "stderr")[-30:], sep="\n")
    assert state.failure.failure_class is FailureClass.OUT_OF_MEMORY


def test_heap_task(on_local):
    run = on_local.start(
        """
        from pyspark.sql import SparkSession, functions as F
        spark = SparkSession.builder.getOrCreate()
        huge = spark.range(1).select(F.array_repeat(F.lit(1), 2**30).alias("x"))
        huge.selectExpr("size(shuffle(x))").collect()
    """,
        conf={"spark.driver.memory": "512m", "spark.driver.maxResultSize": "64g"},
    )
    state = on_local.end(run)
    print("TASK", state.exit_code, state.failure)
    print(*on_local.output(run, "stderr")[-30:], sep="\n")
    assert state.failure.failure_class is FailureClass.OUT_OF_MEMORY
