"""Put a platform together from what is on disk: paths, ports, secrets, accounts, lake.

Does I/O: makes the state folder's tree and reads or generates what lies in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from dataharbour.platform import accounts, credentials, ports
from dataharbour.platform.airflow_config import Plan
from dataharbour.platform.bootstrap.shelter import give_shelter
from dataharbour.platform.java import ensure_java
from dataharbour.platform.layout import Checkout, Home, find_home
from dataharbour.platform.services import Platform, owner_of
from dataharbour.platform.spark import SparkFiles

_PRIVATE = ("logs", "run", "secrets", "config", "airflow", "runs", "notebooks", "jobs")


def open_home(checkout: Checkout, environ: Mapping[str, str] = os.environ) -> Home:
    """The state folder, in a place that the users of all services can reach.

    Raises:
        PlatformError: there is no such place, or its path is too long.
    """
    if not environ.get("HARBOUR_HOME"):
        give_shelter(checkout.root / ".harbour")
    return find_home(checkout, environ)


def make_folders(home: Home) -> None:
    """Make the state folder's tree. Others may pass through the root, and read nothing."""
    home.root.mkdir(parents=True, exist_ok=True)
    home.root.chmod(0o711)
    for name in _PRIVATE:
        (home.root / name).mkdir(exist_ok=True, mode=0o700)
        (home.root / name).chmod(0o700)
    home.data.mkdir(exist_ok=True)
    home.data.chmod(0o711)


def choose_ports(home: Home) -> tuple[dict[str, int], dict[str, int]]:
    """Last start's ports where they are free, else the first free ones (see `ports.choose`)."""
    last = ports.load(home.run / "ports.json")
    chosen, taken = ports.choose({**ports.PREFERRED, **last}, is_free=ports.is_free)
    ports.save(home.run / "ports.json", chosen)
    return chosen, taken


def assemble(checkout: Checkout, home: Home, chosen: dict[str, int], *, lake: str) -> Platform:
    """The platform in `home` with the ports `chosen`."""
    owners = accounts.ensure()
    secret = credentials.load_or_create(home.secrets)
    java_home = ensure_java(home.spark / "java", is_usable=accounts.can_enter(owners.spark))
    files = SparkFiles(
        root=home.spark,
        owner=owner_of(owners.spark),
        lake_endpoint=f"http://127.0.0.1:{chosen['s3']}",
        java_home=java_home,
    )
    plan = Plan(
        checkout=checkout,
        home=home,
        ports=chosen,
        credentials=secret,
        lake=lake,
        java_home=str(java_home),
    )
    return Platform(plan=plan, accounts=owners, spark=files)
