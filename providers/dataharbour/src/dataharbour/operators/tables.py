"""The assets of the lake's tables: their names, and what a run tells of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from dataharbour.jobs.model import TABLE

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dataharbour.jobs.model import Run


def table_asset(table: str) -> Asset:
    """The asset of a table, e.g. ``dataharbour://table/gold/sales``; schedule a DAG on it."""
    return Asset(_uri(table))


def asset_of(name: str) -> Any:
    """The asset that a job file names: a job's table, else one that another DAG declares.

    Args:
        name: ``silver/flights``, the URI of an asset, or its name.
    """
    if re.fullmatch(TABLE, name):
        return table_asset(name)
    if "://" in name:
        return Asset.ref(uri=Asset(name).uri)  # as Airflow keeps it
    return Asset.ref(name=name)


def tell_assets(context: Context, outlets: Iterable[object], run: Run) -> None:
    """Attach to each table's asset event what the run published."""
    result: Mapping[str, Any] = run.result or {}
    facts = {_uri(table): values for table, values in result.get("tables", {}).items()}
    for outlet in outlets:
        if isinstance(outlet, Asset) and outlet.uri in facts:
            context["outlet_events"][outlet].extra = {
                "run_id": str(run.id),
                **facts[outlet.uri],
                "quality": result.get("quality"),
            }


def published_lines(run: Run) -> Iterator[str]:
    """What was checked and published, for the task log."""
    result: Mapping[str, Any] = run.result or {}
    if quality := result.get("quality"):
        yield f"Suite {quality['suite']}: {quality['verdict']}, {quality['rules']} rules"
    for table, facts in result.get("tables", {}).items():
        yield f"Published {table}: {facts['rows']:,} rows, {facts['files']} files"


def _uri(table: str) -> str:
    return f"dataharbour://table/{table}"
