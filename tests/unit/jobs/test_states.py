from __future__ import annotations

import re

import psycopg
import pytest

from dataharbour.errors import Conflict
from dataharbour.jobs.model import STATE_OF, Detail, State
from dataharbour.jobs.states import (
    TERMINAL,
    TRANSITIONS,
    check_transition,
    details_of,
    terminal,
)


def test_every_state_has_a_place_in_the_table_and_a_word_for_people():
    assert set(TRANSITIONS) == set(STATE_OF) == set(Detail)


@pytest.mark.parametrize("detail", sorted(TERMINAL))
def test_terminal_is_final(detail):
    assert terminal(detail)
    for new in Detail:
        with pytest.raises(Conflict, match=f"is {detail} and stays so"):
            check_transition(detail, new)


@pytest.mark.parametrize("detail", sorted(set(Detail) - TERMINAL))
def test_every_other_state_can_come_to_an_end(detail):
    seen, waiting = {detail}, [detail]
    while waiting:
        fresh = TRANSITIONS[waiting.pop()] - seen
        seen |= fresh
        waiting += fresh
    ends = {Detail.SUCCEEDED, Detail.FAILED, Detail.CANCELLED}
    if detail is Detail.FINALIZING:  # some of its tables may be published
        ends.remove(Detail.CANCELLED)
    assert ends == seen & {*ends, Detail.CANCELLED}


def test_user_code_runs_only_after_a_submission():
    before = {old for old in Detail if Detail.RUNNING in TRANSITIONS[old]}
    assert before == {Detail.SUBMITTING, Detail.SUBMITTED, Detail.LOST}


def test_success_comes_only_from_a_run_that_ran():
    before = {old for old in Detail if Detail.SUCCEEDED in TRANSITIONS[old]}
    assert before == {Detail.RUNNING, Detail.FINALIZING}


def test_a_refused_change_says_what_is_possible():
    with pytest.raises(Conflict, match="QUEUED cannot become SUCCEEDED") as caught:
        check_transition(Detail.QUEUED, Detail.SUCCEEDED)
    assert "SUBMITTING" in caught.value.remedy


def test_the_words_cover_every_fine_state_once():
    covered = [detail for state in State for detail in details_of(state)]
    assert sorted(covered) == sorted(Detail)


def test_the_table_of_runs_knows_the_same_states(database):
    with psycopg.connect(database) as connection:
        query = "select pg_get_constraintdef(oid) from pg_constraint where conname = %s"
        [text] = connection.execute(query, ["run_detail_check"]).fetchone()
        [claim] = connection.execute(
            "select prosrc from pg_proc where oid = to_regproc('driver.claim')"
        ).fetchone()
    assert set(re.findall("'([A-Z_]+)'", text)) == set(Detail)
    [claimed] = re.findall(r"detail in \((.*?)\)", claim)
    assert set(re.findall("'([A-Z_]+)'", claimed)) == {
        detail for detail in Detail if Detail.RUNNING in TRANSITIONS[detail]
    }
