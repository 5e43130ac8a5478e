"""Reach Airflow from inside its API server: who calls, what they may do, where things are.

The one module that imports Airflow's private modules. Imported by the API
server alone: it costs about a second. `tests/unit/test_airflow_compat.py` is its contract
with the Airflow release we support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.exceptions import AirflowNotFoundException
from airflow.models.dag import DagModel
from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError

from dataharbour.errors import ConfigError, NotAuthenticated, Unavailable
from dataharbour.hooks.database import DataHarbourDatabaseHook

P = ParamSpec("P")
R = TypeVar("R")


def _translated(function: Callable[P, R]) -> Callable[P, R]:
    """Airflow's database being away is an `Unavailable`, not a traceback."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with _airflow_errors():
            return function(*args, **kwargs)

    return call


@contextmanager
def _airflow_errors() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise Unavailable(
            f"Airflow's metadata database did not answer ({type(error).__name__}).",
            "Try again; if it lasts, look at the API server's log.",
        ) from error


class AirflowAccess:
    """Airflow's users and rights, as its auth manager has them."""

    async def authenticate(self, request: Request) -> BaseUser:
        """The user behind a request: bearer token first, else the login cookie.

        Raises:
            NotAuthenticated: neither is there, or it is not valid (any more).
            Unavailable: Airflow's database did not answer.
        """
        with _airflow_errors():
            try:
                return await get_user(request, None, await bearer_scheme(request))
            except HTTPException as error:
                raise NotAuthenticated(
                    f"This address needs a signed-in user ({error.detail}).",
                    "Sign in to Airflow, or send a token: POST /auth/token with username and "
                    "password answers one, for the header Authorization: Bearer TOKEN.",
                ) from error

    def credential(self, request: Request) -> str | None:
        """The caller's own credential, as a value for the header Authorization."""
        header = request.headers.get("authorization", "")
        if header.lower().startswith("bearer "):
            return header
        cookie = request.cookies.get(COOKIE_NAME_JWT_TOKEN)
        return f"Bearer {cookie}" if cookie else None

    def name(self, user: Any) -> str:
        """The user's name, as Airflow's event log writes it."""
        return str(user.get_name())

    @_translated
    def may_read_runs(self, user: Any, dag_id: str | None) -> bool:
        """Whether `user` may see runs of a DAG; None asks about runs as such."""
        return self._may(user, "GET", dag_id)

    @_translated
    def may_trigger(self, user: Any, dag_id: str) -> bool:
        """Whether `user` may start runs of a DAG."""
        return self._may(user, "POST", dag_id)

    @_translated
    def may_operate(self, user: Any) -> bool:
        """Whether `user` may change how the platform runs: role op and above."""
        return bool(get_auth_manager().is_authorized_configuration(method="PUT", user=user))

    @_translated
    def readable_dags(self, user: Any) -> set[str]:
        """The ids of the DAGs that `user` may see."""
        return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")

    def _may(self, user: Any, method: Any, dag_id: str | None) -> bool:
        team = DagModel.get_team_name(dag_id) if dag_id else None
        return bool(
            get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=DagAccessEntity.RUN,
                details=DagDetails(id=dag_id, team_name=team),
                user=user,
            )
        )


@_translated
def database_conninfo() -> str:
    """The libpq string of the connection ``dataharbour_db``. It holds the password.

    Raises:
        ConfigError: there is no such connection, or it is incomplete.
        Unavailable: Airflow's database did not answer.
    """
    try:
        return DataHarbourDatabaseHook().conninfo()
    except AirflowNotFoundException as error:
        name = DataHarbourDatabaseHook.default_conn_name
        raise ConfigError(
            f"Airflow has no connection {name!r}.",
            f"Admin > Connections: add {name!r} (type Postgres) for the database `dataharbour`.",
        ) from error


def base_url() -> str:
    """Where this process reaches Airflow's own REST API, without a slash at the end.

    `[api] base_url`, else the port that the server listens on.
    """
    url = conf.get("api", "base_url", fallback="") or ""
    if urlsplit(url).scheme:
        return str(url).rstrip("/")
    scheme = "https" if conf.get("api", "ssl_cert", fallback="") else "http"
    return f"{scheme}://127.0.0.1:{conf.getint('api', 'port')}{url.rstrip('/')}"


def server_certificate() -> str | None:
    """File of the certificate that `base_url` may show besides the public ones, or None."""
    return conf.get("api", "ssl_cert", fallback="") or None
