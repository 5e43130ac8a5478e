"""`python -m dataharbour.platform.connect_keeper`: see that a Connect server serves new runs.

A small supervised process. Every few seconds it looks at both servers of the pair, has
`connect_pair` decide, and does that: starts, warms up and stops servers, and tells Airflow which
one new runs use. It may be killed at any point; the next one goes on from what it sees. Without
it everything runs on, only nobody replaces a server.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener
from uuid import NAMESPACE_URL, uuid5

from dataharbour.errors import DataHarbourError
from dataharbour.platform import connect_state, credentials, ports
from dataharbour.platform.connect_limits import read_limits
from dataharbour.platform.connect_pages import Sessions, read_sessions
from dataharbour.platform.connect_pair import (
    SERVERS,
    Action,
    Do,
    Limits,
    Pair,
    Seen,
    decide,
    published,
    switched,
)
from dataharbour.platform.connect_probe import query_problem
from dataharbour.platform.connect_warm_up import warm_up
from dataharbour.platform.driver_pool import DriverPool
from dataharbour.platform.jupyter import JupyterFiles
from dataharbour.platform.layout import Home
from dataharbour.platform.memory import tree_bytes
from dataharbour.platform.ports import LOOPBACK
from dataharbour.platform.supervise import ServiceState, Supervisor

LOOK_EVERY_S = 10.0
LOOK_AGAIN_S = 2.0  # while something is going on
PROBE_S = 6.0
FIRST_PROBE_S = 30.0  # the first query of a server loads classes
_PAGE_S = 10.0  # the first call of a server's page takes seconds
_PAGE_EVERY_S = 60.0
_RUNNING = ("running", "starting")

Publish = Callable[[str], None]
Say = Callable[[str], None]


@dataclass
class _Life:
    """What is remembered of one process of a server."""

    pid: int
    session: str
    answered: bool = False
    misses: int = 0
    silent_since: float = 0.0
    warmed: bool = False
    warming: threading.Thread | None = None
    sessions: Sessions | None = None
    paged_at: float = field(default=-1e9)


class Keeper:
    """Looks at the pair, and acts.

    Args:
        home: the state folder.
        supervisor: starts and stops the servers.
        ports: of the platform.
        token: of both servers.
        publish: has Airflow's connection name a server; raises `DataHarbourError`.
        tell_notebooks: has kernels that start from now on use the first of these ports.
        say: takes one line of the log.
    """

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        *,
        ports: Mapping[str, int],
        token: str,
        publish: Publish,
        tell_notebooks: Callable[[list[int]], None],
        say: Say,
    ) -> None:
        self.home = home
        self.supervisor = supervisor
        self._ports = ports
        self._token = token
        self._publish = publish
        self._tell_notebooks = tell_notebooks
        self._say = say
        self._lives: dict[str, _Life] = {}
        self._said: str | None = None

    def turn(self, limits: Limits) -> bool:
        """Look once and do what is to be done; whether all is quiet."""
        pair = connect_state.load(self.home)
        if pair.published != pair.current:
            pair = self._tell_everybody(pair)
        states = {s.name: s for s in self.supervisor.states()}
        if not all(name in states for name in SERVERS):
            return False  # the supervisor does not answer, or is another version's
        seen = {name: self._look(states[name], pair) for name in SERVERS}
        actions = decide(pair, seen, limits, now=time.time())
        for action in actions:
            pair = self._do(action, pair)
        alone = not seen[next(n for n in SERVERS if n != pair.current)].running
        return not actions and alone and not seen[pair.current].misses

    # --- looking --------------------------------------------------------------------------

    def _look(self, state: ServiceState, pair: Pair) -> Seen:
        life = self._life(state)
        if life is None:
            return Seen()
        port = connect_state.port_of(self._ports, state.name)
        limit_s = PROBE_S if life.answered else FIRST_PROBE_S
        problem = query_problem(
            LOOPBACK, port, self._token, session=life.session, sql="select 1", timeout_s=limit_s
        )
        now = time.monotonic()
        if problem is None:
            life.answered, life.misses = True, 0
            self._page(life, state.name, is_current=state.name == pair.current)
        else:
            life.silent_since = life.silent_since if life.misses else now - limit_s
            life.misses += 1
            if life.answered:
                self._say(f"{state.name}: {problem} (missed {life.misses} in a row)")
        page = life.sessions if not life.misses else None
        return Seen(
            running=True,
            up_s=max(time.time() - (state.since or time.time()), 0.0),
            answered=life.answered,
            misses=life.misses,
            silent_s=now - life.silent_since if life.misses else 0.0,
            warmed=life.warmed,
            memory_bytes=tree_bytes(life.pid),
            sessions=max(page.open - 1, 0) if page else None,  # one is ours
            served=max(page.served - 1, 0) if page else None,
        )

    def _life(self, state: ServiceState) -> _Life | None:
        if state.pid is None or state.state not in _RUNNING:
            self._lives.pop(state.name, None)
            return None
        life = self._lives.get(state.name)
        if life is None or life.pid != state.pid:
            name = f"{self.home.root}/{state.name}/{state.pid}"  # the next keeper's session, too
            life = self._lives[state.name] = _Life(state.pid, str(uuid5(NAMESPACE_URL, name)))
        return life

    def _page(self, life: _Life, server: str, *, is_current: bool) -> None:
        now = time.monotonic()
        if is_current and now - life.paged_at < _PAGE_EVERY_S:
            return
        life.paged_at = now
        page = connect_state.page_of(self._ports, server)
        address = f"http://{LOOPBACK}:{page}/connect/"
        try:
            with _opener.open(address, timeout=_PAGE_S) as answer:
                life.sessions = read_sessions(answer.read().decode(errors="replace"))
        except (URLError, OSError, ValueError) as error:
            life.sessions = None
            self._say(f"{server}: its page does not answer ({type(error).__name__})")

    # --- acting ---------------------------------------------------------------------------

    def _do(self, action: Action, pair: Pair) -> Pair:
        server, why = action.server, f": {action.why}" if action.why else ""
        if action.do is Do.WARM:
            self._warm(server)
            return pair
        text = f"{action.do.value} {server}{why}"
        if text != self._said:
            self._say(text)
            self._said = text
        if action.do is Do.START:
            self.supervisor.start(server)
        elif action.do is Do.STOP:
            self.supervisor.stop([server], timeout_s=40.0)
        elif action.do is Do.SWITCH:
            pair = switched(pair, action, now=time.time())
            connect_state.save(self.home, pair)
            return self._tell_everybody(pair)
        return pair

    def _tell_everybody(self, pair: Pair) -> Pair:
        try:
            self._tell_notebooks(connect_state.ports_from(pair, self._ports))
        except OSError as error:  # they find a server that answers all the same
            self._say(f"cannot tell the notebooks of {pair.current}: {error}")
        try:
            self._publish(pair.current)
        except DataHarbourError as error:  # Airflow or its database is away; asked again
            self._say(f"cannot tell Airflow of {pair.current}: {error.problem}")
            return pair
        pair = published(pair, pair.current, now=time.time())
        connect_state.save(self.home, pair)
        self._say(f"new runs use {pair.current}")
        return pair

    def _warm(self, server: str) -> None:
        life = self._lives[server]
        if life.warming is not None:
            return
        port = connect_state.port_of(self._ports, server)
        folder = self.home.spark / "tmp" / f"warm-up-{server}"

        def work() -> None:
            problem = warm_up(LOOPBACK, port, self._token, session=life.session, folder=folder)
            self._say(f"{server}: warmed up" if problem is None else f"{server}: {problem}")
            life.warmed = True  # also when it failed: it is only quicker with

        life.warming = threading.Thread(target=work, name="warm-up", daemon=True)
        life.warming.start()


_opener = build_opener(ProxyHandler({}))  # loopback: never by a proxy


def publisher(chosen: Mapping[str, int], secret: credentials.Credentials) -> Publish:
    """Write the connection over Airflow's public REST API, as the admin."""

    def publish(server: str) -> None:
        from dataharbour.platform.airflow_api import AirflowApi  # needed once in days
        from dataharbour.platform.spark_connection import spark_connection

        airflow = AirflowApi(f"http://{LOOPBACK}:{chosen['api']}", password=secret.users["admin"])
        airflow.ensure_connections([spark_connection(server, chosen, secret)])

    return publish


