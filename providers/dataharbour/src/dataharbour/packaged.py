"""Read the data that belongs to the code: SQL statements and the schemas of YAML files.

In a wheel it lies in the package, in a checkout in the folder `include` that the
wheel takes it from. What a team may change (jobs, expectations, …) is not read
here but in the folder of the setting `include_dir`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

_CHECKOUT = Path(__file__).parents[4] / "include"


@cache
def read_packaged(name: str) -> str:
    """The text of a data file, e.g. ``schemas/job.schema.json``; read once."""
    packaged = files("dataharbour") / "include" / name
    source = packaged if packaged.is_file() else _CHECKOUT / name
    return source.read_text(encoding="utf-8")
