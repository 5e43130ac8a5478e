"""What a driver does about Spark around the application. Imports nothing of it."""

from __future__ import annotations

import sys
import warnings


def quiet_known_noise() -> None:
    """Warnings that no author of a job can act on."""
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    warnings.filterwarnings("ignore", message=".*Pandas4Warning.*")


def stop_spark() -> bool:
    """Release the Connect session that the application left open; whether none is left."""
    module = sys.modules.get("pyspark.sql.connect.session")
    session = getattr(getattr(module, "SparkSession", None), "_default_session", None)
    try:
        if session is not None:
            session.stop()
    except Exception:  # the supervisor does it then; the application's end stays what it is
        return False
    return True
