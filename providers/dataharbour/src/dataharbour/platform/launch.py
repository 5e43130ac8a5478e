"""Start one service: clear what an earlier life of it left behind, change the user, become it.

Run by the process supervisor as a script (`python launch.py SERVICE.json`), so it imports the
standard library only. A service that was killed leaves children (pre-forked workers, a trigger
runner) that would work beside its successor; they are found by the marks in their environment, or
by the process group that their service had.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

PLATFORM_MARK = "HARBOUR_PLATFORM"  # the state folder
SERVICE_MARK = "HARBOUR_SERVICE"  # the service's name; `driver` for Spark drivers
_GROUPS = "run/groups"  # in the state folder: a file per service


def marks(home: Path, service: str) -> dict[str, str]:
    """The variables by which a process of the platform in `home` is found."""
    return {PLATFORM_MARK: str(home), SERVICE_MARK: service}


def marked(home: str, *, service: str | None = None) -> dict[int, str]:
    """Processes of the platform in `home`: pid -> service, this process and its parent left out.

    By the marks in their environment. Airflow's workers hide theirs (they are not dumpable), even
    from the user whom they run as; those are known by the process group of their service.
    """
    found: dict[int, str] = {}
    groups = _groups(home)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            name = _name_by_marks((entry / "environ").read_bytes(), home)
        except PermissionError:
            name = _name_by_group(entry, groups)
        except OSError:  # gone
            continue
        if name is not None and service in (None, name) and not _is_zombie(entry):
            found[int(entry.name)] = name
    return found


def platforms() -> set[str]:
    """State folders of the platforms that run on this machine, as far as we may look."""
    prefix = f"{PLATFORM_MARK}=".encode()
    found: set[str] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or somebody else's
            continue
        found.update(os.fsdecode(v.removeprefix(prefix)) for v in variables if v.startswith(prefix))
    return found


def _name_by_marks(environ: bytes, home: str) -> str | None:
    variables = environ.split(b"\0")
    if f"{PLATFORM_MARK}={home}".encode() not in variables:
        return None
    prefix = f"{SERVICE_MARK}=".encode()
    return next((v.removeprefix(prefix).decode() for v in variables if v.startswith(prefix)), "")


def _name_by_group(entry: Path, groups: dict[tuple[int, int], str]) -> str | None:
    try:
        owner = (entry / "status").read_text().partition("\nUid:")[2].split()[0]
        group, session = (entry / "stat").read_text().rpartition(")")[2].split()[2:4]
    except (OSError, ValueError, IndexError):  # gone
        return None
    return groups.get((int(group), int(session))) if int(owner) == os.getuid() else None


def _groups(home: str) -> dict[tuple[int, int], str]:
    """Process group and session of each service's last life -> the service."""
    found = {}
    for note in Path(home, _GROUPS).glob("[!.]*"):
        group, session = note.read_text().split()
        found[int(group), int(session)] = note.name
    return found


def _note_group(home: str, service: str) -> None:
    folder = Path(home, _GROUPS)
    folder.mkdir(exist_ok=True, mode=0o700)
    draft = folder / f".{service}"
    draft.write_text(f"{os.getpgrp()} {os.getsid(0)}")
    draft.replace(folder / service)


def stop_all(pids: list[int], *, grace_s: float) -> None:
    """SIGTERM, then after `grace_s` SIGKILL, until none of `pids` is left."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait_s
        while pids and time.monotonic() < deadline:
            pids = [pid for pid in pids if _is_alive(pid)]
            time.sleep(0.05)
        if not pids:
            return


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and not _is_zombie(Path(f"/proc/{pid}"))


def _is_zombie(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True


def main(service_file: str) -> None:
    """Read how the service is started, sweep, change the user, become it."""
    start = json.loads(Path(service_file).read_text())
    environment: dict[str, str] = start["environment"]
    left = marked(environment[PLATFORM_MARK], service=environment[SERVICE_MARK])
    stop_all(list(left), grace_s=5.0)
    _note_group(environment[PLATFORM_MARK], environment[SERVICE_MARK])
    if start["user"]:
        uid, gid = start["user"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.chdir(start["directory"])
    os.execvpe(start["command"][0], start["command"], environment)


if __name__ == "__main__":
    main(sys.argv[1])
