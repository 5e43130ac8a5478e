"""Which recovery points stay, and why: the policy as a pure function.

Of each of the last so many days, ISO weeks and months that have a verified point, the last one
stays; a point that one rule keeps counts for the others too. Those are the sets that restic 0.14
keeps by ``forget --keep-daily --keep-weekly --keep-monthly``. Only verified points count: a
point that nobody could restore must never push out one that somebody could.

The rules and their reasons: docs/decisions/0018-the-vault.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

_UTC = ZoneInfo("UTC")
FUTURE_TOLERANCE = timedelta(minutes=5)  # clocks of two machines differ by seconds


class PointState(StrEnum):
    """How far a recovery point is trusted."""

    COMMITTED = "committed"
    CHECKED = "checked"
    VERIFIED = "verified"
    SUSPECT = "suspect"
    CONDEMNED = "condemned"


@dataclass(frozen=True, slots=True)
class Point:
    """What the policy looks at.

    Attributes:
        id: of the recovery point.
        time: the moment that it brings back, aware.
        state: how far it is trusted.
        pinned: somebody said that it stays.
        locked_until: until when the store refuses to delete it, aware, or None.
    """

    id: str
    time: datetime
    state: PointState
    pinned: bool = False
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is kept.

    Attributes:
        daily: of so many days that have a verified point.
        weekly: of so many ISO weeks, from Monday on.
        monthly: of so many months.
        zone: whose days they are.
        at_least: so many verified points stay, whatever their age.
        unverified_for: how long a point that was never verified stays after a newer one was.
        most_at_once: the share of all points beyond which removal stops and asks.
    """

    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    zone: ZoneInfo = _UTC
    at_least: int = 3
    unverified_for: timedelta = timedelta(days=14)
    most_at_once: float = 0.25


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one point.

    Attributes:
        id: of the point.
        keep: whether it stays.
        reasons: why it stays, each that there is; or why it does not.
    """

    id: str
    keep: bool
    reasons: tuple[str, ...]


def decide(points: Sequence[Point], policy: Policy, *, now: datetime) -> list[Decision]:
    """What becomes of each point, in the order of `points`.

    Args:
        points: all that the vault has.
        policy: how much is kept.
        now: the present by the store's clock, aware.
    """
    present = [point for point in points if point.time <= now + FUTURE_TOLERANCE]
    verified = sorted(
        (point for point in present if point.state is PointState.VERIFIED),
        key=lambda point: (point.time, point.id),
        reverse=True,
    )
    wanted = _wanted(verified, policy)
    superseded = _superseded(present, verified, policy, now)
    decisions = []
    for point in points:
        reasons = (*_protection(point, now), *wanted.get(point.id, ()))
        if reasons:
            decisions.append(Decision(point.id, keep=True, reasons=reasons))
        else:
            decisions.append(_unprotected(point, point.id in superseded, policy))
    return decisions


def is_mass_removal(decisions: Sequence[Decision], policy: Policy) -> bool:
    """Whether so many points would go that a person has to confirm it."""
    gone = sum(not decision.keep for decision in decisions)
    return gone > max(1.0, policy.most_at_once * len(decisions))


def _wanted(verified: Sequence[Point], policy: Policy) -> dict[str, list[str]]:
    """Reasons by point, of those that a rule or the floor keeps; `verified` is newest first."""
    found: dict[str, list[str]] = {}
    if verified:
        found[verified[0].id] = ["newest verified"]
    for count, name, period in (
        (policy.daily, "day", _day),
        (policy.weekly, "week", _week),
        (policy.monthly, "month", _month),
    ):
        for point, label in _last_of_each(verified, period, policy.zone, count):
            found.setdefault(point.id, []).append(f"last of the {name} {label}")
    for point in verified[: policy.at_least]:
        found.setdefault(point.id, []).append(f"one of the last {policy.at_least} verified")
    return found


def _last_of_each(
    verified: Iterable[Point], period: Callable[[datetime], str], zone: ZoneInfo, count: int
) -> list[tuple[Point, str]]:
    """The newest point of each of the newest `count` periods that have one."""
    found: dict[str, Point] = {}
    for point in verified:
        label = period(point.time.astimezone(zone))
        if label not in found and len(found) == count:
            break
        found.setdefault(label, point)
    return [(point, label) for label, point in found.items()]


def _protection(point: Point, now: datetime) -> list[str]:
    reasons = []
    if point.time > now + FUTURE_TOLERANCE:
        reasons.append("stamped in the future: counts for nothing until a person has looked")
    if point.pinned:
        reasons.append("pinned")
    if point.locked_until is not None and point.locked_until > now:
        reasons.append(f"locked until {point.locked_until.isoformat()}")
    if point.state is PointState.SUSPECT:
        reasons.append("suspect: waits for a person")
    return reasons


def _superseded(
    present: Iterable[Point], verified: Sequence[Point], policy: Policy, now: datetime
) -> set[str]:
    """Points older than a verified one that has been there for long enough."""
    settled = [point for point in verified if now - point.time >= policy.unverified_for]
    return {point.id for point in present if settled and point.time < settled[0].time}


def _unprotected(point: Point, superseded: bool, policy: Policy) -> Decision:
    if point.state is PointState.VERIFIED:
        return Decision(point.id, keep=False, reasons=("no rule keeps it",))
    if point.state is PointState.CONDEMNED:
        return Decision(point.id, keep=False, reasons=("condemned",))
    days = policy.unverified_for.days
    if superseded:
        why = f"never verified, and a newer one has been for {days} days"
        return Decision(point.id, keep=False, reasons=(why,))
    why = f"not verified yet, and no newer one has been for {days} days"
    return Decision(point.id, keep=True, reasons=(why,))


def _day(local: datetime) -> str:
    return local.strftime("%Y-%m-%d")


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year:04d}-W{week:02d}"


def _month(local: datetime) -> str:
    return local.strftime("%Y-%m")
