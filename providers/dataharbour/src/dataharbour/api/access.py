"""What the API needs to know about users and their rights, and who is calling now.

Decides nothing itself: `Access` is the seam, `dataharbour.airflow_compat` the
real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from dataharbour.errors import Forbidden, NotAuthenticated

User = Any  # whatever the auth manager made of the token; only `Access` looks inside


class Access(Protocol):
    """Users and rights. The methods that are not async may ask a database: never in the loop."""

    async def authenticate(self, request: Request) -> User:
        """The user behind a request, or `NotAuthenticated`."""

    def credential(self, request: Request) -> str | None:
        """The caller's own credential, as a value for the header Authorization."""

    def name(self, user: User) -> str:
        """The user's name."""

    def may_read_runs(self, user: User, dag_id: str | None) -> bool:
        """Whether `user` may see runs of a DAG; None asks about runs as such."""

    def may_trigger(self, user: User, dag_id: str) -> bool:
        """Whether `user` may start runs of a DAG."""

    def may_operate(self, user: User) -> bool:
        """Whether `user` may change how the platform runs."""

    def readable_dags(self, user: User) -> set[str]:
        """The ids of the DAGs that `user` may see."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The signed-in user of one request, with their rights."""

    user: User
    name: str
    credential: str | None = field(repr=False)
    access: Access = field(repr=False)

    def may_read(self, dag_id: str) -> bool:
        """Whether the caller may see runs of this DAG."""
        return self.access.may_read_runs(self.user, dag_id)

    def readable_dags(self) -> set[str]:
        """The DAGs whose runs the caller may see."""
        if not self.access.may_read_runs(self.user, None):
            return set()
        return self.access.readable_dags(self.user)

    def check_may_trigger(self, dag_id: str) -> None:
        """Refuse a caller who may not start runs of this DAG.

        Raises:
            Forbidden: the right is missing.
        """
        if not self.access.may_trigger(self.user, dag_id):
            raise Forbidden(
                f"{self.name!r} may not start runs of the DAG {dag_id!r}.",
                "Ask an administrator for a role that may trigger it (user or above).",
            )

    def check_may_operate(self, what: str) -> None:
        """Refuse a caller below the role op.

        Raises:
            Forbidden: the right is missing.
        """
        if not self.access.may_operate(self.user):
            raise Forbidden(
                f"{self.name!r} may not {what}: that needs the role op.",
                "Run a declared job instead (POST jobs/NAME/runs), or ask an administrator.",
            )


STATE_KEY = "dataharbour_caller"


async def _caller(request: Request) -> Caller:  # async: a sync one would cost a thread hop
    caller: Caller | None = getattr(request.state, STATE_KEY, None)
    if caller is None:  # the guard lets nobody through; this is the second lock
        raise NotAuthenticated("This address needs a signed-in user.", "Sign in to Airflow.")
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
