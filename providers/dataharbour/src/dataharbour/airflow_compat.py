"""Reach Airflow from inside its API server: who calls, what they may do, where things are.

The one module that imports Airflow's private modules. Imported by the API
server alone: it costs about a second. `tests/unit/test_airflow_compat.py` is its contract
with the Airflow release we support.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
from airflow.jobs.job import Job
from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from fastapi import HTTPException, Request
from sqlalchemy import and_, case, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from dataharbour.errors import ConfigError, NotAuthenticated, Unavailable
from dataharbour.hooks.database import DataHarbourDatabaseHook
from dataharbour.hooks.spark_connect import DataHarbourSparkConnectHook
from dataharbour.hooks.spark_standalone import StandaloneHook
from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.clusters import Cluster, connect, look_at, standalone
from dataharbour.jobs.queueing import UNLIMITED, Facts, Slots, TaskKey

_AT_WORK = ("queued", "running")  # states of tasks that the executor has
_HEARD_OF = timedelta(seconds=60)  # twice what Airflow itself allows a scheduler
_LOOK_AT = 1000  # rows of a queue: what stands further behind has no position

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
    def may(self, user: Any, method: Any, part: str | None, dag_id: str | None) -> bool:
        """Whether `user` may do this with a part of a DAG; None asks about DAGs as such.

        Args:
            user: who.
            method: as of HTTP.
            part: the name of a `DagAccessEntity`; None: the DAG itself.
            dag_id: the DAG.
        """
        team = DagModel.get_team_name(dag_id) if dag_id else None
        return bool(
            get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=None if part is None else DagAccessEntity[part],
                details=DagDetails(id=dag_id, team_name=team),
                user=user,
            )
        )

    @_translated
    def those_that_may_be_seen(self, user: Any, dag_ids: Collection[str]) -> set[str]:
        """Those of the DAGs that `user` may see: one query for the teams of all of them."""
        teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids))
        by_team: defaultdict[str | None, set[str]] = defaultdict(set)
        for dag_id in dag_ids:
            by_team[teams.get(dag_id)].add(dag_id)
        manager, seen = get_auth_manager(), set[str]()
        for team, theirs in by_team.items():
            seen |= manager.filter_authorized_dag_ids(dag_ids=theirs, user=user, team_name=team)
        return seen

    @_translated
    def may_operate(self, user: Any) -> bool:
        """Whether `user` may change how the platform runs: role op and above."""
        return bool(get_auth_manager().is_authorized_configuration(method="PUT", user=user))

    @_translated
    def readable_dags(self, user: Any) -> set[str]:
        """The ids of the DAGs that `user` may see."""
        return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


class AirflowQueues:
    """What stands before tasks that wait: a few queries of Airflow's database for all of them."""

    @_translated
    def facts(self, keys: Collection[TaskKey]) -> dict[TaskKey, Facts]:
        """What Airflow holds of these tasks, as far as it says why they wait.

        Raises:
            Unavailable: Airflow's database did not answer.
        """
        if not keys:
            return {}
        with create_session() as session:
            runs = _dag_runs(session, keys)
            dags = _dags(session, {key.dag_id for key in keys})
            tasks = _tasks(session, keys)
            active = _active_runs(session, dags)
            queued = _queued_runs(session, dags)
            pools = _Pools(session, tasks.values())
            return {key: _facts(key, runs, dags, tasks, active, queued, pools) for key in keys}


