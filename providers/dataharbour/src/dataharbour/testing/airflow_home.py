"""An Airflow of its own for tests that run DAGs in their process, by `dag.test()`."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from configparser import ConfigParser
from functools import cache
from pathlib import Path


@cache
def own_airflow(dags: Path) -> Path:
    """Import Airflow with a temporary AIRFLOW_HOME and an empty SQLite database.

    Airflow reads its home once, when it is first imported: call this before
    anything imports it. The environment is left as it was.

    Args:
        dags: the folder of DAG files.

    Returns:
        The temporary AIRFLOW_HOME; it is deleted when the process ends.
    """
    home = Path(tempfile.mkdtemp(prefix="dh-airflow-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _write_config(home, dags)
    before = dict(os.environ)
    os.environ |= {"AIRFLOW_HOME": str(home), "AIRFLOW_CONFIG": str(home / "airflow.cfg")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Airflow's own imports warn of is not ours
            from airflow.utils.db import initdb

            initdb()
    finally:
        os.environ.clear()
        os.environ |= before
    return home


def _write_config(home: Path, dags: Path) -> None:
    config = ConfigParser(interpolation=None)
    config["core"] = {
        "dags_folder": str(dags),
        "plugins_folder": str(home / "plugins"),
        "load_examples": "False",
        "unit_test_mode": "False",
    }
    config["database"] = {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db"}
    config["logging"] = {
        "base_log_folder": str(home / "logs"),
        "logging_level": "WARNING",
        "namespace_levels": "airflow.task.operators=INFO",
    }
    config["usage_data_collection"] = {"enabled": "False"}
    with (home / "airflow.cfg").open("w") as file:
        config.write(file)
