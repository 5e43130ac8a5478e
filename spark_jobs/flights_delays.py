"""Turn the raw 2013 New York flights into one typed table and four tables of delays.

Reads `flights.csv`, `weather.csv` and `airlines.csv` below `--raw`, and writes below `--output`:

    silver/flights            typed, NA as null, partitioned by month
    gold/delays_by_carrier    carrier, name, flights, cancelled, mean delays
    gold/delays_by_origin     origin, flights, cancelled, mean delays
    gold/delays_by_month      month, flights, cancelled, mean delays
    gold/delays_by_weather    visibility_band, wind_band, flights, cancelled, mean delays

A flight is cancelled when it has no departure time. A mean delay is in minutes, over the
flights that have that delay: cancelled flights count in `flights` and in no mean.

    spark-submit --master 'local[2]' flights_delays.py --raw file:///data/raw --output file:///data
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

SCHEMAS = {
    "flights": """year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT,
        arr_time INT, sched_arr_time INT, arr_delay INT, carrier STRING, flight INT,
        tailnum STRING, origin STRING, dest STRING, air_time INT, distance INT, hour INT,
        minute INT, time_hour TIMESTAMP""",
    "weather": """origin STRING, year INT, month INT, day INT, hour INT, temp DOUBLE, dewp DOUBLE,
        humid DOUBLE, wind_dir DOUBLE, wind_speed DOUBLE, wind_gust DOUBLE, precip DOUBLE,
        pressure DOUBLE, visib DOUBLE, time_hour TIMESTAMP""",
    "airlines": "carrier STRING, name STRING",
}
SESSION_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",  # the one shuffle moves a few thousand rows
    # Spark's default, INT96, is deprecated in Parquet and carries no time zone.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
# Each band ends below its bound. The labels sort as text.
# Statute miles, with the bounds of the FAA's flight categories LIFR, IFR, MVFR and VFR.
VISIBILITY_BANDS = {"0-1 mi": 1.0, "1-3 mi": 3.0, "3-5 mi": 5.0, "5+ mi": float("inf")}
# Miles per hour. 253 is the strongest gust ever measured outside a tornado (WMO: Barrow Island,
# 1996); the data holds one reading of 1048 mph, whose band is therefore unknown.
WIND_BANDS = {"00-10 mph": 10.0, "10-20 mph": 20.0, "20-30 mph": 30.0, "30+ mph": 253.0}
UNKNOWN = "unknown"
GOLD = {
    "delays_by_carrier": ("carrier",),
    "delays_by_origin": ("origin",),
    "delays_by_month": ("month",),
    "delays_by_weather": ("visibility_band", "wind_band"),
}


def read_csv(spark: SparkSession, root: str, table: str) -> DataFrame:
    """One raw table, typed. A value or a header that does not fit is an error, not a null.

    Raises:
        FileNotFoundError: there is no such file; found before any work is done.
    """
    uri = f"{root}/{table}.csv"
    options = {"header": True, "enforceSchema": False, "mode": "FAILFAST", "nullValue": "NA"}
    try:
        raw = spark.read.csv(uri, schema=SCHEMAS[table], **options)
        _ = raw.schema  # over Connect nothing looks for the file before the plan is analysed
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        remedy = "`./harbour up` puts it there; elsewhere, point --raw at a folder that has it"
        raise FileNotFoundError(f"no input at {uri} ({remedy})") from error
    return raw


def band(value: Column, bands: dict[str, float]) -> Column:
    """The label of the first band whose bound is above `value`; null for null or off the scale."""
    label = F.lit(None).cast("string")
    for name, bound in reversed(bands.items()):
        label = F.when(value < bound, name).otherwise(label)
    return label


def transform_weather(weather: DataFrame) -> DataFrame:
    """The bands of each airport and hour; `weather` has at most one row for each."""
    return weather.select(
        "origin",
        "time_hour",
        band(F.col("visib"), VISIBILITY_BANDS).alias("visibility_band"),
        band(F.col("wind_speed"), WIND_BANDS).alias("wind_band"),
    )


def transform_summary(flights: DataFrame, weather_bands: DataFrame) -> DataFrame:
    """Count and sum once, at the finest grain: every table of delays is a roll-up of this.

    The few thousand rows lie in one partition, so the roll-ups need no shuffle and give one file.
    """
    bands = ("visibility_band", "wind_band")
    return (
        flights.join(F.broadcast(weather_bands), ["origin", "time_hour"], "left")
        .fillna(UNKNOWN, subset=list(bands))
        .groupBy("carrier", "origin", "month", *bands)
        .agg(
            F.count(F.lit(1)).alias("flights"),
            F.count_if(F.col("dep_time").isNull()).alias("cancelled"),
            F.sum("dep_delay").alias("dep_delay_sum"),
            F.count("dep_delay").alias("dep_delay_count"),
            F.sum("arr_delay").alias("arr_delay_sum"),
            F.count("arr_delay").alias("arr_delay_count"),
        )
        .coalesce(1)
    )


def transform_delays(summary: DataFrame, *keys: str) -> DataFrame:
    """Flights, cancellations and mean delays for each value of `keys`."""

    def mean(delay: str) -> Column:
        total, count = F.sum(f"{delay}_sum"), F.sum(f"{delay}_count")
        return F.try_divide(total, count).alias(f"mean_{delay}_min")  # null when none departed

    return summary.groupBy(*keys).agg(
        F.sum("flights").alias("flights"),
        F.sum("cancelled").alias("cancelled"),
        mean("dep_delay"),
        mean("arr_delay"),
    )


def transform_names(delays: DataFrame, airlines: DataFrame) -> DataFrame:
    """Put the airline's name after its code; null for a code that has none."""
    named = delays.join(F.broadcast(airlines), "carrier", "left")
    return named.select("carrier", "name", *delays.columns[1:])


