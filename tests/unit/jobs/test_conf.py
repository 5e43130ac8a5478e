from __future__ import annotations

import pytest

from dataharbour.errors import ConfNotAllowed
from dataharbour.jobs.conf import ALLOWED, allowed, check_conf


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("spark.sql.shuffle.partitions", 4, "4"),
        ("spark.sql.shuffle.partitions", "10000", "10000"),
        ("spark.sql.adaptive.enabled", False, "false"),
        ("spark.sql.files.maxPartitionBytes", "64m", "64m"),
        ("spark.sql.files.maxPartitionBytes", "64MB", "64MB"),
        ("spark.sql.autoBroadcastJoinThreshold", "-1", "-1"),
        ("spark.sql.session.timeZone", "Europe/Zurich", "Europe/Zurich"),
        ("spark.sql.parquet.compression.codec", "zstd", "zstd"),
    ],
)
def test_an_allowed_setting_becomes_text(key, value, text):
    assert check_conf({key: value}) == {key: text}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.shuffle.partitions", 0),
        ("spark.sql.shuffle.partitions", 10_001),
        ("spark.sql.shuffle.partitions", "4\n"),
        ("spark.sql.shuffle.partitions", "４"),
        ("spark.sql.shuffle.partitions", 4.0),
        ("spark.sql.shuffle.partitions", True),
        ("spark.sql.adaptive.enabled", "yes"),
        ("spark.sql.files.maxPartitionBytes", "64"),
        ("spark.sql.files.maxPartitionBytes", "-1"),
        ("spark.sql.files.maxPartitionBytes", "2g"),
        ("spark.sql.session.timeZone", "Mars/Olympus"),
        ("spark.driver.memory", "1t"),
        ("spark.driver.memory", "1g -XX:OnError=sh"),
        ("spark.driver.memory", None),
    ],
)
def test_a_value_outside_its_range_is_refused(key, value):
    with pytest.raises(ConfNotAllowed, match=key) as caught:
        check_conf({key: value})
    assert caught.value.remedy.startswith("Give ")


DANGEROUS = [
    "spark.driver.extraJavaOptions",
    "spark.executor.defaultJavaOptions",
    "spark.driver.extraClassPath",
    "spark.driver.extraLibraryPath",
    "spark.jars",
    "spark.jars.packages",
    "spark.jars.ivySettings",
    "spark.files",
    "spark.archives",
    "spark.submit.pyFiles",
    "spark.master",
    "spark.remote",
    "spark.plugins",
    "spark.extraListeners",
    "spark.sql.extensions",
    "spark.sql.catalog.x",
    "spark.sql.queryExecutionListeners",
    "spark.sql.warehouse.dir",
    "spark.kubernetes.file.upload.path",
    "spark.yarn.keytab",
    "spark.hadoop.fs.s3a.secret.key",
    "spark.hadoop.fs.s3a.aws.credentials.provider",
    "spark.eventLog.dir",
    "spark.dataharbour.run",
    "spark.ui.filters",
    "spark.authenticate.secret",
    "spark.redaction.regex",
    "spark.executorEnv.LD_PRELOAD",
    "spark.pyspark.python",
    "spark.driver.resource.gpu.discoveryScript",
    "SPARK.SQL.SHUFFLE.PARTITIONS",
    " spark.sql.shuffle.partitions",
    "spark.sql.shuffle.partitions\n",
    "",
]


@pytest.mark.parametrize("key", DANGEROUS)
def test_what_is_not_listed_is_refused(key):
    with pytest.raises(ConfNotAllowed, match="may not be set by a job") as caught:
        check_conf({key: "1"})
    assert "spark.sql.shuffle.partitions" in caught.value.remedy


def test_a_running_spark_cannot_get_more_memory():
    conf = {"spark.driver.memory": "2g"}
    assert check_conf(conf, backend="local") == conf
    with pytest.raises(ConfNotAllowed, match="no effect on the backend connect"):
        check_conf(conf, backend="connect")


def test_each_backend_lists_what_it_can_honour():
    assert set(allowed()) == set(ALLOWED)
    assert "spark.executor.memory" not in allowed("connect")
    assert all(key.startswith("spark.sql.") for key in allowed("connect"))