def _facts(
    key: TaskKey,
    runs: Mapping[tuple[str, str], Any],
    dags: Mapping[str, Any],
    tasks: Mapping[TaskKey, Any],
    active: Mapping[tuple[str, int | None], int],
    queued: Mapping[tuple[str, int | None], list[str]],
    pools: _Pools,
) -> Facts:
    run, dag, task = runs.get(key[:2]), dags.get(key.dag_id), tasks.get(key)
    facts = Facts(dag_paused=None if dag is None else bool(dag.is_paused))
    if run is None or dag is None:
        return replace(facts, dag_run=None if run is None else str(run.state))
    group = (key.dag_id, run.backfill_id)
    limit = dag.max_active_runs if run.backfill_id is None else run.backfill_max
    line = queued.get(group, [])
    facts = replace(
        facts,
        dag_run=str(run.state),
        runs=None if limit is None else Slots(limit, active.get(group, 0)),
        runs_before=line.index(key.dag_run_id) if key.dag_run_id in line else None,
        of_backfill=run.backfill_id is not None,
        backfill_paused=bool(run.backfill_paused),
        alone=run.tasks <= 1,
    )
    if task is None:
        return facts
    return replace(
        facts,
        task=None if task.state is None else str(task.state),
        pool=task.pool,
        pool_slots=pools.slots.get(task.pool),
        wants=task.pool_slots,
        tasks_before=pools.before(task),
        tasks=Slots(dag.max_active_tasks, run.active_tasks),
        executor=pools.executor,
    )


def _dag_runs(session: Any, keys: Collection[TaskKey]) -> dict[tuple[str, str], Any]:
    active = TaskInstance.state.in_(_AT_WORK)
    rows = session.execute(
        select(
            DagRun.dag_id,
            DagRun.run_id,
            DagRun.state,
            DagRun.backfill_id,
            Backfill.max_active_runs.label("backfill_max"),
            Backfill.is_paused.label("backfill_paused"),
            func.count(TaskInstance.id).label("tasks"),
            func.count(case((active, 1))).label("active_tasks"),
        )
        .join(Backfill, Backfill.id == DagRun.backfill_id, isouter=True)
        .join(
            TaskInstance,
            and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id),
            isouter=True,
        )
        .where(tuple_(DagRun.dag_id, DagRun.run_id).in_({key[:2] for key in keys}))
        .group_by(DagRun.id, Backfill.id)
    )
    return {(row.dag_id, row.run_id): row for row in rows}


def _dags(session: Any, dag_ids: Collection[str]) -> dict[str, Any]:
    columns = (
        DagModel.dag_id,
        DagModel.is_paused,
        DagModel.max_active_runs,
        DagModel.max_active_tasks,
    )
    rows = session.execute(
        select(*columns).where(DagModel.dag_id.in_(dag_ids), DagModel.is_stale.is_(False))
    )
    return {row.dag_id: row for row in rows}


def _tasks(session: Any, keys: Collection[TaskKey]) -> dict[TaskKey, Any]:
    named = (
        TaskInstance.dag_id,
        TaskInstance.run_id,
        TaskInstance.task_id,
        TaskInstance.map_index,
    )
    said = (
        TaskInstance.state,
        TaskInstance.pool,
        TaskInstance.pool_slots,
        TaskInstance.priority_weight,
        DagRun.logical_date,
    )
    rows = session.execute(
        select(*named, *said)
        .join(DagRun, and_(DagRun.dag_id == named[0], DagRun.run_id == named[1]))
        .where(tuple_(*named).in_(map(tuple, keys)))
    )
    return {TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index): row for row in rows}


def _active_runs(session: Any, dag_ids: Collection[str]) -> dict[tuple[str, int | None], int]:
    rows = session.execute(
        select(DagRun.dag_id, DagRun.backfill_id, func.count(DagRun.id))
        .where(DagRun.dag_id.in_(dag_ids), DagRun.state == "running")
        .group_by(DagRun.dag_id, DagRun.backfill_id)
    )
    return {(dag_id, backfill_id): count for dag_id, backfill_id, count in rows}


