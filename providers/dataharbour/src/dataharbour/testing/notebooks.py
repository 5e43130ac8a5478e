"""Write notebooks for tests."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any


def notebook(*cells: str, parameters: str | None = None, language: str = "python") -> str:
    """The text of a notebook with these cells of code.

    Args:
        cells: source texts.
        parameters: the cell that is tagged so, before the others.
        language: that of its kernel.
    """
    made = [_cell(f"cell-{n}", source) for n, source in enumerate(cells, start=1)]
    if parameters is not None:
        made.insert(0, _cell("parameters", parameters, tags=["parameters"]))
    kernel = {"name": "python3", "display_name": language, "language": language}
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}}
    return json.dumps({**document, "cells": made})


def printed(executed: bytes | str) -> str:
    """All that the cells of an executed notebook wrote to their streams."""
    outputs = [out for cell in json.loads(executed)["cells"] for out in cell.get("outputs", ())]
    return "".join("".join(out["text"]) for out in outputs if out["output_type"] == "stream")


def _cell(name: str, source: str, *, tags: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {"tags": list(tags)},
        "source": textwrap.dedent(source).strip(),
        "outputs": [],
        "execution_count": None,
    }
