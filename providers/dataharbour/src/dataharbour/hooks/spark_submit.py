"""Submit a driver to a cluster by `spark-submit`, with the Spark provider's hook.

The provider's hook makes the command from the connection; ours keeps secrets out of it, and
waits for no longer than `SUBMIT_WITHIN_S`. What travels is an attempt packed into environment
variables (`carried`), in a properties file that only its owner reads, deleted afterwards.
spark-submit ends as soon as the cluster has taken the application.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.launch import LaunchContext
from dataharbour.jobs.driver import shipped

SUBMIT_WITHIN_S = 180.0
CLAIM_WITHIN_S = 900.0  # a driver may wait for room on the cluster
KILL_WITHIN_S = 15.0
SHIPPED = Path(shipped.__file__)

# What the cluster's own pages show of the settings: nothing of these.
REDACTED = r"(?i)secret|password|token|access[._]?key|credential|DATAHARBOUR_DRIVER"
# Variables that are none of spark-submit's business.
_OURS_ALONE = ("AIRFLOW", "DATAHARBOUR", "PG", "AWS_", "HARBOUR_")
_TAIL_LINES = 15


class ClusterSubmitHook(SparkSubmitHook):
    """Submits one driver in cluster mode.

    Args:
        conn_id: an Airflow connection of type ``spark``: host is the master.
        context: the attempt.
        conf: settings beside the job's own; these go before them.
        properties: settings that hold secrets, or are long.

    Raises:
        ConfigError: there is no such connection, or the hook refuses it.
    """

    masters: ClassVar[str]  # how the master of the connection must begin

    def __init__(
        self,
        conn_id: str,
        *,
        context: LaunchContext | None = None,
        conf: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection_of(conn_id)  # the provider would take YARN for a missing one
        self._private = dict(properties or {})
        wanted = dict(context.request.conf) if context else {}
        try:
            super().__init__(
                conf={**wanted, "spark.redaction.regex": REDACTED, **(conf or {})},
                conn_id=conn_id,
                name=context.application_name if context else "dataharbour",
                deploy_mode="cluster",
                track_driver_via_k8s_api=True,  # on Kubernetes: a submission has no exit code
            )
        except (ValueError, RuntimeError, NameError) as error:
            raise ConfigError(
                f"Connection {conn_id!r} cannot be used: {error}.",
                "For Kubernetes install apache-airflow-providers-cncf-kubernetes; see "
                "docs/guides/clusters.md.",
            ) from error
        master = str(self._connection["master"])
        if not master.startswith(self.masters):
            raise ConfigError(
                f"Connection {conn_id!r} has the master {master!r}.",
                f"Its host must begin with {self.masters}; docs/guides/clusters.md has examples.",
            )

    @property
    def extra(self) -> dict[str, Any]:
        """The connection's extra."""
        return dict(self.connection.extra_dejson)

    @property
    def lines(self) -> list[str]:
        """The last lines that spark-submit wrote."""
        return [self._mask_cmd(line) for line in self._last_submit_log_lines]

    def hand_over(self, application: str) -> None:
        """Submit, and return when the cluster has taken the application.

        Raises:
            ConfigError: there is no spark-submit.
            Unavailable: the cluster did not take it, or did not say so in time.
        """
        with self._private_properties(), self._bounded() as is_late:
            try:
                self.submit(application, env=_environment())
            except FileNotFoundError:
                raise ConfigError(
                    f"There is no program {self._connection['spark_binary']!r}.",
                    "Put spark-submit on the PATH of Airflow's workers.",
                ) from None
            except AirflowException:
                raise self._not_taken(is_late=is_late.is_set()) from None

    def _build_spark_common_args(self) -> list[str]:
        # A properties file would take the place of the cluster's own defaults.
        return [*super()._build_spark_common_args(), "--load-spark-defaults"]

    @contextmanager
    def _private_properties(self) -> Iterator[None]:
        """The settings of `properties` in a file that only its owner reads."""
        with tempfile.NamedTemporaryFile("w", prefix="dataharbour-", suffix=".conf") as file:
            file.writelines(f"{key}={value}\n" for key, value in self._private.items())
            file.flush()
            self._properties_file = file.name
            yield

    @contextmanager
    def _bounded(self) -> Iterator[threading.Event]:
        """End a spark-submit that takes too long: clients try an unreachable cluster for ages."""
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            if self._submit_sp is not None:
                self._submit_sp.kill()

        timer = threading.Timer(SUBMIT_WITHIN_S, end)
        timer.daemon = True
        timer.start()
        try:
            yield is_late
        finally:
            timer.cancel()
            if self._submit_sp is not None and self._submit_sp.stdout is not None:
                self._submit_sp.stdout.close()

    def _not_taken(self, *, is_late: bool) -> Unavailable:
        how = f"said nothing for {SUBMIT_WITHIN_S:g} s" if is_late else "did not take the driver"
        said = "\n".join(self.lines[-_TAIL_LINES:])
        return Unavailable(
            f"The cluster {self._connection['master']} {how}. spark-submit wrote:\n{said}",
            f"Look whether the cluster can be reached, and at the connection {self._conn_id}.",
        )


def connection_of(conn_id: str) -> Any:
    """The connection.

    Raises:
        ConfigError: there is none.
    """
    try:
        return SparkSubmitHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConfigError(
            f"There is no connection {conn_id!r}.",
            "Add it (Admin > Connections), of type spark; docs/guides/clusters.md has examples.",
        ) from None


def _environment() -> dict[str, str]:
    """What spark-submit finds: Hadoop's, Spark's and Kerberos' variables, nothing of Airflow's."""
    return {name: v for name, v in os.environ.items() if not name.startswith(_OURS_ALONE)}