def _queued_runs(session: Any, dag_ids: Collection[str]) -> dict[tuple[str, int | None], list[str]]:
    """The queued runs of each DAG and backfill, in the order in which the scheduler takes them."""
    rows = session.execute(
        select(DagRun.dag_id, DagRun.backfill_id, DagRun.run_id)
        .join(BackfillDagRun, BackfillDagRun.dag_run_id == DagRun.id, isouter=True)
        .where(DagRun.dag_id.in_(dag_ids), DagRun.state == "queued")
        .order_by(
            BackfillDagRun.sort_ordinal.nulls_first(),
            DagRun.last_scheduling_decision.nulls_first(),
            DagRun.run_after,
        )
        .limit(_LOOK_AT)
    )
    lines: dict[tuple[str, int | None], list[str]] = {}
    for dag_id, backfill_id, run_id in rows:
        lines.setdefault((dag_id, backfill_id), []).append(run_id)
    return lines


class _Pools:
    """How full the pools of scheduled tasks are, and who waits in them."""

    def __init__(self, session: Any, tasks: Iterable[Any]) -> None:
        waiting_for = {task.pool for task in tasks if task.state == "scheduled"}
        self.slots: dict[str, Slots] = {}
        self.executor: Slots | None = None
        self._lines: dict[str, list[tuple[Any, ...]]] = {pool: [] for pool in waiting_for}
        if not waiting_for:
            return
        for name, stats in Pool.slots_stats(session=session).items():
            total = UNLIMITED if stats["total"] == float("inf") else int(stats["total"])
            used = 0 if total == UNLIMITED else int(stats["total"] - stats["open"])
            self.slots[name] = Slots(total, used)
        at_work = session.scalar(
            select(func.count(TaskInstance.id)).where(TaskInstance.state.in_(_AT_WORK))
        )
        each = conf.getint("core", "parallelism")  # what one scheduler hands out
        self.executor = Slots(each * _schedulers(session), at_work or 0)
        rows = session.execute(
            select(TaskInstance.pool, TaskInstance.priority_weight, DagRun.logical_date)
            .join(
                DagRun,
                and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id),
            )
            .where(TaskInstance.state == "scheduled", TaskInstance.pool.in_(waiting_for))
            .limit(_LOOK_AT)
        )
        for pool, weight, logical_date in rows:
            self._lines[pool].append(_rank(weight, logical_date))

    def before(self, task: Any) -> int | None:
        """How many tasks come first in the pool; None where the scheduler leaves that open."""
        line, own = self._lines.get(task.pool, []), _rank(task.priority_weight, task.logical_date)
        if task.state != "scheduled" or line.count(own) != 1:
            return None
        return sum(rank < own for rank in line)


def _schedulers(session: Any) -> int:
    """How many schedulers were heard of lately; at least one."""
    lately = datetime.now(UTC) - _HEARD_OF
    alive = session.scalar(
        select(func.count(Job.id)).where(
            Job.job_type == "SchedulerJob", Job.state == "running", Job.latest_heartbeat > lately
        )
    )
    return max(1, alive or 0)


def _rank(weight: int, logical_date: datetime | None) -> tuple[Any, ...]:
    """The scheduler's order: by priority, then by date; runs without a date come last."""
    return (-weight, logical_date is None, logical_date and logical_date.timestamp())


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


def clusters() -> list[Cluster]:
    """How the Spark servers of the connections are; one that is not set up is `off`."""
    return look_at(
        {
            "standalone": standalone(cluster),
            "connect": connect(_connected(lambda: DataHarbourSparkConnectHook().endpoint())),
        }
    )


def cluster() -> ClusterEndpoint:
    """The standalone cluster of the connections.

    Raises:
        ConfigError: there is none.
    """
    return _connected(lambda: StandaloneHook().endpoint())()


def _connected(endpoint: Callable[[], R]) -> Callable[[], R]:
    """`endpoint`, where a connection that is not there is a `ConfigError`."""

    def call() -> R:
        try:
            with _airflow_errors():
                return endpoint()
        except AirflowNotFoundException as error:
            raise ConfigError(str(error), "Admin > Connections: add it.") from error

    return call


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
