from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dataharbour.backup.vault.layers import changes, layers_to_merge, merged

tables = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3))
layers = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 3)), max_size=5
)


def rows(table):
    return [
        {"key": key, "gone": True} if value is None else {"key": key, "value": value}
        for key, value in sorted(table.items())
    ]


def applied(stack):
    """What a stack of layers, the newest first, comes to."""
    table: dict = {}
    for layer in reversed(stack):
        table |= layer
    return {key: value for key, value in table.items() if value is not None}


@given(layers)
def test_of_each_key_the_newest_row_counts(stack):
    assert list(merged([rows(layer) for layer in stack])) == rows(applied(stack))


@given(layers, st.integers(0, 5))
def test_newer_layers_may_be_merged_first(stack, count):
    top = list(merged([rows(layer) for layer in stack[:count]], keep_gone=True))
    together = merged([top, *(rows(layer) for layer in stack[count:])])
    assert list(together) == rows(applied(stack))


@given(tables, tables)
def test_what_is_the_same_is_not_looked_at(before, now):
    found = list(changes(rows(before), rows(now), is_same=lambda a, b: a["value"] == b["value"]))
    expected = [
        (
            {"key": key, "value": before[key]} if key in before else None,
            {"key": key, "value": now[key]} if key in now else None,
        )
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    assert found == expected


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=200))
def test_layers_stay_few_and_what_is_written_stays_in_proportion(news):
    stack: list[int] = []
    written = 0
    for new in news:
        taken = layers_to_merge(stack, new=new)
        stack = [new + sum(stack[:taken]), *stack[taken:]]
        written += stack[0]
    assert all(above * 4 <= below for above, below in pairwise(stack))
    # A row is written anew only into a layer that is larger by a quarter.
    assert written <= sum(news) * (2 + math.log(sum(news), 1.25))
    assert sum(stack) == sum(news)
