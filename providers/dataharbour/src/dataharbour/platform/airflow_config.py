"""Airflow's configuration for the embedded platform. Decides its text; writes nothing."""

from __future__ import annotations

import json
from configparser import ConfigParser
from io import StringIO
from typing import Any
from urllib.parse import quote, urlsplit

from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.platform.credentials import ROLES, Credentials
from dataharbour.platform.object_store import REGION
from dataharbour.platform.plan import Plan
from dataharbour.platform.ports import LOOPBACK
from dataharbour.platform.spark_connection import spark_connection

# Chosen from the curve of idle CPU against trigger latency in docs/reference/benchmarks.md.
SCHEDULER_IDLE_SLEEP_S = 0.1


def render(plan: Plan, *, parallelism: int) -> str:
    """The complete airflow.cfg."""
    home, secret = plan.home, plan.credentials
    sections: dict[str, dict[str, str]] = {
        "core": {
            "dags_folder": str(plan.checkout.dags),
            "plugins_folder": str(plan.checkout.plugins),
            "executor": "LocalExecutor",
            "parallelism": str(parallelism),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "fernet_key": secret.fernet_key,
            "execution_api_server_url": f"{plan.url}/execution/",
            "auth_manager": "dataharbour.auth_manager.DataHarbourAuthManager",
            "simple_auth_manager_users": ",".join(f"{role}:{role}" for role in ROLES),
            "simple_auth_manager_passwords_file": str(home.secrets / "airflow_passwords.json"),
            "simple_auth_manager_all_admins": "False",
        },
        "database": {"sql_alchemy_conn": database_url(plan), "sql_alchemy_pool_size": "5"},
        "api": {
            "host": LOOPBACK,
            "port": str(plan.ports["api"]),
            "base_url": plan.url,
            "secret_key": secret.api_secret_key,
            "workers": "1",
            "worker_timeout": "30",
            "expose_config": "False",
            "instance_name": "DataHarbour",
        },
        "api_auth": {"jwt_secret": secret.jwt_secret},
        "scheduler": {
            "scheduler_idle_sleep_time": str(SCHEDULER_IDLE_SLEEP_S),
            # A killed scheduler's or worker's tasks are taken up after a minute or two, not after
            # five and more; a driver goes on meanwhile, and is adopted.
            "orphaned_tasks_check_interval": "20",
            "task_instance_heartbeat_timeout": "90",
        },
        "dag_processor": {"parsing_processes": "1"},
        "logging": {
            "base_log_folder": str(home.airflow / "logs"),
            "remote_logging": "True",
            "remote_base_log_folder": "s3://logs/airflow",
            "remote_log_conn_id": "dataharbour_logs",
            "delete_local_logs": "True",
        },
        "usage_data_collection": {"enabled": "False"},
        "dataharbour": {
            "home": str(home.root),
            "include_dir": str(plan.checkout.include),
            "applications": f"{plan.checkout.applications}:{home.applications}",
            "notebooks": str(home.notebooks),
            "notebooks_url": plan.notebooks_url,
            "lake": plan.lake,
            "java_home": plan.java_home,
            "spark_defaults": str(home.spark / "conf" / "spark-defaults.conf"),
            "driver_dsn_file": str(home.secrets / "driver.dsn"),
        },
    }
    parser = ConfigParser(interpolation=None)
    for section, options in sections.items():
        # Airflow interpolates: a percent sign in a value is written twice.
        parser[section] = {name: value.replace("%", "%%") for name, value in options.items()}
    text = StringIO()
    parser.write(text)
    return text.getvalue()


def database_url(plan: Plan) -> str:
    """The SQLAlchemy URL of Airflow's own database."""
    password = quote(plan.credentials.postgres_airflow, safe="")
    return f"postgresql+psycopg2://airflow:{password}@{LOOPBACK}:{plan.ports['postgres']}/airflow"


def passwords(credentials: Credentials) -> str:
    """SimpleAuthManager's password file."""
    return json.dumps(credentials.users)


def connections(
    plan: Plan, *, spark: str, cluster: ClusterEndpoint | None = None
) -> list[dict[str, Any]]:
    """The Airflow connections of the platform, as the public REST API takes them.

    Args:
        plan: the platform.
        spark: which of the two Connect servers new runs use.
        cluster: its standalone cluster, if it has one.
    """
    secret, ports = plan.credentials, plan.ports
    lake_store = f"http://{LOOPBACK}:{ports['s3']}"
    vault_store = f"http://{LOOPBACK}:{ports['vault']}"
    return [
        {
            "connection_id": "dataharbour_db",
            "conn_type": "postgres",
            "host": LOOPBACK,
            "port": ports["postgres"],
            "login": "dataharbour",
            "password": secret.postgres_dataharbour,
            "schema": "dataharbour",
        },
        _aws("dataharbour_lake", lake_store, secret.s3["spark"], "lake"),
        _aws("dataharbour_logs", lake_store, secret.s3["logs"], "logs"),
        _aws("dataharbour_vault", vault_store, secret.vault["backup"], "vault"),
        _aws("dataharbour_vault_prune", vault_store, secret.vault["prune"], "vault"),
        _spark(cluster),
        spark_connection(spark, ports, secret),
    ]


def _spark(cluster: ClusterEndpoint | None) -> dict[str, Any]:
    """Every field, so that the connection of a cluster that was given up leaves nothing behind."""
    connection: dict[str, Any] = {"connection_id": "dataharbour_spark", "conn_type": "spark"}
    if cluster is None:
        return connection | {"host": "local[*]", "port": None, "password": None, "extra": None}
    master = urlsplit(cluster.master)
    extra = {
        "rest_url": ",".join(cluster.rest_urls),
        "ui_url": cluster.ui_url,
        "history_url": cluster.history_url,
        "driver_file": cluster.driver_file,
    }
    return connection | {
        "host": f"{master.scheme}://{master.hostname}",
        "port": master.port,
        "password": cluster.key,
        "extra": json.dumps(extra),
    }


def pools(cores: int) -> list[dict[str, Any]]:
    """The Airflow pools of the platform."""
    return [
        {
            "name": "spark_drivers",
            "slots": cores,
            "include_deferred": True,
            "description": "Spark drivers that may run at once, deferred ones included.",
        },
        {
            "name": "dags_test",
            "slots": 0,
            "include_deferred": False,
            "description": "Tasks that `airflow dags test` runs itself; the scheduler leaves them.",
        },
        {
            "name": "backup",
            "slots": 1,
            "include_deferred": True,
            "description": "Work on recovery points, one at a time.",
        },
    ]


def _aws(conn_id: str, endpoint: str, keys: tuple[str, str], bucket: str) -> dict[str, Any]:
    extra = {
        "endpoint_url": endpoint,
        "region_name": REGION,
        "bucket": bucket,
        "config_kwargs": {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "connect_timeout": 3,
            "read_timeout": 30,
            "retries": {"max_attempts": 2},
        },
    }
    return {
        "connection_id": conn_id,
        "conn_type": "aws",
        "login": keys[0],
        "password": keys[1],
        "extra": json.dumps(extra),
    }
