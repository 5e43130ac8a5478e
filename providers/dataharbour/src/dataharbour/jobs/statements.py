"""Run SQL on a connection; rows come as dicts.

Fixed statements are files of include/sql/jobs, named for their result. Here and
in the modules that call this stay those of one line, and those whose columns
depend on the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row
from psycopg.sql import Composed
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from dataharbour.packaged import read_packaged

AnyConnection = Connection[Any]
Row = dict[str, Any]
Values = Mapping[str, Any] | Sequence[Any]


def statement(name: str) -> str:
    """The text of include/sql/jobs/`name`.sql."""
    return read_packaged(f"sql/jobs/{name}.sql")


def fetch_one(connection: AnyConnection, query: str | Composed, values: Values) -> Row | None:
    """The first row of the result, or None."""
    return connection.cursor(row_factory=dict_row).execute(query, values).fetchone()


def fetch_all(
    connection: AnyConnection, query: str | Composed, values: Values, *, plan_anew: bool = False
) -> list[Row]:
    """All rows of the result.

    Args:
        connection: where.
        query: the statement.
        values: its parameters.
        plan_anew: plan for just these values each time. Otherwise psycopg prepares what it runs
            often, and PostgreSQL may then use one plan for rare and for frequent values.
    """
    cursor = connection.cursor(row_factory=dict_row)
    set_json_loads(from_json, cursor)  # a row of `run` holds seven documents
    return cursor.execute(query, values, prepare=False if plan_anew else None).fetchall()
