"""The backend `yarn`: driver and executors on a Hadoop cluster, by ``dataharbour_yarn``.

Its entry point (`driver.cluster`) must be on the nodes. An application is known by
the tag ``dataharbour-<attempt>``, which we choose before it is submitted.
"""

from __future__ import annotations

import time
from contextlib import suppress

import requests

from dataharbour.errors import Unavailable
from dataharbour.hooks.spark_submit import (
    CLAIM_WITHIN_S,
    KILL_WITHIN_S,
    SHIPPED,
    ClusterSubmitHook,
)
from dataharbour.jobs.backends.carry import packed
from dataharbour.jobs.backends.launch import LaunchContext, StartedDriver
from dataharbour.jobs.backends.names import BackendName

CONN_ID = "dataharbour_yarn"

_ALIVE = frozenset({"NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING"})
_OVER = frozenset({"FINISHED", "FAILED", "KILLED"})


class YarnHook(ClusterSubmitHook):
    """`ClusterSubmitHook` with what YARN's ResourceManager says over REST.

    Of the connection's extra it reads `driver_file`, `queue`, `principal`, `keytab`,
    `spark-binary` and `yarn_resourcemanager_webapp_address`.
    """

    masters = "yarn"

    def state(self, application_id: str) -> str:
        """YARN's word for an application.

        Raises:
            RuntimeError, ValueError: the ResourceManager did not say, or has no known address.
        """
        return self._query_yarn_application_status(application_id)[0]

    def tagged(self, tag: str) -> list[str]:
        """The applications with a tag that are not over."""
        reply = requests.get(
            f"{self._get_yarn_rm_base_url()}/ws/v1/cluster/apps",
            params={"applicationTags": tag, "states": ",".join(sorted(_ALIVE))},
            auth=self._resolved_yarn_rm_auth,
            timeout=self._HTTP_TIMEOUT,
        )
        reply.raise_for_status()
        return [app["id"] for app in (reply.json().get("apps") or {}).get("app", [])]

    def end(self, application_id: str) -> None:
        """Kill an application, and wait for YARN to say that it is over."""
        self._kill_yarn_application(application_id)
        until = time.monotonic() + KILL_WITHIN_S
        while self.state(application_id) not in _OVER and time.monotonic() < until:
            time.sleep(0.5)


class YarnBackend:
    """Runs the application on YARN, in cluster mode."""

    name = BackendName.YARN
    claim_within_s = CLAIM_WITHIN_S

    def submit(self, context: LaunchContext) -> str:
        """See `Backend.submit`."""
        hook = YarnHook(CONN_ID)
        driver_file = hook.extra.get("driver_file")
        variables = packed(context, environment={"HARBOUR_SERVICE": "application"})
        if driver_file:
            variables["DATAHARBOUR_DRIVER_FILE"] = str(driver_file)
        hook = YarnHook(
            CONN_ID,
            context=context,
            conf={
                "spark.yarn.submit.waitAppCompletion": "false",
                "spark.yarn.tags": tag_of(context.grant.attempt_id),
                "spark.yarn.maxAppAttempts": "1",  # another attempt is ours to start
            },
            properties={f"spark.yarn.appMasterEnv.{n}": v for n, v in variables.items()},
        )
        hook.hand_over(str(SHIPPED))
        found = hook._yarn_application_id
        if not found:
            raise Unavailable(
                "YARN has taken the driver without saying its id.",
                "Let spark-submit log at INFO (org.apache.spark.deploy.yarn).",
            )
        return found

    def is_alive(self, external_id: str) -> bool | None:
        """See `Backend.is_alive`; None without the ResourceManager's address."""
        try:
            state = YarnHook(CONN_ID).state(external_id)
        except Exception:  # it is away, or its address is not known
            return None
        if state in _OVER:
            return False
        return True if state in _ALIVE else None

    def kill(self, driver: StartedDriver) -> None:
        """See `Backend.kill`. One whose id was lost is found by its tag.

        With a ResourceManager that is away the driver ends by itself: it is fenced off by now,
        and its lease is not renewed.
        """
        with suppress(Exception):
            hook = YarnHook(CONN_ID)
            tag = tag_of(driver.attempt_id)
            for found in [driver.external_id] if driver.external_id else hook.tagged(tag):
                hook.end(found)

    def ui_url(self, external_id: str) -> str | None:
        """See `Backend.ui_url`: the ResourceManager's page on the application."""
        with suppress(Exception):
            return f"{YarnHook(CONN_ID)._get_yarn_rm_base_url()}/cluster/app/{external_id}"
        return None


def tag_of(attempt_id: object) -> str:
    """By this an attempt's application is found, whoever submitted it."""
    return f"dataharbour-{attempt_id}"
