"""What a client needs to talk to the running platform, as shell exports (`harbour env`)."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

from dataharbour.errors import Unavailable
from dataharbour.platform import connect_state, credentials, ports
from dataharbour.platform.airflow_api import AirflowApi
from dataharbour.platform.layout import Home
from dataharbour.platform.object_store import REGION
from dataharbour.platform.ports import LOOPBACK
from dataharbour.platform.supervise import Supervisor


def environment(home: Home) -> dict[str, str]:
    """The variables of design: addresses, credentials and a fresh token of the admin.

    Raises:
        Unavailable: the platform does not run.
    """
    if not Supervisor(home).is_alive():
        raise Unavailable(f"The platform in {home.root} does not run.", "Start it: ./harbour up")
    chosen = ports.load(home.run / "ports.json")
    secret = credentials.load(home.secrets)
    airflow_url = f"http://{LOOPBACK}:{chosen['api']}"
    spark_port = connect_state.port_of(chosen, connect_state.load(home).current)
    access_key, secret_key = secret.s3["spark"]
    variables = {
        "PATH": _path(),
        "HARBOUR_HOME": str(home.root),
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_URL": airflow_url,
        "DATAHARBOUR_URL": f"{airflow_url}/dataharbour",
        "DATAHARBOUR_TOKEN": AirflowApi(airflow_url, password=secret.users["admin"]).token(),
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{chosen['s3']}",
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "HARBOUR_LAKE": _lake(home),
        "PGHOST": LOOPBACK,
        "PGPORT": str(chosen["postgres"]),
        "PGUSER": "dataharbour",
        "PGPASSWORD": secret.postgres_dataharbour,
        "PGDATABASE": "dataharbour",
        "SPARK_REMOTE": f"sc://localhost:{spark_port}",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": secret.spark_connect_token,
    }
    java_home = _option(home, "java_home")
    return {**variables, "JAVA_HOME": java_home} if java_home else variables


def as_exports(variables: Mapping[str, str]) -> str:
    """Lines for ``eval "$(./harbour env)"``."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _path() -> str:
    programs = str(Path(sys.executable).parent)
    rest = [p for p in os.environ.get("PATH", "").split(os.pathsep) if p and p != programs]
    return os.pathsep.join([programs, *rest])


def _lake(home: Home) -> str:
    return (_option(home, "lake") or "s3a://lake").replace("s3a://", "s3://")


def _option(home: Home, name: str) -> str:
    parser = ConfigParser(interpolation=None)
    parser.read(home.airflow / "airflow.cfg")
    return parser.get("dataharbour", name, fallback="").replace("%%", "%")
