"""What `harbour` does while `.venv` is not in step with the lock: install, then hand over."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dataharbour.errors import DataHarbourError
from dataharbour.platform.bootstrap import doctor
from dataharbour.platform.bootstrap.checkout import Checkout, State
from dataharbour.platform.bootstrap.checks import MEMORY_BYTES, Check, insist
from dataharbour.platform.bootstrap.filling import not_installed
from dataharbour.platform.bootstrap.install import install
from dataharbour.platform.bootstrap.lock import Selection
from dataharbour.platform.bootstrap.machine import INSTALL_BYTES, Facts
from dataharbour.platform.bootstrap.progress import Progress, duration, size
from dataharbour.platform.bootstrap.shelter import give_shelter
from dataharbour.platform.bootstrap.sources import read_sources

_FAILED = 1
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str]) -> int:
    """Install if needed, then become the CLI.

    Args:
        arguments: the checkout's folder, then the user's arguments.

    Returns:
        The exit code, where it does not come to the CLI.
    """
    rest = list(arguments[1:])
    checkout = Checkout(Path(arguments[0]), wants_notebooks=wants_notebooks(rest))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    code = _prepare(checkout, rest, Progress())
    if code is None:
        python = os.fspath(checkout.python)
        os.execv(python, [python, "-P", "-m", "dataharbour.cli", *rest])
    return code


def wants_notebooks(rest: Sequence[str]) -> bool:
    """Whether what the user calls needs JupyterLab; the CLI asks for it by the same words."""
    verb = next(iter(rest), "")
    return verb == "test" or (verb == "up" and "--notebooks" in rest)


def _prepare(checkout: Checkout, rest: Sequence[str], progress: Progress) -> int | None:
    """Make the CLI runnable; an exit code where it is not, or is not wanted."""
    try:
        if rest[:1] == ["doctor"] and checkout.state() is not State.COMPLETE:
            return doctor.report(checkout, os.environ, as_json=_wants_json(rest[1:]))
        ensure_installed(checkout, os.environ, progress=progress)
    except DataHarbourError as error:
        progress.say(f"harbour: {error}")
        return _FAILED
    except OSError as error:
        progress.say(f"harbour: the installation failed: {error}")
        progress.say(f"  remedy: Check that {checkout.root} may be written to and has space.")
        return _FAILED
    except KeyboardInterrupt:
        progress.say("\nharbour: interrupted. The next call goes on; finished downloads are kept.")
        return _INTERRUPTED
    return None


def _wants_json(options: Sequence[str]) -> bool:
    """The options of `doctor`, as the CLI takes them."""
    parser = ArgumentParser(prog="harbour doctor", description=doctor.__doc__)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return bool(parser.parse_args(options).output == "json")


def ensure_installed(checkout: Checkout, environ: Mapping[str, str], *, progress: Progress) -> None:
    """Bring `.venv` in step with the lock; at once if it is.

    Raises:
        PlatformError: something stops it; what was there is as it was, or nothing is left.
    """
    with _alone(checkout, progress) as lock:
        if checkout.state() is State.COMPLETE:
            return
        facts, selection, checks = doctor.inspect(checkout)
        insist(checks)
        sources = read_sources(environ)
        give_shelter(checkout.root / ".venv")
        for line in announcement(facts, selection, checks, checkout):
            progress.say(line)
        started = time.monotonic()
        install(checkout, selection, sources, facts.machine, environ, lock=lock, progress=progress)
        progress.say(f"Installed in {duration(time.monotonic() - started)}.")


def announcement(
    facts: Facts, selection: Selection, checks: list[Check], checkout: Checkout
) -> Iterator[str]:
    """What is about to be done, and what it takes."""
    is_update = facts.state is State.OUTDATED
    is_more = is_update and checkout.wants_notebooks and not checkout.has_notebooks
    absent = not_installed(selection, checkout.distributions() if is_update else ())
    download_bytes = sum(file.size_bytes for file in absent.values())
    yield {
        State.OUTDATED: "JupyterLab is not installed here yet. This is done once:"
        if is_more
        else "What DataHarbour is made of has changed; .venv follows.",
        State.UNFINISHED: "The installation in .venv is not complete; it is done now.",
    }.get(facts.state, "DataHarbour is not installed here yet. This is done once:")
    if absent:
        yield (
            f"  download  up to {size(download_bytes)}, {len(absent)} packages "
            "(less what uv's cache has)"
        )
    if is_update:
        return
    yield (
        f"  disk      {size(INSTALL_BYTES)} in .venv and uv's cache "
        f"({size(facts.free_bytes)} are free)"
    )
    yield (
        f"  memory    {size(MEMORY_BYTES)} while the platform runs "
        f"({size(facts.memory_bytes)} are available)"
    )
    yield f"  into      {checkout.venv}, with {facts.python}"
    for check in checks:
        if not check.ok:
            yield f"  warning   {check.detail}\n            {check.remedy}"


@contextmanager
def _alone(checkout: Checkout, progress: Progress) -> Iterator[int]:
    """Hold the checkout against other installers; the folder itself is what is locked."""
    lock = os.open(checkout.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("Another ./harbour is installing here; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a network file system without locks
            pass
        yield lock
    finally:
        os.close(lock)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends us like an interrupt does, with the child first."""
    sys.exit(128 + number)
