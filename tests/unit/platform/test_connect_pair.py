from __future__ import annotations

from dataclasses import replace

import pytest

from dataharbour.platform.connect_pair import (
    GIVE_UP_AFTER_S,
    KILL_HUNG_AFTER_S,
    PAUSE_S,
    SETTLE_S,
    START_WITHIN_S,
    Condition,
    Do,
    Limits,
    Pair,
    Seen,
    condition,
    decide,
    published,
    switched,
)

NOW = 1_800_000_000.0
LIMITS = Limits(memory_bytes=1_000, sessions=10, age_s=86_400, drain_s=3_600)
OFF = Seen()
WELL = Seen(
    running=True, up_s=500, answered=True, warmed=True, memory_bytes=900, sessions=1, served=5
)
YOUNG = Seen(running=True, up_s=3, misses=2, silent_s=3)
COLD = replace(WELL, up_s=9, warmed=False)
FAT = replace(WELL, memory_bytes=1_001)
BUSY = replace(WELL, served=11)
OLD = replace(WELL, up_s=86_401)
HUNG = replace(WELL, misses=3, silent_s=20, sessions=None, served=None)
DEAD = replace(HUNG, silent_s=KILL_HUNG_AFTER_S)
GONE = replace(HUNG, silent_s=GIVE_UP_AFTER_S)
DOUBTED = replace(WELL, misses=2, silent_s=9)
NEVER = replace(YOUNG, up_s=START_WITHIN_S, misses=9)
IDLE = replace(WELL, sessions=0)

SETTLED = Pair("spark", "spark", NOW - 9_999)
AFTER = Pair("spark_standby", "spark_standby", NOW - SETTLE_S, NOW - SETTLE_S, "it leaked")
JUST = Pair("spark_standby", "spark_standby", NOW - 1, NOW - 1, "it leaked")
UNTOLD = Pair("spark_standby", "spark", NOW - 9_999, NOW - 9_000, "it leaked")


@pytest.mark.parametrize(
    ("pair", "spark", "standby", "wanted"),
    [
        pytest.param(SETTLED, WELL, OFF, [], id="all-is-well"),
        pytest.param(SETTLED, DOUBTED, OFF, [], id="two-missed-probes-are-no-reason"),
        pytest.param(SETTLED, YOUNG, OFF, [], id="starting"),
        pytest.param(SETTLED, COLD, OFF, [(Do.WARM, "spark")], id="fresh"),
        pytest.param(SETTLED, OFF, OFF, [(Do.START, "spark")], id="down"),
        # Leaking: the other is started, warmed up, used.
        pytest.param(SETTLED, FAT, OFF, [(Do.START, "spark_standby")], id="too-much-memory"),
        pytest.param(SETTLED, BUSY, OFF, [(Do.START, "spark_standby")], id="too-many-sessions"),
        pytest.param(SETTLED, OLD, OFF, [(Do.START, "spark_standby")], id="too-old"),
        pytest.param(SETTLED, FAT, YOUNG, [], id="the-other-is-starting"),
        pytest.param(SETTLED, FAT, COLD, [(Do.WARM, "spark_standby")], id="the-other-is-cold"),
        pytest.param(SETTLED, FAT, WELL, [(Do.SWITCH, "spark_standby")], id="the-other-is-warm"),
        pytest.param(SETTLED, FAT, NEVER, [(Do.STOP, "spark_standby")], id="the-other-never-came"),
        pytest.param(
            Pair("spark", "spark", NOW - 700, NOW - 700),
            FAT,
            FAT,
            [],
            id="an-old-one-leaks-and-still-drains",
        ),
        pytest.param(
            SETTLED,
            FAT,
            replace(FAT, up_s=9),
            [(Do.SWITCH, "spark_standby")],
            id="a-limit-below-what-a-fresh-one-needs",
        ),
        pytest.param(
            SETTLED,
            FAT,
            replace(FAT, up_s=9, warmed=False, sessions=0),
            [(Do.WARM, "spark_standby")],
            id="and-it-is-cold",
        ),
        pytest.param(
            replace(SETTLED, replaced_at=NOW - PAUSE_S + 1), FAT, OFF, [], id="not-again-so-soon"
        ),
        # Hanging: as soon as the other answers.
        pytest.param(SETTLED, HUNG, OFF, [(Do.START, "spark_standby")], id="hung"),
        pytest.param(SETTLED, NEVER, OFF, [(Do.START, "spark_standby")], id="never-came"),
        pytest.param(
            SETTLED,
            HUNG,
            COLD,
            [(Do.WARM, "spark_standby"), (Do.SWITCH, "spark_standby")],
            id="hung-and-the-other-answers",
        ),
        pytest.param(
            replace(JUST, current="spark"),
            HUNG,
            FAT,
            [(Do.SWITCH, "spark_standby")],
            id="hung-while-the-leaking-one-still-drains",
        ),
        pytest.param(SETTLED, HUNG, DOUBTED, [], id="the-other-is-in-doubt-too"),
        # The other does not come up: the hung one is stopped, and then started again.
        pytest.param(
            SETTLED,
            replace(GONE, silent_s=GIVE_UP_AFTER_S - 1),
            OFF,
            [(Do.START, "spark_standby")],
            id="the-other-gets-its-time",
        ),
        pytest.param(SETTLED, GONE, OFF, [(Do.STOP, "spark")], id="the-other-dies-at-once"),
        pytest.param(SETTLED, GONE, YOUNG, [(Do.STOP, "spark")], id="the-other-still-starts"),
        pytest.param(SETTLED, GONE, NEVER, [(Do.STOP, "spark")], id="the-other-never-comes"),
        pytest.param(
            SETTLED, GONE, WELL, [(Do.SWITCH, "spark_standby")], id="it-came-after-all"
        ),
        # Retired: until its sessions are over.
        pytest.param(JUST, IDLE, WELL, [], id="a-task-may-still-come"),
        pytest.param(AFTER, IDLE, WELL, [(Do.STOP, "spark")], id="idle"),
        pytest.param(AFTER, WELL, WELL, [], id="its-runs-go-on"),
        pytest.param(AFTER, replace(FAT, sessions=None), WELL, [], id="it-does-not-say"),
        pytest.param(
            replace(AFTER, published_at=NOW - 3_600, replaced_at=NOW - 3_600),
            WELL,
            WELL,
            [(Do.STOP, "spark")],
            id="drained-too-long",
        ),
        pytest.param(UNTOLD, IDLE, WELL, [], id="airflow-still-sends-runs-there"),
        pytest.param(AFTER, HUNG, WELL, [], id="hung-for-a-moment"),
        pytest.param(AFTER, DEAD, WELL, [(Do.STOP, "spark")], id="hung-for-good"),
        pytest.param(SETTLED, WELL, IDLE, [(Do.STOP, "spark_standby")], id="left-by-a-kill"),
    ],
)  # fmt: skip
def test_what_is_done(pair, spark, standby, wanted):
    actions = decide(pair, {"spark": spark, "spark_standby": standby}, LIMITS, now=NOW)
    assert [(action.do, action.server) for action in actions] == wanted


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (FAT, "memory"),
        (BUSY, "11 sessions"),
        (OLD, "1.0 days"),
        (HUNG, "not answered for 20 s"),
    ],
)
def test_the_reason_names_what_was_seen(seen, words):
    assert words in condition(seen, LIMITS)[1]


