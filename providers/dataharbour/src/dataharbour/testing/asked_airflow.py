"""What an Airflow says in a process of its own, for tests of what it decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def ask_airflow(script: str, *, home: Path, **settings: str) -> dict[str, Any]:
    """Run a script in the context of an API server, with the simple auth manager's four roles.

    Args:
        script: Python; its last line of output is a JSON object.
        home: an empty folder, its AIRFLOW_HOME.
        settings: more of Airflow's, as ``core__plugins_folder``.

    Returns:
        That object.
    """
    environ = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "viewer:viewer,user:user,op:op,admin:admin",
        "AIRFLOW__API_AUTH__JWT_SECRET": "s" * 64,
        "_AIRFLOW_PROCESS_CONTEXT": "server",  # as the API server sets it
        **{f"AIRFLOW__{name.upper()}": value for name, value in settings.items()},
    }
    asked = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, cwd=home
    )
    assert asked.returncode == 0, asked.stderr[-4000:]
    answers: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return answers