def notebooks_of(home: Home) -> JupyterFiles:
    """JupyterLab's files, of whoever has them now: it may be installed while we run."""
    owner = (-1, -1)
    with suppress(FileNotFoundError):  # it was never started here
        found = (home.jupyter / "config").stat()
        owner = (found.st_uid, found.st_gid)
    return JupyterFiles(home.jupyter, home.notebooks, owner)


def main() -> None:
    """Keep the pair of the platform in $HARBOUR_HOME."""
    home = Home(Path(os.environ["HARBOUR_HOME"]))
    secret, chosen = credentials.load(home.secrets), ports.load(home.run / "ports.json")

    def say(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)  # noqa: T201

    keeper = Keeper(
        home,
        Supervisor(home),
        ports=chosen,
        token=secret.spark_connect_token,
        publish=publisher(chosen, secret),
        tell_notebooks=lambda ports: notebooks_of(home).name_servers(ports),
        say=say,
    )
    limits = read_limits(home, say=say)
    pool = DriverPool(home, lambda: limits.drivers, environment=dict(os.environ))
    threading.Thread(target=pool.run, name="drivers", daemon=True).start()
    while True:
        is_quiet = False
        try:
            limits = read_limits(home, say=say)
            is_quiet = keeper.turn(limits)
        except DataHarbourError as error:
            say(str(error))
        time.sleep(LOOK_EVERY_S if is_quiet else LOOK_AGAIN_S)


if __name__ == "__main__":
    main()
