"""What `class_archive` runs once: a little of everything that jobs do, so that its classes load."""

from __future__ import annotations


def main() -> None:
    """Run in a folder that may be filled."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    spark = SparkSession.builder.appName("class archive").getOrCreate()
    rows = spark.range(0, 2_000, 1, 4).select(
        (F.col("id") % 12).alias("month"),
        F.col("id").cast("double").alias("delay"),
        F.concat(F.lit("carrier "), F.col("id") % 5).alias("carrier"),
        F.timestamp_seconds(F.col("id") * 3600).alias("hour"),
    )
    rows.write.mode("overwrite").option("header", True).csv("rows.csv")
    schema = "month int, delay double, carrier string, hour timestamp"
    read = spark.read.csv("rows.csv", schema=schema, header=True, nullValue="NA")
    read.write.mode("overwrite").partitionBy("month").parquet("rows")
    rows.write.mode("overwrite").json("rows.json")
    spark.read.json("rows.json").count()
    table = spark.read.parquet("rows")
    table.createOrReplaceTempView("flights")
    names = table.select("carrier").distinct().withColumn("name", F.upper("carrier"))
    table.join(F.broadcast(names), "carrier").groupBy("name").agg(
        F.count("*"),
        F.avg("delay"),
        F.max("hour"),
        F.sum(F.when(F.col("delay") > 10, 1).otherwise(0)),
    ).orderBy("name").collect()
    table.join(names.hint("merge"), "carrier", "left").repartition(3, "month").write.mode(
        "overwrite"
    ).parquet("joined")
    spark.sql(
        "select carrier, row_number() over (partition by month order by delay) n, "
        "date_trunc('day', hour) d "
        "from flights where delay between 1 and 900 limit 20"
    ).collect()
    doubled = F.udf(lambda x: x * 2, "double")
    table.select(doubled("delay")).agg(F.sum("<lambda>(delay)")).collect()
    spark.stop()


if __name__ == "__main__":
    main()
