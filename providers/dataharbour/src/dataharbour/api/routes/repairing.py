"""Repair what has failed, in the same DAG run; docs/decisions has the reasons."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dataharbour.api.accept import REFUSALS
from dataharbour.api.access import Caller, CallerDep, Right
from dataharbour.api.airflow_rest import RefusedByAirflow
from dataharbour.api.answers import needs, problems
from dataharbour.api.resources import run_resource
from dataharbour.api.routes.changing import version_of
from dataharbour.api.routes.runs import visible_run
from dataharbour.api.routes.starting import (
    REPLAYED_RESPONSE,
    IdempotencyKey,
    accepted,
    key_or_new,
)
from dataharbour.api.schemas.runs import RunList, RunResource
from dataharbour.api.services import Services, ServicesDep
from dataharbour.errors import Conflict, IdempotencyConflict, LimitReached, RunNotFound, Stale
from dataharbour.jobs.model import ONE_OFF_DAG, Detail, Run
from dataharbour.jobs.repairing import check_repairable

HEARD_WITHIN_S = 3.0  # a run has ended about a second before Airflow's task
LOOK_EVERY_S = 0.5

IfMatch = Annotated[
    str | None,
    Header(
        description="The run's ETag: refuse (412) if its state has changed since it was read, or "
        "somebody else has repaired it."
    ),
]

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post(
    "/{run_id}:repair",
    status_code=202,
    response_model=RunResource,
    responses=REPLAYED_RESPONSE
    | problems(RunNotFound, Conflict, Stale, IdempotencyConflict, LimitReached, RefusedByAirflow),
    openapi_extra=needs(Right.SEE_RUN, Right.REPAIR),
)
async def repair_run(
    run_id: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Run again what has failed in the DAG run of a run that ended badly, and nothing else.

    Airflow clears the failed tasks of the DAG run, mapped ones one by one, and those that failed
    with them; what succeeded stays. The answer is the run that takes the place of this one: its
    `links.retry_of` names this one, and `links.repairs` lists all of them. For one-off runs the
    role op is needed as well.
    """
    key = key_or_new(idempotency_key)
    run = await run_in_threadpool(_repairable, services, caller, run_id)
    successor, replayed = await _successor(services, caller, run, key, if_match)
    if not replayed or successor.detail is Detail.ACCEPTED:
        try:
            await _clear(services, caller, run, dry_run=False)
        except (*REFUSALS, Conflict):
            if not replayed:  # else the request that made the row may be succeeding just now
                await run_in_threadpool(_withdraw, services, successor.id)
            raise
        successor = await run_in_threadpool(services.runs.queued, successor.id, now=services.now())
    return accepted(request, successor, replayed=replayed, key=key)


@router.get(
    "/{run_id}/repairs",
    response_model=RunList,
    responses=problems(RunNotFound),
    openapi_extra=needs(Right.SEE_RUN),
)
def list_repairs(
    run_id: str, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """The runs that were in this one's place in its DAG run, itself included, newest first."""
    run = visible_run(services, caller, run_id)
    mount = request.scope.get("root_path", "")
    found = [run_resource(each, mount=mount) for each in services.runs.repairs(run.id)]
    return JSONResponse(RunList(items=found, next=None).model_dump(mode="json"))


def _repairable(services: Services, caller: Caller, run_id: str) -> Run:
    run = visible_run(services, caller, run_id, wanted=Right.REPAIR)
    if run.dag_id == ONE_OFF_DAG:
        caller.check_may_operate("start any application")
    return run


async def _successor(
    services: Services, caller: Caller, run: Run, key: str, if_match: str | None
) -> tuple[Run, bool]:
    """The run in the place of `run`, and whether an earlier request had put it there."""
    by_key = {"principal": caller.name, "idempotency_key": key}
    earlier = await run_in_threadpool(services.runs.repaired_by_key, run.id, **by_key)
    if earlier is not None:
        return earlier, True
    version = version_of(run, if_match)
    cleared: set[tuple[str, int]] = set()
    if run.is_current:  # else the store says what happened to it
        check_repairable(run)
        cleared = await _failed_tasks(services, caller, run)
    return await run_in_threadpool(
        services.runs.by(f"user:{caller.name}").repair,
        run.id,
        **by_key,
        version=version,
        cleared=cleared,
        max_open=services.settings.max_active_runs_per_user,
        now=services.now(),
    )


async def _failed_tasks(services: Services, caller: Caller, run: Run) -> set[tuple[str, int]]:
    """The failed tasks of a DAG run, that of the run among them.

    Raises:
        Conflict: it is not, also after a moment.
    """
    deadline = time.monotonic() + HEARD_WITHIN_S
    while True:
        failed = await _clear(services, caller, run, dry_run=True)
        if (run.task_id, run.map_index) in failed:
            return failed
        if time.monotonic() >= deadline:
            raise Conflict(
                f"Airflow does not have the task of the run {run.id} as failed.",
                "It may still be hearing of the run's end: repeat in a few seconds. Or somebody "
                "has marked or cleared it in Airflow.",
            )
        await asyncio.sleep(LOOK_EVERY_S)


async def _clear(
    services: Services, caller: Caller, run: Run, *, dry_run: bool
) -> set[tuple[str, int]]:
    return await services.airflow.clear_failed(
        run.dag_id, dag_run_id=run.dag_run_id, dry_run=dry_run, credential=caller.credential
    )


def _withdraw(services: Services, run_id: UUID) -> None:
    with suppress(Conflict, RunNotFound):  # its task has come, or it is gone already
        services.runs.withdraw_repair(run_id, now=services.now())
