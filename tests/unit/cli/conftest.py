from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def no_platform() -> Iterator[Path]:
    """An empty state folder; its path is short, as the socket in it demands."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
