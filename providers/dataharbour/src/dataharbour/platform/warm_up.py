"""Run one small job on the Connect server, so that the first person's job need not load it all.

A cold server spends most of a job's first run on loading and compiling classes. Started as a
program (`python -m dataharbour.platform.warm_up PORT LAKE`, the token in the environment), so that
`up` does not wait for it and never imports Spark's client itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 2_000


def command(port: int, *, lake: str) -> list[str]:
    """The command line. Needs SPARK_CONNECT_AUTHENTICATE_TOKEN; probe the server before."""
    return [sys.executable, "-m", "dataharbour.platform.warm_up", str(port), lake]


def warm_up(spark: SparkSession, *, lake: str) -> int:
    """Write, read, join and aggregate a few rows the way jobs do; the rows that came back.

    The folder is the same each time, so it does not grow.
    """
    from pyspark.sql import functions as F

    folder = f"{lake}/.attempts/warm-up"
    numbers = spark.range(ROWS).select(
        F.col("id"),
        (F.col("id") % 3).cast("int").alias("part"),
        F.when(F.col("id") % 7 > 0, F.col("id")).cast("int").alias("delay"),
        F.concat(F.lit("c"), F.col("id") % 5).alias("name"),
    )
    numbers.write.mode("overwrite").csv(f"{folder}/raw", header=True)
    raw = spark.read.csv(
        f"{folder}/raw", header=True, schema="id long, part int, delay int, name string"
    )
    raw.write.mode("overwrite").partitionBy("part").parquet(f"{folder}/rows")
    rows = spark.read.parquet(f"{folder}/rows")
    names = rows.select("name").distinct()
    rows.join(names, "name").groupBy("name").agg(
        F.count("*").alias("rows"),
        F.sum(F.col("delay").isNull().cast("int")).alias("nulls"),
        F.avg("delay").alias("mean"),
    ).orderBy("name").coalesce(1).write.mode("overwrite").parquet(f"{folder}/means")
    return int(spark.read.parquet(f"{folder}/means").agg(F.sum("rows")).collect()[0][0])


def main(port: str, lake: str) -> None:
    """Open a session, warm the server up, close the session."""
    from pyspark.sql import SparkSession

    # `localhost`, not 127.0.0.1: with a token, the latter makes the client try TLS.
    spark = SparkSession.builder.remote(f"sc://localhost:{port}/;user_id=harbour-warm-up").create()
    try:
        warm_up(spark, lake=lake)
    finally:
        spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
