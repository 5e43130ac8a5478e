"""Count the rows of staged tables: read the footers of their Parquet files, not their data."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from dataharbour.errors import JobFailed, Unavailable
from dataharbour.jobs.lake import LakeEndpoint
from dataharbour.storage.arrow import data_files, open_filesystem

_READERS = 8  # a footer is one or two small requests; the wait is the network's


def count_rows(lake: LakeEndpoint, root: str, tables: Iterable[str]) -> dict[str, int]:
    """Rows of each table below `root`; a table that has no files is left out.

    Args:
        lake: access to the store.
        root: URI of a staging root in it.
        tables: paths below `root`.

    Raises:
        JobFailed: a file is no Parquet.
        Unavailable: the store does not answer.
    """
    from pyarrow import ArrowInvalid, parquet

    filesystem, path = open_filesystem(
        root,
        endpoint_url=lake.endpoint_url,
        access_key=lake.access_key,
        secret_key=lake.secret_key,
        region=lake.region,
    )

    def rows(file: str) -> int:
        return int(parquet.read_metadata(file, filesystem=filesystem).num_rows)

    try:
        files = {table: data_files(filesystem, f"{path}/{table}") for table in tables}
        with ThreadPoolExecutor(_READERS) as readers:
            return {table: sum(readers.map(rows, found)) for table, found in files.items() if found}
    except ArrowInvalid as error:
        raise JobFailed(
            f"A staged file below {root} is no Parquet: {error}.",
            "Write declared outputs with df.write.parquet(...).",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"The files below {root} cannot be read: {error}.", "Is the object store running?"
        ) from error
