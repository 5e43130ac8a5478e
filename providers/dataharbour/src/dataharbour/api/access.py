"""What the API needs to know about users and their rights, and who is calling now.

Decides nothing itself: `Access` is the seam, `dataharbour.airflow_compat` the
real one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from dataharbour.errors import Forbidden, NotAuthenticated

User = Any  # whatever the auth manager made of the token; only `Access` looks inside


class Right(Enum):
    """What a caller may do with a DAG: method and part of it, as the auth manager is asked.

    Each is what Airflow asks for at its own address for the same.
    """

    SEE_JOB = ("GET", None)  # GET dags/ID
    SEE_RUN = ("GET", "RUN")  # GET dags/ID/dagRuns
    READ_OUTPUT = ("GET", "TASK_LOGS")  # GET …/logs
    START = ("POST", "RUN")  # POST dags/ID/dagRuns
    END = ("PUT", "RUN")  # PATCH dags/ID/dagRuns/ID, {"state": "failed"}
    REPAIR = ("PUT", "TASK_INSTANCE")  # POST dags/ID/clearTaskInstances
    CHANGE_JOB = ("PUT", None)  # PATCH dags/ID
    DELETE_JOB = ("DELETE", None)  # DELETE dags/ID

    def __init__(self, method: str, part: str | None) -> None:
        """Of two parts.

        Args:
            method: as of HTTP.
            part: the name of a `DagAccessEntity` of Airflow; None: the DAG itself.
        """
        self.method = method
        self.part = part


class Access(Protocol):
    """Users and rights. The methods that are not async may ask a database: never in the loop."""

    async def authenticate(self, request: Request) -> User:
        """The user behind a request, or `NotAuthenticated`."""

    def credential(self, request: Request) -> str | None:
        """The caller's own credential, as a value for the header Authorization."""

    def name(self, user: User) -> str:
        """The user's name."""

    def may(self, user: User, method: str, part: str | None, dag_id: str | None) -> bool:
        """Whether `user` has a `Right` on a DAG; None asks about DAGs as such."""

    def those_that_may_be_seen(self, user: User, dag_ids: Collection[str]) -> set[str]:
        """Those of the DAGs on which `user` has `SEE_JOB`: one question, however many."""

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

    def may(self, right: Right, dag_id: str | None) -> bool:
        """Whether the caller has a right on this DAG; None asks about DAGs as such."""
        return self.access.may(self.user, right.method, right.part, dag_id)

    def readable_dags(self) -> set[str]:
        """The DAGs whose runs the caller may see."""
        if not self.may(Right.SEE_RUN, None):
            return set()
        return self.access.readable_dags(self.user)

    def visible_dags(self, dag_ids: Collection[str]) -> set[str]:
        """Those of the DAGs on which the caller has `Right.SEE_JOB`."""
        return self.access.those_that_may_be_seen(self.user, dag_ids)

    def check(self, right: Right, dag_id: str) -> None:
        """Refuse a caller who has not this right on this DAG.

        Raises:
            Forbidden: the right is missing.
        """
        if not self.may(right, dag_id):
            raise Forbidden(
                f"{self.name!r} may not {_IN_WORDS[right].format(dag_id)}.",
                "Ask an administrator for a role with that right "
                f"({right.method} {right.part or 'DAG'} in docs/reference/api.md).",
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


_IN_WORDS = {
    Right.SEE_JOB: "see the DAG {!r}",
    Right.SEE_RUN: "see runs of the DAG {!r}",
    Right.READ_OUTPUT: "read what runs of the DAG {!r} wrote",
    Right.START: "start runs of the DAG {!r}",
    Right.END: "end runs of the DAG {!r}",
    Right.REPAIR: "clear tasks of the DAG {!r}",
    Right.CHANGE_JOB: "change the DAG {!r}",
    Right.DELETE_JOB: "delete the DAG {!r}",
}

STATE_KEY = "dataharbour_caller"


async def _caller(request: Request) -> Caller:  # async: a sync one would cost a thread hop
    caller: Caller | None = getattr(request.state, STATE_KEY, None)
    if caller is None:  # the guard lets nobody through; this is the second lock
        raise NotAuthenticated("This address needs a signed-in user.", "Sign in to Airflow.")
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
