"""The file that spark-submit ships to a cluster: it goes on in `cluster.py`, which is there.

`DATAHARBOUR_DRIVER_FILE` says where; without it, Python finds the installed package.
"""

import os
import runpy
import sys
from importlib.util import find_spec


def main() -> None:
    """Run `cluster.py` as the main program."""
    file = os.environ.pop("DATAHARBOUR_DRIVER_FILE", None)
    if file is None:
        found = find_spec("dataharbour.jobs.driver.cluster")
        file = found.origin if found else None
    if file is None or not os.path.isfile(file):
        sys.exit(
            f"{file or 'dataharbour/jobs/driver/cluster.py'} is not on this machine. Set "
            "driver_file in the extra of the backend's connection, or install "
            "airflow-provider-dataharbour here."
        )
    sys.argv = [file]
    runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    main()
