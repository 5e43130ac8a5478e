"""`harbour doctor` before anything is installed: looks, and installs nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap import machine
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.checks import Check
from dataharbour.platform.bootstrap.index import PackageIndex
from dataharbour.platform.bootstrap.lock import Selection, parse_requirements, select
from dataharbour.platform.bootstrap.machine import Facts
from dataharbour.platform.bootstrap.progress import size
from dataharbour.platform.bootstrap.sources import read_sources


def report(checkout: Checkout, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print every check; the exit code is 1 if one fails that is needed.

    Raises:
        PlatformError: the checkout itself is not whole.
    """
    _, selection, checks = inspect(checkout)
    checks += [_index(environ), _installation(checkout, selection)]
    rows = [check.as_json() for check in checks]
    text = json.dumps(rows, indent=2) if as_json else "\n".join(map(str, checks))
    sys.stdout.write(f"{text}\n")
    return int(any(check.needed and not check.ok for check in checks))


def inspect(checkout: Checkout) -> tuple[Facts, Selection, list[Check]]:
    """See what this machine is, what it would get, and what stands in the way.

    Raises:
        PlatformError: the checkout itself is not whole.
    """
    try:
        lists = [parse_requirements(lock.read_text(encoding="utf-8")) for lock in checkout.locks]
        uv_lock = checkout.uv_lock.read_text(encoding="utf-8")
    except OSError as error:
        raise PlatformError(
            f"The checkout is not whole: {error.filename} cannot be read ({error.strerror}).",
            "Restore it: git checkout requirements.txt requirements-notebooks.txt uv.lock",
        ) from error
    facts = machine.observe(checkout)
    selection = Selection({}, ())
    for requirements in lists:
        selection = selection.joined(
            select(requirements, uv_lock, facts.machine, machine.marker_environment())
        )
    return facts, selection, machine.judge(facts, selection.unavailable)


def _index(environ: Mapping[str, str]) -> Check:
    try:
        next(PackageIndex(read_sources(environ)).links("uv"), None)
    except PlatformError as error:
        return Check("index", False, error.problem, error.remedy)
    return Check("index", True, "The package index answers.")


def _installation(checkout: Checkout, selection: Selection) -> Check:
    return Check(
        "installation",
        False,
        f".venv is {checkout.state().value}; "
        f"its packages are {size(selection.size_bytes)} to download.",
        "./harbour up installs what is missing, then starts the platform.",
        needed=False,
    )
