"""`python -m dataharbour.jobs.driver SPEC.json`: supervise one driver."""

from __future__ import annotations

import sys

from dataharbour.jobs.driver.supervisor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
