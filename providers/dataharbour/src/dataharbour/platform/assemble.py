"""Put a platform together from what is on disk: paths, ports, secrets, accounts, lake.

Does I/O: makes the state folder's tree and reads or generates what lies in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform import accounts, credentials, launch, ports
from dataharbour.platform.bootstrap.shelter import give_shelter
from dataharbour.platform.java import ensure_java
from dataharbour.platform.layout import Checkout, Home, find_home
from dataharbour.platform.plan import Plan
from dataharbour.platform.services import Platform, owner_of
from dataharbour.platform.spark import SparkFiles

_PRIVATE = ("logs", "run", "secrets", "config", "airflow", "runs", "artifacts", "notebooks",
            "jobs")  # fmt: skip


def open_home(
    checkout: Checkout, say: Callable[[str], None], environ: Mapping[str, str] = os.environ
) -> Home:
    """The state folder, in a place that the users of all services can reach.

    Args:
        checkout: whose platform.
        say: told when that place holds the state of an earlier checkout.
        environ: HARBOUR_HOME is looked at.

    Raises:
        PlatformError: there is no such place, or its path is too long.
    """
    if not environ.get("HARBOUR_HOME"):
        shelter = give_shelter(checkout.root / ".harbour")
        if shelter and any(shelter.iterdir()):
            say(
                f"An earlier checkout in this folder has left its state in {shelter}; it is used. "
                "To begin anew: ./harbour destroy"
            )
    return find_home(checkout, environ)


def make_folders(home: Home) -> None:
    """Make the state folder's tree. Others may pass through the root, and read nothing."""
    home.root.mkdir(parents=True, exist_ok=True)
    home.root.chmod(0o711)
    for name in _PRIVATE:
        (home.root / name).mkdir(exist_ok=True, mode=0o700)
        (home.root / name).chmod(0o700)
    home.applications.mkdir(exist_ok=True, mode=0o755)  # containers read them as another user
    home.data.mkdir(exist_ok=True)
    home.data.chmod(0o711)


def choose_ports(home: Home) -> tuple[dict[str, int], dict[str, int]]:
    """Last start's ports where they are free, else the first free ones (see `ports.choose`).

    Those of other platforms that run are not free: a standby server listens at its own later.
    """
    last = ports.load(home.run / "ports.json")
    others = launch.platforms() - {str(home.root)}
    reserved = ports.reserved(Home(Path(other)).run / "ports.json" for other in others)
    chosen, taken = ports.choose(
        {**ports.PREFERRED, **last},
        is_free=lambda port: port not in reserved and ports.is_free(port),
    )
    ports.save(home.run / "ports.json", chosen)
    return chosen, taken


def known_ports(home: Home) -> dict[str, int]:
    """The ports of the platform that runs, and free ones for what it does not know yet."""
    last = ports.load(home.run / "ports.json")
    lacking = {name: port for name, port in ports.PREFERRED.items() if name not in last}
    if lacking:
        last |= ports.choose(lacking, is_free=ports.is_free)[0]
        ports.save(home.run / "ports.json", last)
    return last


def find_vault(home: Home, environ: Mapping[str, str] = os.environ) -> Path:
    """The vault's data folder: that of the first start, which `$HARBOUR_VAULT_DIR` chose.

    Raises:
        PlatformError: the variable names another folder now; the vault there would look empty.
    """
    given = environ.get("HARBOUR_VAULT_DIR")
    wanted = Path(os.path.realpath(Path(given).expanduser())) if given else None
    decision = _vault_decision(home)
    if not decision.exists():
        return wanted or home.data / "vault"
    decided = home.root / decision.read_text().strip()  # people may edit it
    if wanted not in (None, decided):
        raise PlatformError(
            f"HARBOUR_VAULT_DIR is {wanted}, but this platform's vault is in {decided}.",
            f"Unset it. To move the vault: stop the platform, move the folder, write its new path "
            f"to {decision}.",
        )
    return decided


def _vault_decision(home: Home) -> Path:
    return home.config / "vault_dir"


def keep_vault(home: Home, environ: Mapping[str, str] = os.environ) -> Path:
    """`find_vault`, kept for the next start."""
    data = find_vault(home, environ)
    if not _vault_decision(home).exists():
        is_inside = data.is_relative_to(home.root)  # then it moves with the state folder
        text = data.relative_to(home.root) if is_inside else data
        credentials.write_private(_vault_decision(home), str(text))
    return data


def keep_cluster(home: Home, wanted: bool | None) -> bool:
    """Whether the platform has a standalone cluster: as `wanted` (remembered), or as before."""
    decision = home.config / "spark_cluster"
    if wanted is not None:
        credentials.write_private(decision, "on" if wanted else "off")
    return decision.exists() and decision.read_text().strip() == "on"


def assemble(
    checkout: Checkout,
    home: Home,
    chosen: dict[str, int],
    *,
    lake: str,
    has_cluster: bool = False,
    notebooks: bool = False,
) -> Platform:
    """The platform in `home` with the ports `chosen`, with or without cluster and JupyterLab."""
    owners = accounts.ensure(notebooks=notebooks)
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
        with_notebooks=notebooks,
    )
    return Platform(
        plan=plan,
        accounts=owners,
        spark=files,
        vault_data=keep_vault(home),
        has_cluster=has_cluster,
    )
