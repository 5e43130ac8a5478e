"""What Airflow's provider registry learns about this package. Data only: every process reads it."""

from __future__ import annotations

from typing import Any

INTEGRATION = "DataHarbour"


def get_provider_info() -> dict[str, Any]:
    """The provider's entry for Airflow (airflow/provider_info.schema.json)."""
    return {
        "package-name": "airflow-provider-dataharbour",
        "name": INTEGRATION,
        "description": "Operations of a lakehouse as Airflow DAGs: Spark job runs, "
        "recovery points, restore drills, health, audit.",
        "versions": ["0.1.0"],
        "integrations": [{"integration-name": INTEGRATION, "tags": ["software"]}],
        "hooks": _modules(
            "dataharbour.hooks.database",
            "dataharbour.hooks.lake",
            "dataharbour.hooks.spark_connect",
            "dataharbour.hooks.docker",
            "dataharbour.hooks.spark_standalone",
            "dataharbour.hooks.yarn",
            "dataharbour.hooks.k8s",
        ),
        "operators": _modules("dataharbour.operators.spark_job"),
        "triggers": _modules("dataharbour.triggers.run"),
        "connection-types": [_DATABASE, _LAKE, _SPARK_CONNECT, _DOCKER, _SPARK_STANDALONE],
        "extra-links": [
            "dataharbour.links.run.RunLink",
            "dataharbour.links.run.RunLogLink",
            "dataharbour.links.run.SparkUiLink",
            "dataharbour.links.run.SparkHistoryLink",
        ],
        "config": {"dataharbour": {"description": _CONFIG_DESCRIPTION, "options": _OPTIONS}},
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": INTEGRATION, "python-modules": list(names)}]


def _text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "label": label,
        "description": description,
        "schema": {"type": ["string", "null"], **schema},
    }


# Connections of the providers' own types (postgres, aws, spark_connect) work as well;
# these types bring forms that ask for exactly what is read.
_DATABASE: dict[str, Any] = {
    "connection-type": "dataharbour_database",
    "hook-class-name": "dataharbour.hooks.database.DataHarbourDatabaseHook",
    "hook-name": "DataHarbour database",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {"schema": "Database"},
        "placeholders": {"host": "127.0.0.1", "port": "5432", "schema": "dataharbour"},
    },
    "conn-fields": {
        "sslmode": _text(
            "TLS mode",
            "disable, require, verify-ca or verify-full; none: libpq's default.",
        ),
    },
}
_LAKE: dict[str, Any] = {
    "connection-type": "dataharbour_lake",
    "hook-class-name": "dataharbour.hooks.lake.LakeHook",
    "hook-name": "DataHarbour lake",
    "ui-field-behaviour": {
        "hidden-fields": ["host", "port", "schema"],
        "relabeling": {"login": "Access key", "password": "Secret key"},
        "placeholders": {},
    },
    "conn-fields": {
        "endpoint_url": _text("Endpoint", "URL of the object store; none: AWS.", format="uri"),
        "region_name": _text("Region", "Region of the bucket.", default="us-east-1"),
    },
}
_SPARK_CONNECT: dict[str, Any] = {
    "connection-type": "dataharbour_spark_connect",
    "hook-class-name": "dataharbour.hooks.spark_connect.DataHarbourSparkConnectHook",
    "hook-name": "DataHarbour Spark Connect",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login"],
        "relabeling": {"password": "Token"},
        "placeholders": {"host": "localhost", "port": "15002"},
    },
    "conn-fields": {
        "use_ssl": {
            "label": "TLS",
            "description": "Whether the server speaks TLS.",
            "schema": {"type": ["boolean", "null"], "default": False},
        },
    },
}
_DOCKER: dict[str, Any] = {
    "connection-type": "dataharbour_docker",
    "hook-class-name": "dataharbour.hooks.docker.DataHarbourDockerHook",
    "hook-name": "DataHarbour Docker",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port"],
        "relabeling": {"host": "Registry", "login": "Registry user", "password": "Its password"},
        "placeholders": {"host": "registry.example.org"},
    },
    "conn-fields": {
        "image": _text("Image", "Pinned by its digest: name@sha256:… or sha256:…."),
        "socket": _text("Socket", "Of the engine on this host; none: Docker's own."),
        "network": _text("Network", "A network of the engine; none: applications have no network."),
        "memory": _text("Memory", "Of a container, such as 4g; none: 2g."),
        "cpus": _text("Processors", "Of a container; none: all of the host."),
        "pids": _text("Processes", "How many a container may have; none: 512."),
        "spark_submit": _text("spark-submit", "The program in the image; none: found by PATH."),
    },
}

_SPARK_STANDALONE: dict[str, Any] = {
    "connection-type": "dataharbour_spark_standalone",
    "hook-class-name": "dataharbour.hooks.spark_standalone.StandaloneHook",
    "hook-name": "DataHarbour Spark standalone",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login"],
        "relabeling": {"host": "Master", "password": "Key of the master's JWSFilter"},
        "placeholders": {"host": "spark://master.example.org", "port": "7077"},
    },
    "conn-fields": {
        "rest_url": _text(
            "REST gateway",
            "One for each master, separated by commas; none: port 6066 of the masters.",
        ),
        "ui_url": _text("Page", "The master's page.", format="uri"),
        "driver_file": _text(
            "Driver file",
            "Where the workers find dataharbour/jobs/driver/cluster.py; none: as on this machine.",
        ),
    },
}

_CONFIG_DESCRIPTION = "Where DataHarbour keeps its parts. `harbour up` writes this section."


def _option(description: str, *, example: str | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": example,
        "default": None,
    }


_OPTIONS = {
    "home": _option("The state folder.", example="/srv/dataharbour"),
    "include_dir": _option(
        "The folder of YAML files: jobs, expectations.", example="/opt/airflow/include"
    ),
    "applications": _option(
        "Folders below which Spark applications may lie, separated by colons.",
        example="/opt/airflow/spark_jobs",
    ),
    "lake": _option("URI of the lake's bucket or folder.", example="s3a://lake"),
    "java_home": _option(
        "A Java 17 or newer; none: the one that Spark finds.", example="/usr/lib/jvm/java-17"
    ),
    "spark_defaults": _option(
        "A Spark properties file without secrets; none: no further settings.",
        example="/srv/dataharbour/config/spark-defaults.conf",
    ),
    "driver_dsn_file": _option(
        "File (0600) with the libpq string of the drivers' role; "
        "none: secrets/driver.dsn in the state folder.",
    ),
    "max_active_runs_per_user": _option(
        "How many runs of one user may be open when they ask the API for another; "
        "0: any number; none: 200.",
    ),
    "artifacts_days": _option(
        "How many days the artifacts of a run stay after its end; 0: for ever; none: 60.",
    ),
    "notebooks": _option(
        "The folder below which notebooks may lie that run as jobs; none: there are none.",
    ),
    "notebooks_url": _option("Where JupyterLab is, for `health`; none: switched off."),
    "max_streams_per_user": _option(
        "How many event streams and waiting requests of one user one process of the API keeps "
        "open; 0: any number; none: 100.",
    ),
}
