from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.backup.retention import (
    Decision,
    Point,
    PointState,
    Policy,
    decide,
    is_mass_removal,
)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"
    )
]  # fmt: skip

moments = st.timedeltas(timedelta(0), timedelta(days=15 * 366)).map(lambda ago: NOW - ago)
policies = st.builds(
    Policy,
    daily=st.integers(0, 10),
    weekly=st.integers(0, 6),
    monthly=st.integers(0, 14),
    zone=st.sampled_from(ZONES),
)


@st.composite
def vaults(
    draw: st.DrawFn, *, states: st.SearchStrategy[PointState], most: int = 40
) -> list[Point]:
    times = draw(st.lists(moments, max_size=most, unique=True))
    pins = st.booleans() if states is not VERIFIED else st.just(False)
    return [
        Point(f"p{number}", time, draw(states), pinned=draw(pins))
        for number, time in enumerate(times)
    ]


VERIFIED = st.just(PointState.VERIFIED)
ANY = st.sampled_from(PointState)


def kept(decisions: list[Decision]) -> set[str]:
    return {decision.id for decision in decisions if decision.keep}


def daily(count: int, **given: object) -> list[Point]:
    return [
        replace(Point(f"d{back}", NOW - timedelta(days=back), PointState.VERIFIED), **given)
        for back in range(count)
    ]


def forget(points: list[Point], policy: Policy) -> set[str]:
    """What restic 0.14 keeps, by its own loop: counts that run down, the last period seen."""
    periods: list[Callable[[datetime], int]] = [
        lambda at: at.year * 10_000 + at.month * 100 + at.day,
        lambda at: at.isocalendar().year * 100 + at.isocalendar().week,
        lambda at: at.year * 100 + at.month,
    ]
    left = [policy.daily, policy.weekly, policy.monthly]
    last: list[int | None] = [None, None, None]
    found = set()
    for point in sorted(points, key=lambda each: each.time, reverse=True):
        for rule, period in enumerate(periods):
            value = period(point.time.astimezone(policy.zone))
            if left[rule] > 0 and value != last[rule]:
                left[rule] -= 1
                last[rule] = value
                found.add(point.id)
    return found


@given(vaults(states=VERIFIED), policies)
def test_verified_points_are_kept_as_restic_keeps_them_and_never_fewer_than_the_floor(
    points, policy
):
    found, theirs = kept(decide(points, policy, now=NOW)), forget(points, policy)
    newest = {p.id for p in sorted(points, key=lambda each: each.time)[-policy.at_least :]}
    assert found == theirs | newest


def test_a_year_of_daily_points_leaves_what_the_policy_says():
    decisions = decide(daily(800), Policy(), now=NOW)
    assert len(kept(decisions)) == 20
    reasons = {decision.id: decision.reasons for decision in decisions}
    assert reasons["d0"] == (
        "newest verified",
        "last of the day 2026-11-25",
        "last of the week 2026-W48",
        "last of the month 2026-11",
        "one of the last 3 verified",
    )
    assert reasons["d25"] == ("last of the month 2026-10",)
    assert reasons["d8"] == ("no rule keeps it",)


@given(vaults(states=ANY), policies, st.randoms())
def test_the_order_of_the_points_does_not_matter(points, policy, random):
    shuffled = random.sample(points, len(points))
    by_id = {decision.id: decision for decision in decide(shuffled, policy, now=NOW)}
    assert [by_id[point.id] for point in points] == decide(points, policy, now=NOW)


@given(vaults(states=ANY), policies)
def test_a_second_time_removes_nothing_more(points, policy):
    first = kept(decide(points, policy, now=NOW))
    left = [point for point in points if point.id in first]
    assert kept(decide(left, policy, now=NOW)) == first


@given(vaults(states=ANY), policies, moments)
def test_points_that_nobody_verified_push_nothing_out(points, policy, moment):
    before = kept(decide(points, policy, now=NOW))
    for state in (PointState.COMMITTED, PointState.CHECKED, PointState.SUSPECT):
        after = decide([*points, Point("new", moment, state)], policy, now=NOW)
        assert kept(after) - {"new"} == before


