"""Start one service: clear what an earlier life of it left behind, change the user, become it.

Run by the process supervisor as a script (`python launch.py SERVICE.json`), so it imports the
standard library only. A service that was killed leaves children (pre-forked workers, a trigger
runner) that would work beside its successor; they are found by the marks in their environment.
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


def marked(home: str, *, service: str | None = None) -> dict[int, str]:
    """Processes of the platform in `home`: pid -> service, this process and its parent left out."""
    found: dict[int, str] = {}
    platform_entry = f"{PLATFORM_MARK}={home}".encode()
    prefix = f"{SERVICE_MARK}=".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or somebody else's
            continue
        if platform_entry not in variables or _is_zombie(entry):
            continue
        names = [v.removeprefix(prefix).decode() for v in variables if v.startswith(prefix)]
        name = names[0] if names else ""
        if service in (None, name):
            found[int(entry.name)] = name
    return found


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
    if start["user"]:
        uid, gid = start["user"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.chdir(start["directory"])
    os.execvpe(start["command"][0], start["command"], environment)


if __name__ == "__main__":
    main(sys.argv[1])
