"""Decide which of the two Connect servers serves new runs, and what has to be done for that.

Pure. One server is enough: the other is started only to take over from one that leaks or hangs.
Which one is `current` is kept (`connect_state`); everything else is seen anew at each look, so a
keeper that was killed between two steps goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

SERVERS = ("spark", "spark_standby")  # names of the services

START_WITHIN_S = 180.0  # a process this young that has never answered is starting
HUNG_AFTER = 3  # probes without an answer, in a row
KILL_HUNG_AFTER_S = 45.0  # of silence: a long collection of garbage may have been all
# Of silence: by then the other should long have answered. One that cannot (there may be no memory
# for two, as long as this one is there) must not leave both to themselves for ever.
GIVE_UP_AFTER_S = START_WITHIN_S + KILL_HUNG_AFTER_S
SETTLE_S = 70.0  # a task that has just read the old address has its session by then
PAUSE_S = 600.0  # between two replacements of servers that only leak


def other(name: str) -> str:
    """The second of the pair."""
    return SERVERS[1 - SERVERS.index(name)]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a server is to be replaced, and how long its runs may go on meanwhile.

    Attributes:
        memory_bytes: of its JVM and its Python processes together.
        sessions: that it has had since its start; each leaves something behind.
        age_s: since its start.
        drain_s: for the sessions of a replaced one.
        settle_s: a replaced one is not stopped earlier, though it has no session.
        drivers: that are started ahead of their runs.
    """

    memory_bytes: int
    sessions: int = 2_000
    age_s: float = 7 * 86_400.0
    drain_s: float = 6 * 3_600.0
    settle_s: float = SETTLE_S
    drivers: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as it was seen just now.

    Attributes:
        running: there is a process, or will be at once.
        up_s: since that process started.
        answered: it has answered a query since then.
        misses: probes without an answer, in a row; 0 when it has just answered.
        silent_s: for how long.
        warmed: it has done the warm-up, or has failed to.
        memory_bytes: of its JVM and its Python processes.
        sessions: open now, the keeper's left out; None where it does not say.
        served: sessions since its start; None where it does not say.
    """

    running: bool = False
    up_s: float = 0.0
    answered: bool = False
    misses: int = 0
    silent_s: float = 0.0
    warmed: bool = False
    memory_bytes: int = 0
    sessions: int | None = None
    served: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What is kept of the pair.

    Attributes:
        current: the server of new runs.
        published: whom Airflow's connection names, as far as it is known.
        published_at: since when (seconds since the epoch).
        replaced_at: when `current` took over; None while there was no reason to.
        why: the reason of that.
    """

    current: str = SERVERS[0]
    published: str | None = None
    published_at: float | None = None
    replaced_at: float | None = None
    why: str | None = None


