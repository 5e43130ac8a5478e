"""Start DAG runs over Airflow's public REST API, with the caller's own credential."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from dataharbour.api.problems import InvalidRequest
from dataharbour.errors import DataHarbourError, Forbidden, NotAuthenticated, Unavailable

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
        headers = {"Authorization": credential} if credential else {}
        body = {"dag_run_id": dag_run_id, "logical_date": None, "conf": conf}
        try:
            answer = await self._client.post(
                f"/api/v2/dags/{dag_id}/dagRuns", json=body, headers=headers
            )
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Airflow's API at {self._client.base_url} did not answer "
                f"({type(error).__name__}).",
                "Send the request again with the same Idempotency-Key; "
                "the server's operators find the address in [api] base_url.",
            ) from error
        if answer.is_success or answer.status_code == 409:
            return
        raise _refusal(dag_id, answer)

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
