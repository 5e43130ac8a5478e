"""What writers count on until their point is there: the point before it, and lists of an index.

Nobody removes either while an intent is open. A writer may not delete, so an intent that is done
with says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from dataharbour.errors import Stale
from dataharbour.storage.store import ConditionalStore, Tagged

PREFIX = "intents/"


def write_intent(
    store: ConditionalStore,
    name: str,
    *,
    parent: int | None,
    epoch: int,
    indexes: Sequence[dict[str, Any]],
) -> None:
    """Say what a session counts on; each call replaces what it said before.

    Args:
        store: the vault's.
        name: of the session.
        parent: the number of the point that it builds upon.
        epoch: of its lease.
        indexes: the lists that it has written.
    """
    values = {"parent": parent, "epoch": epoch, "indexes": indexes, "open": True}
    store.put(f"{PREFIX}{name}.json", json.dumps(values).encode())


def left_behind(store: ConditionalStore) -> list[dict[str, Any]]:
    """The lists of all sessions whose point is not there: of those at work, and of the dead."""
    return [each for _, _, values in _open(store) for each in values["indexes"]]


def close_intents(store: ConditionalStore) -> None:
    """What they named is in a point now."""
    for key, intent, values in list(_open(store)):
        try:
            store.replace(key, json.dumps({**values, "open": False}).encode(), intent.tag)
        except Stale:  # somebody else has
            continue


def _open(store: ConditionalStore) -> Iterator[tuple[str, Tagged, dict[str, Any]]]:
    for each in store.objects(PREFIX):
        intent = store.read_tagged(each.key)
        values = json.loads(intent.data)
        if values["open"]:
            yield each.key, intent, values