class Do(Enum):
    """What the keeper does with a server."""

    START = "start"
    WARM = "warm up"
    SWITCH = "use for new runs"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, and why."""

    do: Do
    server: str
    why: str = ""


class Condition(Enum):
    """How a server is."""

    DOWN = "down"
    STARTING = "starting"
    HEALTHY = "healthy"
    LEAKING = "leaking"
    HUNG = "hung"


def condition(seen: Seen, limits: Limits) -> tuple[Condition, str]:
    """How a server is, and the reason where it is to be replaced."""
    if not seen.running:
        return Condition.DOWN, "it does not run"
    if seen.misses:
        if not seen.answered and seen.up_s < START_WITHIN_S:
            return Condition.STARTING, ""
        if seen.misses >= HUNG_AFTER:
            return Condition.HUNG, f"it has not answered for {seen.silent_s:.0f} s"
        return Condition.HEALTHY, ""
    if not seen.answered:
        return Condition.STARTING, ""
    if seen.memory_bytes > limits.memory_bytes:
        used, most = seen.memory_bytes / 1e6, limits.memory_bytes / 1e6
        return Condition.LEAKING, f"it uses {used:.0f} MB of memory, more than {most:.0f}"
    if seen.served is not None and seen.served > limits.sessions:
        return Condition.LEAKING, f"it has had {seen.served} sessions, more than {limits.sessions}"
    if seen.up_s > limits.age_s:
        return Condition.LEAKING, f"it has run for {seen.up_s / 86_400:.1f} days"
    return Condition.HEALTHY, ""


def decide(pair: Pair, seen: Mapping[str, Seen], limits: Limits, *, now: float) -> list[Action]:
    """What is to be done now; nothing when all is well.

    Args:
        pair: what is kept.
        seen: both servers.
        limits: when to replace.
        now: seconds since the epoch.
    """
    current, spare = pair.current, other(pair.current)
    how, why = condition(seen[current], limits)
    spare_how, spare_why = condition(seen[spare], limits)
    todo = [
        Action(Do.WARM, name)
        for name in (current, spare)
        if seen[name].running
        and seen[name].answered
        and not seen[name].misses
        and not seen[name].warmed
    ]
    if how is Condition.DOWN:
        todo.append(Action(Do.START, current, why))
    if how is Condition.LEAKING and now - (pair.replaced_at or 0.0) < PAUSE_S:
        how = Condition.HEALTHY  # a limit that every server is over would replace them for ever
    if how not in (Condition.LEAKING, Condition.HUNG):
        return [*todo, *_retire(pair, seen[spare], spare_how, spare_why, limits, now=now)]
    # A limit may be so low that a fresh server is over it at once: it is still the better one.
    is_younger = spare_how is Condition.LEAKING and seen[spare].up_s < seen[current].up_s
    can_serve = (spare_how is Condition.HEALTHY and not seen[spare].misses) or is_younger
    if how is Condition.HUNG and (can_serve or spare_how is Condition.LEAKING):
        return [*todo, Action(Do.SWITCH, spare, why)]
    if how is Condition.HUNG and seen[current].silent_s >= GIVE_UP_AFTER_S:
        return [*todo, Action(Do.STOP, current, f"{why}, nor does {spare}")]  # and it is started
    if spare_how is Condition.DOWN:
        return [*todo, Action(Do.START, spare, why)]
    if can_serve and seen[spare].warmed:
        return [*todo, Action(Do.SWITCH, spare, why)]
    if spare_how in (Condition.LEAKING, Condition.HUNG) and not is_younger:
        return [*todo, *_retire(pair, seen[spare], spare_how, spare_why, limits, now=now)]
    return todo  # it is starting, or being warmed up


def switched(pair: Pair, action: Action, *, now: float) -> Pair:
    """The pair after `Do.SWITCH`; Airflow has to be told."""
    return replace(pair, current=action.server, replaced_at=now, why=action.why)


def published(pair: Pair, name: str, *, now: float) -> Pair:
    """The pair once Airflow's connection names `name`."""
    return replace(pair, published=name, published_at=now)


def _retire(
    pair: Pair, seen: Seen, how: Condition, why: str, limits: Limits, *, now: float
) -> list[Action]:
    """Stop the server that serves no new runs, once nobody needs it."""
    name = other(pair.current)
    if how is Condition.DOWN:
        return []
    if how is Condition.HUNG:
        is_dead = seen.silent_s >= KILL_HUNG_AFTER_S or not seen.answered
        return [Action(Do.STOP, name, why)] if is_dead else []
    if pair.published != pair.current:  # Airflow still sends runs to it
        return []
    since = max(pair.published_at or 0.0, pair.replaced_at or 0.0)
    if now - since >= limits.drain_s:
        text = f"it was replaced {(now - since) / 3600:.1f} h ago, and still has sessions"
        return [Action(Do.STOP, name, text)]
    if seen.sessions == 0 and now - since >= limits.settle_s:
        return [Action(Do.STOP, name, "its last session has ended")]
    return []