@given(vaults(states=ANY), policies, st.timedeltas(timedelta(minutes=6), timedelta(days=3 * 366)))
def test_a_point_stamped_in_the_future_counts_for_nothing_and_stays(points, policy, ahead):
    before = kept(decide(points, policy, now=NOW))
    stamped = Point("future", NOW + ahead, PointState.VERIFIED)
    assert kept(decide([*points, stamped], policy, now=NOW)) == before | {"future"}


@given(vaults(states=ANY), policies)
def test_what_is_pinned_or_suspect_stays_and_so_does_the_newest_verified(points, policy):
    found = kept(decide(points, policy, now=NOW))
    assert {point.id for point in points if point.pinned} <= found
    assert {point.id for point in points if point.state is PointState.SUSPECT} <= found
    verified = [point for point in points if point.state is PointState.VERIFIED]
    assert {p.id for p in sorted(verified, key=lambda p: p.time)[-policy.at_least :]} <= found


@given(vaults(states=ANY), policies)
def test_every_decision_has_a_reason(points, policy):
    assert all(decision.reasons for decision in decide(points, policy, now=NOW))


def test_a_locked_point_stays_until_the_lock_ends():
    old = daily(30)[8]
    locked = replace(old, locked_until=NOW + timedelta(seconds=1))
    points = [*daily(8), locked]
    assert "d8" in kept(decide(points, Policy(), now=NOW))
    assert "d8" not in kept(decide(points, Policy(), now=NOW + timedelta(seconds=1)))


@pytest.mark.parametrize(("days", "stays"), [(13, True), (14, False)])
def test_a_point_never_verified_goes_when_a_newer_one_has_been_verified_for_long(days, stays):
    never = Point("never", NOW - timedelta(days=days + 1), PointState.CHECKED)
    newer = Point("newer", NOW - timedelta(days=days), PointState.VERIFIED)
    assert ("never" in kept(decide([never, newer], Policy(), now=NOW))) is stays


def test_without_any_verified_point_nothing_goes():
    points = daily(60, state=PointState.CHECKED)
    assert len(kept(decide(points, Policy(), now=NOW))) == 60


@pytest.mark.parametrize(
    ("zone", "kept_of_the_day"),
    [
        # 23:30 and 00:30 in Rome on the night when the clocks go back are 21:30 and 22:30 UTC.
        ("Europe/Rome", {"evening", "night"}),
        ("UTC", {"night"}),
    ],
)
def test_days_are_those_of_the_policys_zone(zone, kept_of_the_day):
    policy = Policy(daily=2, weekly=0, monthly=0, zone=ZoneInfo(zone), at_least=0)
    evening = Point("evening", datetime(2026, 10, 24, 21, 30, tzinfo=UTC), PointState.VERIFIED)
    night = Point("night", datetime(2026, 10, 24, 22, 30, tzinfo=UTC), PointState.VERIFIED)
    assert kept(decide([evening, night], policy, now=NOW)) == kept_of_the_day


def test_a_day_that_a_zone_skipped_is_no_day():
    # Samoa went from 29 December 2011 straight to the 31st.
    apia = Policy(daily=2, weekly=0, monthly=0, zone=ZoneInfo("Pacific/Apia"), at_least=0)
    times = [datetime(2011, 12, 30, hour, tzinfo=UTC) for hour in (9, 10)]
    points = [Point(str(at.hour), at, PointState.VERIFIED) for at in times]
    reasons = [decision.reasons[-1] for decision in decide(points, apia, now=NOW)]
    assert reasons == ["last of the day 2011-12-29", "last of the day 2011-12-31"]


def test_a_removal_of_many_points_at_once_wants_a_person():
    policy = Policy()
    few, many = decide(daily(9), policy, now=NOW), decide(daily(60), policy, now=NOW)
    assert not is_mass_removal(few, policy)
    assert is_mass_removal(many, policy)
    assert not is_mass_removal(decide(daily(1), replace(policy, at_least=0), now=NOW), policy)
