"""Talk to the platform's own Airflow over its public REST API."""

from __future__ import annotations

from typing import Any

import httpx

from dataharbour.errors import PlatformError, Unavailable


class AirflowApi:
    """A client with the admin's token.

    Args:
        url: Airflow's address, without a path.
        password: of the user `admin`.
    """

    def __init__(self, url: str, *, password: str, user: str = "admin") -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._token: str | None = None

    def health(self) -> str | None:
        """None when the four components are healthy, else which are not."""
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5, trust_env=False)
            parts: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            return f"no answer yet ({type(error).__name__})"
        sick = [name for name, part in parts.items() if (part or {}).get("status") != "healthy"]
        return f"not healthy yet: {', '.join(sick)}" if sick else None

    def warm_execution(self) -> None:
        """Make the API server build the part that tasks talk to (it is lazy; seconds once)."""
        httpx.get(f"{self.url}/execution/health", timeout=60, trust_env=False)

    def token(self) -> str:
        """A bearer token of the user."""
        if self._token is None:
            answer = self._send("POST", "/auth/token", json=self._credentials)
            if answer.status_code != 201:
                raise PlatformError(
                    f"Airflow refused the sign-in of {self._credentials['username']!r} "
                    f"({answer.status_code}).",
                    "Run ./harbour restart; it writes the password file again.",
                )
            self._token = str(answer.json()["access_token"])
        return self._token

    def ensure_connections(self, connections: list[dict[str, Any]]) -> None:
        """Make or overwrite connections."""
        self._bulk("connections", connections)

    def ensure_pools(self, pools: list[dict[str, Any]]) -> None:
        """Make or overwrite pools."""
        self._bulk("pools", pools)

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has read that DAG."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self._send("GET", f"/api/v2/dags/{dag_id}", headers=headers).is_success

    def _bulk(self, what: str, entities: list[dict[str, Any]]) -> None:
        action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        answer = self._call("PATCH", what, json={"actions": [action]})
        errors = (answer.json().get("create") or {}).get("errors")
        if errors:
            names = sorted(str(error.get("error", error))[:200] for error in errors)
            raise PlatformError(f"Airflow refused {what}: {names}", "See logs/api-server.log.")

    def _call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = self._send(method, f"/api/v2/{path}", headers=headers, **kwargs)
        if answer.is_error:
            raise PlatformError(
                f"Airflow answered {answer.status_code} to {method} {path}.",
                "See logs/api-server.log in the state folder.",
            )
        return answer

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:  # loopback: never by a proxy
            return httpx.request(method, self.url + path, timeout=30, trust_env=False, **kwargs)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Airflow at {self.url} does not answer ({type(error).__name__}).",
                "See ./harbour status and logs/api-server.log in the state folder.",
            ) from error
