"""The smallest job there is: one query of one row."""

from __future__ import annotations

from pyspark.sql import SparkSession

SparkSession.builder.getOrCreate().sql("select 1").collect()
