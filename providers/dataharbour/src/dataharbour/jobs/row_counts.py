"""Count the rows of staged tables: read the footers of their Parquet files, not their data."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dataharbour.errors import JobFailed, Unavailable
from dataharbour.jobs.backends.launch import LakeEndpoint

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_READERS = 8  # a footer is one or two small requests; the wait is the network's
_CONNECT_TIMEOUT_S = 5
_REQUEST_TIMEOUT_S = 30


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

    filesystem, path = _located(lake, root)
    files = {table: _data_files(filesystem, f"{path}/{table}") for table in tables}

    def rows(file: str) -> int:
        return int(parquet.read_metadata(file, filesystem=filesystem).num_rows)

    try:
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


def _data_files(filesystem: FileSystem, folder: str) -> list[str]:
    from pyarrow.fs import FileSelector

    found = filesystem.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    return [
        info.path for info in found if info.is_file and not info.base_name.startswith(("_", "."))
    ]


def _located(lake: LakeEndpoint, root: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import LocalFileSystem, S3FileSystem

    parts = urlsplit(root)
    if parts.scheme == "file":
        return LocalFileSystem(), unquote(parts.path)
    endpoint = urlsplit(lake.endpoint_url or "")
    options = {
        "access_key": lake.access_key,
        "secret_key": lake.secret_key,
        "region": lake.region,
        "endpoint_override": endpoint.netloc or None,
        "scheme": endpoint.scheme or None,
    }
    filesystem = S3FileSystem(
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_REQUEST_TIMEOUT_S,
        **{name: value for name, value in options.items() if value is not None},
    )
    return filesystem, f"{parts.netloc}{parts.path}"
