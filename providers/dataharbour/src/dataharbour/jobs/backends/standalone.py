"""The backend `standalone`: a driver and executors on a Spark standalone cluster.

Submitted over the master's REST gateway. spark-submit refuses Python in cluster mode; what
works is a driver whose main class is SparkSubmit itself, in client mode, on the worker. Its
application is our entry point (`driver.cluster`), which claims the attempt before user code runs.

The master's RUNNING says that a JVM was launched, no more; ours comes with the claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataharbour.errors import Unavailable
from dataharbour.jobs import event_logs
from dataharbour.jobs.backends.carry import packed
from dataharbour.jobs.backends.launch import LaunchContext, NotSubmitted, StartedDriver
from dataharbour.jobs.backends.master import ClusterEndpoint, Master, Unanswered
from dataharbour.jobs.backends.names import BackendName
from dataharbour.jobs.backends.start import marks_of
from dataharbour.jobs.driver import cluster

CLAIM_WITHIN_S = 900.0  # a driver may wait for cores that other runs have
SUBMITS = 3  # of one attempt, where the answer was lost: a driver too many costs an idle JVM
KILL_WITHIN_S = 10.0

# What a small cluster can give several runs at once.
DEFAULTS = {
    "spark.driver.cores": "1",
    "spark.driver.memory": "768m",
    "spark.executor.cores": "1",
    "spark.executor.memory": "512m",
}
_OF_THE_DRIVER = ("spark.driver.cores", "spark.driver.memory")
_INSTANCES = "spark.executor.instances"
_JVM_FLAGS = "-XX:+UseSerialGC -XX:-UsePerfData -Xshare:auto"
_OVER = frozenset({"FINISHED", "FAILED", "KILLED", "ERROR"})
_ALIVE = frozenset({"SUBMITTED", "RUNNING"})
# The secret that lets executors talk to masters, workers and one another: not an application's.
_UNSET = ("_SPARK_AUTH_SECRET",)
_VERSION = "4.3.0"  # of the protocol; the master wants to read one


class StandaloneBackend:
    """Runs the application on a standalone cluster.

    Args:
        endpoint: the cluster of this moment; asked when it is needed.
        timeout_s: for one answer of the master.
    """

    name = BackendName.STANDALONE
    claim_within_s = CLAIM_WITHIN_S

    def __init__(self, endpoint: Callable[[], ClusterEndpoint], *, timeout_s: float = 10.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`.

        When the master's answer is lost it is asked again: of the drivers that it may have
        started by then one claims the attempt and says which it is; the others end at once.
        """
        endpoint = self._endpoint()
        body = submission(context, endpoint)
        lost: Unanswered | None = None
        for _ in range(SUBMITS):
            try:
                return self._master(endpoint).create(body)
            except Unanswered as error:
                lost = error
            except Unavailable as error:
                if lost is None:
                    raise NotSubmitted(error.problem, error.remedy) from None
                break
        assert lost is not None, "every other way out is above"
        raise lost

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`. A driver that the master does not know may well live."""
        try:
            state = self._master(self._endpoint()).state(external_id)
        except Exception:  # the master is away, or the connection was changed, or deleted
            return None
        if state in _OVER:
            return False
        return True if state in _ALIVE else None

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`; waits for the master to say that the JVM is gone.

        With a master that is away, or whose connection is gone, the driver ends by itself: it
        is fenced off by now, and its lease is not renewed.
        """
        if not driver.external_id:
            return
        with suppress(Exception):
            master = self._master(self._endpoint())
            master.kill(driver.external_id)
            until = time.monotonic() + KILL_WITHIN_S
            while master.state(driver.external_id) in _ALIVE and time.monotonic() < until:
                time.sleep(0.1)

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`: the master's page, where a browser may see it."""
        return self._master(self._endpoint()).page_for_people()

    def _master(self, endpoint: ClusterEndpoint) -> Master:
        return Master(endpoint, timeout_s=self._timeout_s)


def submission(context: LaunchContext, endpoint: ClusterEndpoint) -> dict[str, Any]:
    """The body of the REST request. Its settings shape the driver, its arguments the application.

    Source: facts of Spark 4.3: `spark.master` among the settings is ignored by the inner
    SparkSubmit, which would then run the application inside the driver, and say nothing.
    """
    conf = DEFAULTS | dict(context.request.conf)
    name = context.application_name
    entry = endpoint.driver_file or str(Path(cluster.__file__).resolve())
    return {
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": _VERSION,
        "appResource": "",
        "mainClass": "org.apache.spark.deploy.SparkSubmit",
        "appArgs": [*_options(context, endpoint, conf), entry],
        "environmentVariables": {
            **packed(context, environment={"HARBOUR_SERVICE": "application"}, unset=_UNSET,
                     app_prefix="app-"),
            **marks_of(context, "driver"),
            "SPARK_ENV_LOADED": "1",
        },
        "sparkProperties": {
            "spark.master": endpoint.master,
            "spark.app.name": f"{name}-{context.grant.attempt_id}",
            "spark.driver.supervise": "false",  # another attempt is ours to start
            "spark.driver.extraJavaOptions": _JVM_FLAGS,
            **{key: conf[key] for key in _OF_THE_DRIVER},
        },
    }  # fmt: skip


def _options(
    context: LaunchContext, endpoint: ClusterEndpoint, conf: Mapping[str, str]
) -> Iterator[str]:
    yield from ("--master", endpoint.master, "--deploy-mode", "client")
    yield from ("--name", context.application_name)
    wanted = {k: v for k, v in conf.items() if k not in (*_OF_THE_DRIVER, _INSTANCES)}
    ours = {
        # A standalone cluster counts cores, and gives an application all that are free.
        "spark.cores.max": conf.get("spark.cores.max")
        or str(int(conf["spark.executor.cores"]) * int(conf.get(_INSTANCES, "1"))),
        "spark.ui.enabled": "false",  # it would be open to everybody on the worker's network
        **event_logs.mark_of(context.grant.run_id),
    }
    for key, value in {**wanted, **ours}.items():
        yield from ("--conf", f"{key}={value}")
