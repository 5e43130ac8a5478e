"""`python -m dataharbour.jobs.driver SPEC.json`: supervise one driver."""

from __future__ import annotations

import sys
from pathlib import Path

from dataharbour.jobs.driver.spec import DriverSpec

if __name__ == "__main__":
    # First of all: the file holds secrets, and must not stay when the rest cannot be imported.
    spec = DriverSpec.take(Path(sys.argv[1]))

    from dataharbour.jobs.driver.supervisor import main

    sys.exit(main(spec))
