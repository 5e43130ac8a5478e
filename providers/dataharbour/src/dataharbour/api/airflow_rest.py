"""Start DAG runs over Airflow's public REST API, with the caller's own credential."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from dataharbour.api.problems import InvalidRequest
from dataharbour.errors import Conflict, DataHarbourError, Forbidden, NotAuthenticated, Unavailable

TIMEOUT = httpx.Timeout(20.0)  # to connect, too: a busy server is not an absent one
LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16)


class RefusedByAirflow(InvalidRequest):
    """Airflow will not start this run, now or later."""

    code = "refused-by-airflow"


class DagNotReady(Unavailable):
    """Airflow has not parsed the DAG; the run does not exist."""

    code = "dag-not-ready"


class AirflowRest:
    """A client of one Airflow.

    The calls are awaited, never made from the thread pool: Airflow answers from
    the same pool, and a full one would wait for itself.

    Args:
        base_url: where Airflow's API server is, without a slash at the end.
        certificate: file of a certificate to trust besides the public ones.
    """

    def __init__(self, base_url: str, *, certificate: str | None = None) -> None:
        verify: ssl.SSLContext | bool = True
        if certificate:
            verify = ssl.create_default_context()
            verify.load_verify_locations(certificate)
        # Our own server: no proxy of the environment lies in between.
        self._client = httpx.AsyncClient(
            base_url=base_url, timeout=TIMEOUT, limits=LIMITS, verify=verify, trust_env=False
        )

    async def trigger(
        self, dag_id: str, *, dag_run_id: str, conf: dict[str, Any], credential: str | None
    ) -> None:
        """Start a run, or find that it was started before under this id.

        Raises:
            Unavailable: no answer, or one that may be different later. The run may exist.
            NotAuthenticated, Forbidden, RefusedByAirflow: no. The run does not exist.
        """
        body = {"dag_run_id": dag_run_id, "logical_date": None, "conf": conf}
        answer = await self._post(f"/api/v2/dags/{dag_id}/dagRuns", body, credential)
        if answer.is_success or answer.status_code == 409:
            return
        raise _refusal(dag_id, answer)

    async def clear_failed(
        self, dag_id: str, *, dag_run_id: str, dry_run: bool, credential: str | None
    ) -> set[tuple[str, int]]:
        """Clear the failed tasks of a DAG run, and those that failed with them, and no others.

        Args:
            dag_id: the DAG.
            dag_run_id: its run.
            dry_run: only say which they are.
            credential: the caller's own.

        Returns:
            Task id and map index of each.

        Raises:
            Unavailable: no answer, or one that may be different later. They may be cleared.
            Conflict: Airflow has no such run any more.
            NotAuthenticated, Forbidden, RefusedByAirflow: no. Nothing is cleared.
        """
        body = {"dag_run_id": dag_run_id, "only_failed": True, "dry_run": dry_run}
        answer = await self._post(f"/api/v2/dags/{dag_id}/clearTaskInstances", body, credential)
        if answer.status_code == 404:
            raise Conflict(
                f"Airflow has no run {dag_run_id!r} of the DAG {dag_id!r} any more.",
                "Start it anew: POST runs/ID:retry, or a new run of the job.",
            )
        if not answer.is_success:
            raise _refusal(dag_id, answer)
        found = answer.json()["task_instances"]
        return {(each["task_id"], each["map_index"]) for each in found}

    async def _post(
        self, path: str, body: dict[str, Any], credential: str | None
    ) -> httpx.Response:
        headers = {"Authorization": credential} if credential else {}
        try:
            return await self._client.post(path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Airflow's API at {self._client.base_url} did not answer "
                f"({type(error).__name__}).",
                "Send the request again with the same Idempotency-Key; "
                "the server's operators find the address in [api] base_url.",
            ) from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def _refusal(dag_id: str, answer: httpx.Response) -> DataHarbourError:
    said = _detail(answer)
    if answer.status_code >= 500 or answer.status_code in {408, 429}:
        return Unavailable(
            f"Airflow answered {answer.status_code}: {said}",
            "Send the request again with the same Idempotency-Key.",
        )
    if answer.status_code == 404:
        return DagNotReady(
            f"Airflow does not know the DAG {dag_id!r} (yet).",
            "A new DAG appears within seconds after its file was parsed: send the request again. "
            "If it lasts, look for import errors in Airflow (Dags > Dag Import Errors).",
        )
    if answer.status_code == 401:
        return NotAuthenticated(
            f"Airflow did not take the credential: {said}", "Sign in again, or get a new token."
        )
    if answer.status_code == 403:
        return Forbidden(
            f"Airflow refused to start {dag_id!r}: {said}",
            "Ask an administrator for a role that may trigger it.",
        )
    return RefusedByAirflow(
        f"Airflow refused to start {dag_id!r}: {said}",
        "Correct what it names, or look at the DAG in Airflow's pages.",
    )


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    return str(detail)[:500]
