"""Open a place of the lake as pyarrow sees it, and list the files of a table there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataharbour.errors import ConfigError
from dataharbour.storage.address import split_address
from dataharbour.storage.marks import is_data

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_CONNECT_TIMEOUT_S = 5
_REQUEST_TIMEOUT_S = 30


def open_filesystem(
    uri: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    region: str | None = None,
) -> tuple[FileSystem, str]:
    """The file system of `uri`, and the path of `uri` in it.

    Args:
        uri: ``s3a://bucket/prefix``, ``file:///folder`` or a path.
        endpoint_url: as all that follow, for S3; None leaves it to AWS's own rules.
        access_key: key id.
        secret_key: the secret to it.
        session_token: where the key is a temporary one.
        region: the bucket's region.

    Raises:
        ConfigError: the URI is of another kind.
    """
    from pyarrow.fs import LocalFileSystem, S3FileSystem

    place = split_address(uri)
    if place.scheme in ("", "file"):
        return LocalFileSystem(), place.path
    if place.scheme not in ("s3", "s3a"):
        raise ConfigError(
            f"{uri}: tables of the scheme {place.scheme!r} cannot be read.",
            "Use s3a:// or file:// as the lake.",
        )
    options = {
        "endpoint_override": endpoint_url,
        "access_key": access_key,
        "secret_key": secret_key,
        "session_token": session_token,
        "region": region,
    }
    filesystem = S3FileSystem(
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_REQUEST_TIMEOUT_S,
        **{name: value for name, value in options.items() if value},
    )
    return filesystem, f"{place.bucket}{place.path}"


def data_files(filesystem: FileSystem, folder: str) -> list[str]:
    """Paths of the files below `folder` that hold rows, sorted; none where there is no folder."""
    from pyarrow.fs import FileSelector

    found = filesystem.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    files = [info.path for info in found if info.is_file]
    return sorted(path for path in files if is_data(path.removeprefix(f"{folder}/")))
