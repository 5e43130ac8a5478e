from __future__ import annotations

import json

import pytest

from dataharbour.errors import ConfigError
from dataharbour.hooks.spark_standalone import StandaloneHook


def endpoint(connection, **fields):
    connection("dataharbour_spark", conn_type="spark", **fields)
    return StandaloneHook().endpoint()


def test_the_embedded_cluster(connection):
    extra = {
        "rest_url": "http://127.0.0.1:16066",
        "ui_url": "http://127.0.0.1:18081",
        "history_url": "http://127.0.0.1:18083",
    }
    found = endpoint(
        connection,
        host="spark://127.0.0.1",
        port=17077,
        password="k3y",
        extra=json.dumps(extra | {"driver_file": "/x/cluster.py", "spark-binary": "sh"}),
    )
    assert found.master == "spark://127.0.0.1:17077"
    assert found.rest_urls == ("http://127.0.0.1:16066",)
    assert (found.ui_url, found.driver_file) == ("http://127.0.0.1:18081", "/x/cluster.py")
    assert found.history_url == "http://127.0.0.1:18083"
    assert found.key == "k3y"
    assert "k3y" not in repr(found)


def test_several_masters_each_have_their_gateway(connection):
    found = endpoint(connection, host="spark://a,b:7078")
    assert found.master == "spark://a:7077,b:7078"
    assert found.rest_urls == ("http://a:6066", "http://b:6066")


@pytest.mark.parametrize("host", ["local[*]", "", "yarn", "k8s://x"])
def test_what_is_no_standalone_master_is_told_with_the_way_to_one(connection, host):
    with pytest.raises(ConfigError, match="has no cluster") as caught:
        endpoint(connection, host=host)
    assert "harbour up --cluster" in caught.value.remedy