def gold_tables(summary: DataFrame, airlines: DataFrame) -> dict[str, DataFrame]:
    """The tables of delays by their names, each in the order of its keys."""
    tables = {name: transform_delays(summary, *keys) for name, keys in GOLD.items()}
    tables["delays_by_carrier"] = transform_names(tables["delays_by_carrier"], airlines)
    return {
        f"gold/{name}": table.sortWithinPartitions(*GOLD[name]) for name, table in tables.items()
    }


def write(table: DataFrame, output: str, name: str, *partitions: str) -> int:
    """Replace the table `name` below `output`; the number of rows that went into it."""
    started, seen = time.monotonic(), Observation()
    counted = table.observe(seen, F.count(F.lit(1)).alias("rows"))
    counted.write.mode("overwrite").partitionBy(*partitions).parquet(f"{output}/{name}")
    rows = int(seen.get["rows"])
    took_s = time.monotonic() - started
    print(f"wrote {name}: {rows:,} rows in {took_s:.1f} s\n", end="", flush=True)  # one write
    return rows


def run(spark: SparkSession, raw: str, output: str) -> dict[str, int]:
    """Write every table; the number of rows of each."""
    print(f"reading {raw}", flush=True)
    flights, weather, airlines = (read_csv(spark, raw, table) for table in SCHEMAS)
    rows = {"silver/flights": write(flights, output, "silver/flights", "month")}
    silver = spark.read.schema(flights.schema).parquet(f"{output}/silver/flights")
    summary = transform_summary(silver, transform_weather(weather)).persist()
    gold = gold_tables(summary, airlines)
    try:
        # At once, since writing a small table is mostly waiting for the storage.
        with ThreadPoolExecutor(len(gold)) as pool:
            counts = pool.map(lambda name: write(gold[name], output, name), gold)
            rows |= dict(zip(gold, counts, strict=True))
    finally:
        summary.unpersist()  # a Connect server would keep it beyond this session
    return rows


def arguments() -> argparse.Namespace:
    """`--raw` and `--output`, without a slash at their ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for option, meaning in (("--raw", "folder of the raw CSV files"), ("--output", "output root")):
        parser.add_argument(
            option, required=True, metavar="URI", help=meaning, type=lambda uri: uri.rstrip("/")
        )
    return parser.parse_args()


def main() -> None:
    """Run on the session that the environment gives: of spark-submit, or of Spark Connect."""
    args = arguments()
    spark = SparkSession.builder.appName("flights_delays").config(map=SESSION_CONF).getOrCreate()
    try:
        rows = run(spark, args.raw, args.output)
    except FileNotFoundError as error:
        sys.exit(f"flights_delays: {error}")
    finally:
        spark.stop()
    print("\n".join(f"{name:<24}{count:>9,} rows" for name, count in rows.items()))


if __name__ == "__main__":
    main()
