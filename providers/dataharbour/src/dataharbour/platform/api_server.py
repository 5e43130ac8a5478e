"""Airflow's API server, started by our own launcher.

Uvicorn spawns its workers by importing this file again: without the guard below each of them would
start a server of its own, for ever.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from airflow.__main__ import main

    sys.argv = ["airflow", "api-server", *sys.argv[1:]]
    main()
