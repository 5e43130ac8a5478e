"""The modules beside the tests of this folder, and a platform that is made to be broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from trials import Bench


@pytest.fixture(scope="session")
def breakable() -> Iterator[Bench]:
    """A platform of its own: what is killed here must not be missed by other tests."""
    if os.geteuid() != 0:
        pytest.skip("only root may look into Airflow's workers to find who waits at a gate")
    from trials import breakable_platform

    with breakable_platform() as bench:
        yield bench
