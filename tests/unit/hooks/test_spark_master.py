from __future__ import annotations

import pytest

from dataharbour.errors import ConfigError
from dataharbour.hooks.spark_master import place_of_connection


@pytest.mark.parametrize(
    ("fields", "backend"),
    [
        pytest.param({"host": "local"}, "local", id="local"),
        pytest.param({"host": "local[*]"}, "local", id="local-all"),
        pytest.param({"host": "yarn"}, "yarn", id="yarn"),
        pytest.param({"host": "k8s://https://k.example", "port": 443}, "k8s", id="k8s"),
        pytest.param({"conn_type": "spark", "host": "m", "port": 7077}, "standalone", id="spark"),
        pytest.param({"host": "spark://m:7077"}, "standalone", id="spark-url"),
        pytest.param({"conn_type": "spark_connect", "host": "sc://m"}, "connect", id="connect"),
    ],
)
def test_the_master_chooses_the_backend(connection, fields, backend):
    fields = {"conn_type": "spark", **fields}
    connection("prod", **fields)
    for own in ("yarn", "k8s", "spark", "spark_connect"):
        connection(f"dataharbour_{own}", **fields)
    assert place_of_connection("prod").backend == backend


def test_the_cores_of_a_local_master_are_the_drivers(connection):
    connection("prod", conn_type="spark", host="local[3]")
    assert place_of_connection("prod").conf == {"spark.driver.cores": "3"}


def test_another_cluster_than_the_backends_is_refused(connection):
    connection("prod", conn_type="spark", host="k8s://https://one", port=443)
    connection("dataharbour_k8s", conn_type="spark", host="k8s://https://two", port=443)
    with pytest.raises(ConfigError, match=r"'dataharbour_k8s', which is k8s://https://two:443"):
        place_of_connection("prod")


def test_the_form_of_a_standalone_cluster_means_the_same(connection):
    cluster = {"host": "spark://m", "port": 7077}
    connection("prod", conn_type="spark", **cluster)
    connection("dataharbour_spark", conn_type="dataharbour_spark_standalone", **cluster)
    assert place_of_connection("prod").backend == "standalone"


def test_a_backend_without_a_connection_is_told(connection):
    connection("prod", conn_type="spark", host="yarn")
    with pytest.raises(ConfigError, match=r"'dataharbour_yarn', which is not set"):
        place_of_connection("prod")


def test_a_missing_connection_is_never_quietly_a_cluster():
    assert place_of_connection("spark_default").backend == "local"
    with pytest.raises(ConfigError, match="no connection 'prod'"):
        place_of_connection("prod")


def test_an_unknown_master_names_the_known_ones(connection):
    connection("prod", conn_type="spark", host="mesos://m", port=5050)
    with pytest.raises(ConfigError, match="No backend works on the master 'mesos://m:5050'"):
        place_of_connection("prod")
