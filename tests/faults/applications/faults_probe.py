"""Write down that it was started, work for a while, stage a table that says who wrote it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession


def main(table: str, starts: str, trial: str, seconds: str) -> None:
    """One line in `starts` for each start of user code; then the staged table."""
    attempt = os.environ["DATAHARBOUR_ATTEMPT_ID"]
    with Path(starts).open("a") as file:
        file.write(f"{trial} {attempt}\n")
    print("started", flush=True)
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        time.sleep(0.05)
    spark = SparkSession.builder.getOrCreate()
    rows = spark.createDataFrame([(trial, attempt)], "trial string, attempt string")
    rows.coalesce(1).write.parquet(table)
    print("staged", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