def test_a_hung_server_that_answers_again_keeps_its_runs():
    assert condition(HUNG, LIMITS)[0] is Condition.HUNG
    assert condition(replace(HUNG, misses=0), LIMITS)[0] is Condition.HEALTHY


class World:
    """Servers that do what they are told, a moment later; a keeper that may be killed."""

    def __init__(self, spark: Seen) -> None:
        self.pair = SETTLED
        self.seen = {"spark": spark, "spark_standby": OFF}
        self.now = NOW
        self.runs_lost = False

    def turn(self, *, killed_after: int | None = None) -> None:
        actions = decide(self.pair, self.seen, LIMITS, now=self.now)
        for action in actions[:killed_after]:
            self.carry_out(action)
        if killed_after is None and self.pair.published != self.pair.current:
            self.pair = published(self.pair, self.pair.current, now=self.now)
        self.now += 30
        for name, seen in self.seen.items():
            if seen.running and not seen.answered:
                self.seen[name] = replace(seen, misses=0, answered=True, sessions=0, served=0)

    def carry_out(self, action) -> None:
        seen = self.seen[action.server]
        if action.do is Do.START and not seen.running:
            self.seen[action.server] = replace(YOUNG, memory_bytes=500)
        elif action.do is Do.WARM:
            self.seen[action.server] = replace(seen, warmed=True)
        elif action.do is Do.SWITCH:
            self.pair = switched(self.pair, action, now=self.now)
        elif action.do is Do.STOP:
            self.runs_lost = self.runs_lost or bool(seen.sessions)
            self.seen[action.server] = OFF

    def forget(self) -> None:
        """What a killed keeper knew beside its file."""
        self.seen = {n: replace(s, warmed=False) for n, s in self.seen.items()}


@pytest.mark.parametrize("killed_at", range(10))
@pytest.mark.parametrize("done", range(3))
def test_a_keeper_killed_at_any_step_is_followed_by_one_that_goes_on(killed_at, done):
    world = World(FAT)
    for turn in range(30):
        if turn == killed_at:
            world.turn(killed_after=done)
            world.forget()
        else:
            world.turn()
        if turn == 12:  # the long run on the old server ends
            world.seen["spark"] = replace(world.seen["spark"], sessions=0)
    assert world.pair.current == world.pair.published == "spark_standby"
    assert world.seen["spark"] == OFF
    assert world.seen["spark_standby"].answered
    assert not world.runs_lost


@pytest.mark.parametrize("spare", ["dies", "never answers"])
def test_a_hung_server_whose_spare_cannot_come_up_is_started_again(spare):
    """There is memory for one of them only."""
    world = World(replace(HUNG, sessions=None))
    for _ in range(40):
        hung = world.seen["spark"]
        world.turn()
        if world.seen["spark"] == hung and hung.misses:
            world.seen["spark"] = replace(hung, silent_s=hung.silent_s + 30)
        other = world.seen["spark_standby"]
        if world.seen["spark"] != OFF and other.running:
            up_s = other.up_s + 30
            stuck = replace(YOUNG, up_s=up_s, misses=9, silent_s=up_s)
            world.seen["spark_standby"] = OFF if spare == "dies" else stuck
    assert world.pair.current == "spark"
    assert world.seen["spark"].answered
    assert not world.seen["spark"].misses
    assert world.seen["spark_standby"] == OFF
