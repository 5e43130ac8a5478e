"""Find out under which id Spark runs the application of this process.

Runs in a thread of the child, and imports nothing of Spark itself. ``app-…`` is an application of a
cluster, ``local-…`` one inside its own driver: on a cluster that is a setting gone astray, which
Spark does not complain of.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

_LOOK_EVERY_S = 0.2


def tell_id(send: Callable[..., None], ended: threading.Event) -> None:
    """Send the id once there is a SparkContext; a Connect client has none."""
    while not ended.wait(_LOOK_EVERY_S):
        module = sys.modules.get("pyspark.core.context")
        context: Any = getattr(getattr(module, "SparkContext", None), "_active_spark_context", None)
        # It stands there before it is whole.
        if context is not None and getattr(context, "_jsc", None) is not None:
            with contextlib.suppress(Exception):  # the JVM ends while we ask
                send(kind="application", id=str(context.applicationId))
            return
