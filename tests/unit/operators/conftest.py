"""DAG runs in this process: an Airflow of its own, a real database, real drivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dataharbour.testing.airflow_home import own_airflow
from dataharbour.testing.fixtures import Installation, installation

DAGS = Path(__file__).parents[3] / "dags"
own_airflow(DAGS)

__all__ = ["installation"]


@dataclass(frozen=True)
class Done:
    """A DAG run that has ended, as Airflow has it."""

    state: str
    tries: int
    pool: str
    xcom: Any
    links: dict[str, str]
    assets: dict[str, dict[str, Any]]


RunDag = Callable[..., Done]


@pytest.fixture
def run_dag(installation: Installation) -> RunDag:
    """Runs a DAG of the folder `dags` to its end, as `airflow dags test` does.

    Attributes of the task are set by `task`, e.g. ``{"in_place_s": 0}``.
    """
    from airflow.dag_processing.dagbag import DagBag

    def run(
        dag_id: str,
        *,
        task: dict[str, Any] | None = None,
        logical_date: datetime | None = None,
        **conf: Any,
    ) -> Done:
        bag = DagBag(DAGS)
        assert bag.import_errors == {}
        dag = bag.dags[dag_id]
        for name, value in (task or {}).items():
            setattr(dag.get_task("run"), name, value)
        date = {"logical_date": logical_date} if logical_date else {}
        return _seen(dag.test(run_conf=conf, **date))

    return run


def _seen(dag_run: Any) -> Done:
    from airflow.models.asset import AssetEvent
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.execute(
            select(XComModel.key, XComModel.value).where(
                XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id
            )
        )
        xcoms = {key: XComModel.deserialize_value(_Row(value)) for key, value in found}
        events = session.scalars(
            select(AssetEvent).where(AssetEvent.source_run_id == dag_run.run_id)
        )
        assets = {event.asset.uri: dict(event.extra) for event in events}
    [task] = dag_run.get_task_instances()
    return Done(
        state=str(dag_run.state.value),
        tries=task.try_number,
        pool=task.pool,
        xcom=xcoms.pop("return_value", None),
        links={key: value for key, value in xcoms.items() if key.startswith("_link_")},
        assets=assets,
    )


@dataclass(frozen=True)
class _Row:
    value: Any
