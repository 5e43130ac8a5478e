"""The manifest of a source, as layers: the newest holds what has changed since the one before.

Rows are sorted by their key, one row a key in a layer; a row that says ``gone`` takes the key
away. What a point writes is so in proportion to what changed, and reading is a merge of few sorted
files. Pure: rows come and go as iterators.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, groupby
from operator import itemgetter
from typing import Any

Row = dict[str, Any]
_PLACE = itemgetter(0, 1)


def merged(layers: Sequence[Iterable[Row]], *, keep_gone: bool = False) -> Iterator[Row]:
    """The rows of several layers as one, of each key the newest.

    Args:
        layers: the newest first, each sorted by key.
        keep_gone: rows of what is gone, too, for a layer above older ones.
    """
    rows = heapq.merge(*map(_numbered, layers, count()), key=_PLACE)
    for _, same in groupby(rows, key=itemgetter(0)):
        row = next(same)[2]
        if keep_gone or not row.get("gone"):
            yield row


def changes(
    before: Iterable[Row], now: Iterable[Row], *, is_same: Callable[[Row, Row], bool]
) -> Iterator[tuple[Row | None, Row | None]]:
    """What is to be looked at: pairs of the row that was and of the one found now.

    (None, found) is new, (was, None) is gone, (was, found) has changed; what is the same is left
    out. Both sides are sorted by key, and each key is there once.
    """
    rows = heapq.merge(_numbered(before, 0), _numbered(now, 1), key=_PLACE)
    for _, pair in groupby(rows, key=itemgetter(0)):
        sides: list[Row | None] = [None, None]
        for _, side, row in pair:
            sides[side] = row
        was, found = sides
        if was is None or found is None or not is_same(was, found):
            yield was, found


def layers_to_merge(rows: Sequence[int], *, new: int) -> int:
    """How many of the newest layers a new one takes in, so that reading stays a merge of few.

    A layer is taken in when the one above it has more than a quarter of its rows.

    Args:
        rows: of each layer, the newest first.
        new: rows of the new layer.

    >>> layers_to_merge([10, 1_000], new=20), layers_to_merge([10, 40], new=20)
    (1, 2)
    """
    taken, size = 0, new
    for each in rows:
        if size * 4 <= each:
            break
        taken, size = taken + 1, size + each
    return taken


def _numbered(rows: Iterable[Row], number: int) -> Iterator[tuple[str, int, Row]]:
    return ((row["key"], number, row) for row in rows)
