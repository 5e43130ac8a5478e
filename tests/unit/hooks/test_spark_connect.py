from __future__ import annotations

import pytest

from dataharbour.errors import ConfigError
from dataharbour.hooks.spark_connect import DataHarbourSparkConnectHook


@pytest.mark.parametrize(
    ("host", "seen_as"),
    [
        pytest.param("localhost", "localhost", id="localhost"),
        pytest.param("127.0.0.1", "localhost", id="loopback"),
        pytest.param("127.0.0.2", "localhost", id="another-loopback"),
        pytest.param("sc://127.0.0.1", "localhost", id="with-scheme"),
        pytest.param("sc://[::1]", "localhost", id="loopback-v6"),
        pytest.param("sc://[fd00::1]", "[fd00::1]", id="address-v6"),
        pytest.param("10.0.0.7", "10.0.0.7", id="address"),
        pytest.param("spark.example", "spark.example", id="name"),
    ],
)
def test_a_loopback_address_is_called_localhost(connection, host, seen_as):
    connection("dataharbour_spark_connect", conn_type="spark_connect", host=host, port=15003)
    endpoint = DataHarbourSparkConnectHook().endpoint()
    assert (endpoint.host, endpoint.port) == (seen_as, 15003)


def test_the_token_stays_out_of_every_text(connection):
    connection("dataharbour_spark_connect", conn_type="spark_connect", host="h", password="s3cret")
    endpoint = DataHarbourSparkConnectHook().endpoint()
    assert endpoint.token == "s3cret"
    assert "s3cret" not in repr(endpoint)


def test_the_port_is_sparks_own_unless_given(connection):
    connection("dataharbour_spark_connect", conn_type="spark_connect", host="h")
    assert DataHarbourSparkConnectHook().endpoint().port == 15002


def test_a_connection_without_host_is_refused(connection):
    connection("dataharbour_spark_connect", conn_type="spark_connect", port=15002)
    with pytest.raises(ConfigError, match="has no host"):
        DataHarbourSparkConnectHook().endpoint()
