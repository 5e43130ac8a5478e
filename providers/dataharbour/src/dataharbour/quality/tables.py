"""Read the Parquet files of a table, only the columns that are needed, into pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dataharbour.errors import QualityUnchecked

if TYPE_CHECKING:
    import pandas
    from pyarrow import Table
    from pyarrow.dataset import Dataset
    from pyarrow.fs import FileSystem

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 30


def open_table(root: str, table: str, *, environ: Mapping[str, str]) -> Dataset:
    """The Parquet table in the folder `table` below `root`; Hive partitions become columns.

    Args:
        root: ``s3a://bucket/prefix``, ``file:///folder`` or a path.
        table: path below it.
        environ: where the S3 access comes from, under AWS's own names.

    Raises:
        QualityUnchecked: no such folder, no Parquet file in it, or unreadable ones.
    """
    from pyarrow import ArrowException
    from pyarrow.dataset import dataset

    uri = f"{root.rstrip('/')}/{table}"
    filesystem, path = _located(uri, environ)
    try:
        opened = dataset(path, filesystem=filesystem, format="parquet", partitioning="hive")
    except FileNotFoundError as error:
        raise QualityUnchecked(f"{uri} does not exist.", _REMEDY) from error
    except (OSError, ArrowException) as error:
        raise QualityUnchecked(f"{uri} cannot be read: {_first_line(error)}", _REMEDY) from error
    if not opened.files:
        raise QualityUnchecked(f"{uri} holds no Parquet file.", _REMEDY)
    return opened


def read_columns(table: Dataset, columns: Iterable[str] | None) -> pandas.DataFrame:
    """Those columns of every row (None: all of them).

    Raises:
        QualityUnchecked: a file is damaged.
    """
    from pyarrow import ArrowException

    try:
        rows = table.to_table(columns=None if columns is None else list(columns))
        return _widened(rows).to_pandas()
    except (OSError, ArrowException) as error:
        raise QualityUnchecked(f"It cannot be read: {_first_line(error)}", _REMEDY) from error


def _widened(rows: Table) -> Table:
    """Whole and floating numbers at 64 bits.

    Great Expectations compares numbers of any other width one by one: 0.2 s for each rule and
    300,000 rows, against 0.01 s.
    """
    from pyarrow import float64, int64
    from pyarrow.types import is_floating, is_signed_integer

    for index, field in enumerate(rows.schema):
        wide = int64() if is_signed_integer(field.type) else float64()
        if is_signed_integer(field.type) or is_floating(field.type):
            rows = rows.set_column(index, field.with_type(wide), rows.column(index).cast(wide))
    return rows


_REMEDY = "See that the job writes this table, and that the storage can be reached."


def _located(uri: str, environ: Mapping[str, str]) -> tuple[FileSystem, str]:
    from pyarrow.fs import LocalFileSystem, S3FileSystem

    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return LocalFileSystem(), unquote(parts.path) if parts.scheme else uri
    if parts.scheme not in ("s3", "s3a"):
        raise QualityUnchecked(
            f"{uri}: tables of the scheme {parts.scheme!r} cannot be read.",
            "Use s3a:// or file:// as the lake.",
        )
    options: dict[str, Any] = {
        "endpoint_override": environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        "access_key": environ.get("AWS_ACCESS_KEY_ID"),
        "secret_key": environ.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": environ.get("AWS_SESSION_TOKEN"),
        "region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
    }
    filesystem = S3FileSystem(
        **{name: value for name, value in options.items() if value},
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
    )
    return filesystem, unquote(f"{parts.netloc}{parts.path}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
