"""The backend `k8s`: driver and executors as pods, by the connection ``dataharbour_k8s``.

The driver's pod is named after its attempt, so that submitting it again finds it
taken. Its image has the entry point (`driver.cluster`).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.hooks.spark_submit import (
    CLAIM_WITHIN_S,
    KILL_WITHIN_S,
    ClusterSubmitHook,
)
from dataharbour.jobs.backends.carry import packed
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.backends.names import BackendName

CONN_ID = "dataharbour_k8s"
DRIVER_FILE = "/opt/dataharbour/dataharbour/jobs/driver/cluster.py"

_NOT_FOUND = 404
_ALIVE, _OVER = frozenset({"Pending", "Running"}), frozenset({"Succeeded", "Failed"})


class K8sHook(ClusterSubmitHook):
    """`ClusterSubmitHook` with what Kubernetes says of the driver's pod.

    Of the connection's extra it reads `image`, `namespace`, `service_account`,
    `driver_file` and `spark-binary`.
    """

    masters = "k8s://"

    @property
    def namespace(self) -> str:
        """Where the pods are."""
        return self._connection["namespace"] or "default"

    def phase(self, pod: str) -> str | None:
        """Kubernetes' word for a pod; None when there is none."""
        kube = _kube_client()
        try:
            return str(kube.get_kube_client().read_namespaced_pod(pod, self.namespace).status.phase)
        except kube.ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def end(self, pod: str) -> None:
        """Delete a pod, and wait until it is gone."""
        self._kubernetes_driver_pod = pod
        self._delete_driver_pod()
        until = time.monotonic() + KILL_WITHIN_S
        while self.phase(pod) is not None and time.monotonic() < until:
            time.sleep(0.5)


class K8sBackend:
    """Runs the application on Kubernetes, in cluster mode."""

    name = BackendName.K8S
    claim_within_s = CLAIM_WITHIN_S

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        probe = K8sHook(CONN_ID)
        extra, pod = probe.extra, pod_of(context.grant.attempt_id)
        variables = packed(context, environment={"HARBOUR_SERVICE": "application"})
        hook = K8sHook(
            CONN_ID,
            context=context,
            conf={
                "spark.kubernetes.submission.waitAppCompletion": "false",
                "spark.kubernetes.driver.pod.name": pod,
                "spark.kubernetes.container.image": _image(extra),
                **_account(extra),
            },
            properties={f"spark.kubernetes.driverEnv.{n}": v for n, v in variables.items()},
        )
        try:
            hook.hand_over(f"local://{extra.get('driver_file') or DRIVER_FILE}")
        except Unavailable:
            # Asked again after an answer that was lost, the pod is there: that one is meant.
            if not any("AlreadyExists" in line for line in hook.lines):
                raise
        return f"{hook.namespace}:{pod}"

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`; a pod that is gone says nothing of its process."""
        try:
            phase = K8sHook(CONN_ID).phase(external_id.partition(":")[2])
        except Exception:  # the cluster is away, or its provider is not installed
            return None
        if phase in _OVER:
            return False
        return True if phase in _ALIVE else None

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`; the pod's name follows from the attempt.

        With a cluster that is away the driver ends by itself: it is fenced off by now, and its
        lease is not renewed.
        """
        with suppress(Exception):
            K8sHook(CONN_ID).end(pod_of(driver.attempt_id))

    def ui_url(self, external_id: str) -> str | None:  # noqa: ARG002
        """See `Backend.ui_url`: its pages are inside the cluster."""
        return None


def pod_of(attempt_id: object) -> str:
    """The name of an attempt's driver pod; Kubernetes lets one be of that name."""
    return f"dataharbour-{attempt_id}"


def _image(extra: dict[str, Any]) -> str:
    image = extra.get("image")
    if not image:
        raise ConfigError(
            f"The extra of connection {CONN_ID!r} has no image.",
            "Name the image of driver and executors, best by its digest; docs/guides/clusters.md "
            "tells what must be in it.",
        )
    return str(image)


def _account(extra: dict[str, Any]) -> dict[str, str]:
    account = extra.get("service_account")
    key = "spark.kubernetes.authenticate.driver.serviceAccountName"
    return {key: str(account)} if account else {}


def _kube_client() -> Any:
    from airflow.providers.apache.spark.hooks import spark_submit

    return spark_submit.kube_client
