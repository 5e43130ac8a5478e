"""Read the Parquet files of a table, only the columns that are needed, into pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dataharbour.errors import ConfigError, QualityUnchecked
from dataharbour.storage.arrow import data_files, open_filesystem

if TYPE_CHECKING:
    import pandas
    from pyarrow import Table
    from pyarrow.dataset import Dataset


def open_table(root: str, table: str, *, environ: Mapping[str, str]) -> Dataset:
    """The Parquet table in the folder `table` below `root`; Hive partitions become columns.

    Args:
        root: ``s3a://bucket/prefix``, ``file:///folder`` or a path.
        table: path below it.
        environ: where the S3 access comes from, under AWS's own names.

    Raises:
        QualityUnchecked: no such folder, no file in it, or unreadable ones.
    """
    from pyarrow import ArrowException
    from pyarrow.dataset import dataset

    uri = f"{root.rstrip('/')}/{table}"
    try:
        filesystem, path = open_filesystem(
            uri,
            endpoint_url=environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
            access_key=environ.get("AWS_ACCESS_KEY_ID"),
            secret_key=environ.get("AWS_SECRET_ACCESS_KEY"),
            session_token=environ.get("AWS_SESSION_TOKEN"),
            region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
        )
        files = data_files(filesystem, path)
        if not files:
            raise QualityUnchecked(f"{uri} does not exist, or holds no file.", _REMEDY)
        return dataset(
            files,
            filesystem=filesystem,
            format="parquet",
            partitioning="hive",
            partition_base_dir=path,
        )
    except ConfigError as error:
        raise QualityUnchecked(error.problem, error.remedy) from error
    except (OSError, ArrowException) as error:
        raise QualityUnchecked(f"{uri} cannot be read: {_first_line(error)}", _REMEDY) from error


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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
