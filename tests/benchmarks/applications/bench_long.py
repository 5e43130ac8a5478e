"""Work for the processor: hashing, sorting and grouping of generated rows, so many rounds."""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

spark = SparkSession.builder.getOrCreate()
for turn in range(int(sys.argv[1])):
    rows = spark.range(4_000_000).select(
        (f.col("id") % 50_000).alias("key"),
        f.md5(f.concat_ws("-", f.col("id"), f.lit(turn))).alias("text"),
    )
    counted = rows.groupBy("key").agg(f.max("text").alias("most"), f.count("*").alias("rows"))
    joined = rows.join(counted, "key").where("text < most").groupBy("key").count()
    print(turn, joined.agg(f.sum("count")).first()[0], flush=True)
