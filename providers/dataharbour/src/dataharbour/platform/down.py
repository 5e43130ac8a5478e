"""Stop the platform, in order, and leave nothing of it behind."""

from __future__ import annotations

import time

from dataharbour.errors import PlatformError
from dataharbour.platform import launch, object_store, ports
from dataharbour.platform.layout import Home
from dataharbour.platform.lock import exclusive
from dataharbour.platform.names import AIRFLOW_COMPONENTS, CLUSTER, STOP_ORDER
from dataharbour.platform.object_store import Store
from dataharbour.platform.report import Report
from dataharbour.platform.supervise import Supervisor

_DRIVER_GRACE_S = 8.0
_WITHOUT_DATA = {
    "driver", "spark", "spark_standby", "spark_keeper", *CLUSTER, *AIRFLOW_COMPONENTS,
}  # fmt: skip


def down(home: Home, report: Report) -> bool:
    """Stop everything. Returns False when nothing ran.

    Raises:
        PlatformError: a process is still there at the end.
    """
    if not home.root.is_dir():
        return False
    with exclusive(home):
        return stop_all(home, report)


def stop_all(home: Home, report: Report) -> bool:
    """`down` for whoever holds the platform's lock."""
    supervisor = Supervisor(home)
    was_up = supervisor.is_alive()
    if was_up:
        _stop_drivers(home, report)
        for group in STOP_ORDER:
            report.waiting("services", f"stopping {', '.join(group)}")
            supervisor.stop(group)
            _stop_drivers(home, report)  # a retry may have started one meanwhile
        supervisor.shutdown()
    swept = sweep(home, report)
    report.ready("services", "stopped")
    _check_gone(home)
    return was_up or swept


def sweep(home: Home, report: Report) -> bool:
    """Stop what a killed supervisor or service left running, and remove its socket files."""
    left = launch.marked(str(home.root))
    was_left = bool(left)
    # In the order of an orderly stop, so that the database goes last.
    for group in (("driver",), *STOP_ORDER, None):
        pids = [pid for pid, name in left.items() if group is None or name in group]
        if pids:
            report.waiting("left-overs", f"stopping {len(pids)} processes of an earlier start")
            is_quick = group is not None and _WITHOUT_DATA.issuperset(group)
            launch.stop_all(pids, grace_s=10.0 if is_quick else 30.0)
            report.ready("left-overs", "stopped")
        left = launch.marked(str(home.root))
    known = ports.load(home.run / "ports.json")
    if known:
        for name in ("s3", "vault"):
            object_store.remove_sockets(Store(name, home.data, home.config, known))
    home.socket.unlink(missing_ok=True)
    return was_left


def _stop_drivers(home: Home, report: Report) -> None:
    """End running Spark drivers while the database can still take down how they ended."""
    pids = list(launch.marked(str(home.root), service="driver"))
    if pids:
        report.waiting("drivers", f"stopping {len(pids)} driver processes; their runs end (INFRA)")
        launch.stop_all(pids, grace_s=_DRIVER_GRACE_S)
        report.ready("drivers", "stopped")


def _check_gone(home: Home) -> None:
    for _ in range(50):
        left = launch.marked(str(home.root))
        if not left:
            return
        time.sleep(0.1)
    names = ", ".join(f"{name or 'process'} ({pid})" for pid, name in sorted(left.items()))
    raise PlatformError(f"Still running: {names}.", "Run ./harbour down again, as the same user.")
