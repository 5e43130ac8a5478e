"""Who may commit and remove in a vault: one at a time, by the vault's own clock.

The epoch only grows. Whoever was stopped for longer than the lease lives finds another epoch when
it wakes, and does nothing more.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any, Self

from dataharbour.errors import DataHarbourError, NotFound, Stale, VaultBusy
from dataharbour.storage.store import ConditionalStore

NAME = "lease.json"
LIVES = timedelta(minutes=5)
_TRIES = 10
_RENEW_S = LIVES.total_seconds() / 5


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to commit.

    Attributes:
        holder: a UUID of this holding.
        purpose: what for, for people.
        epoch: grows with every holder.
        until: by the vault's clock.
    """

    holder: str
    purpose: str
    epoch: int
    until: datetime


class HeldLease:
    """The lease for as long as the context lasts, renewed by a thread.

    Several may hold it for one purpose: the sessions of one point have the same `holder`.

    Args:
        store: the vault's.
        holder: a UUID.
        purpose: what for, for people.
        keep: leave it held when the context ends, for the other sessions of the point.

    Raises:
        VaultBusy: somebody else has it; from `confirm`: it was lost.
    """

    def __init__(
        self,
        store: ConditionalStore,
        *,
        holder: str,
        purpose: str = "a recovery point",
        keep: bool,
    ) -> None:
        self._store = store
        self._keep = keep
        self._lease = acquire(store, holder=holder, purpose=purpose)
        self._lock = Lock()
        self._done = Event()
        self._thread = Thread(target=self._renew, name="vault-lease", daemon=True)

    @property
    def epoch(self) -> int:
        """Of this holding."""
        return self._lease.epoch

    def confirm(self) -> None:
        """See that it is still held, and will be for the next minutes.

        Raises:
            VaultBusy: it was lost.
        """
        with self._lock:
            self._lease = renew(self._store, self._lease)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if not self._keep:
            release(self._store, self._lease)

    def _renew(self) -> None:
        while not self._done.wait(_RENEW_S):
            try:
                self.confirm()
            except VaultBusy:  # whoever is about to commit is told
                return
            except DataHarbourError:  # the store is away; perhaps not for long
                continue


def acquire(store: ConditionalStore, *, holder: str, purpose: str) -> Lease:
    """Take the lease, if nobody else has it; whoever has it already goes on with it.

    Raises:
        VaultBusy: somebody has, and until when.
    """
    now = store.clock()
    try:
        current = store.read_tagged(NAME)
    except NotFound:
        first = Lease(holder, purpose, 1, now + LIVES)
        if store.create(NAME, _written(first)):
            return first
        current = store.read_tagged(NAME)
    held = _parsed(current.data)
    if held.holder == holder and held.until > now:
        return renew(store, held)
    if held.until > now:
        raise VaultBusy(
            f"The vault is in use for {held.purpose} until {held.until.isoformat()} at the least.",
            "Wait until it is done; whoever was killed there loses it at that time.",
        )
    mine = Lease(holder, purpose, held.epoch + 1, now + LIVES)
    try:
        store.replace(NAME, _written(mine), current.tag)
    except Stale as error:
        raise VaultBusy("Somebody else has just taken the vault.", "Try again later.") from error
    return mine


def renew(store: ConditionalStore, lease: Lease) -> Lease:
    """Hold it for longer.

    Raises:
        VaultBusy: it was lost, to whoever came when it had run out.
    """
    return _change(store, lease, replace(lease, until=store.clock() + LIVES))


def release(store: ConditionalStore, lease: Lease) -> None:
    """Give it back; one that was lost is somebody else's affair."""
    with suppress(VaultBusy):
        _change(store, lease, replace(lease, until=store.clock() - timedelta(seconds=1)))


def release_of(store: ConditionalStore, holder: str) -> None:
    """Give it back, if this holder has it."""
    with suppress(NotFound):
        held = _parsed(store.read(NAME))
        if held.holder == holder:
            release(store, held)


def _change(store: ConditionalStore, lease: Lease, to: Lease) -> Lease:
    for _ in range(_TRIES):  # another session of the same point may be renewing it, too
        try:
            current = store.read_tagged(NAME)
            held = _parsed(current.data)
            if (held.holder, held.epoch) != (lease.holder, lease.epoch):
                break
            store.replace(NAME, _written(to), current.tag)
        except NotFound:
            break
        except Stale:
            continue
        return to
    raise VaultBusy(
        "The vault's lease was lost: this process was stopped for longer than it lives.",
        "Nothing was committed; start again.",
    )


def _written(lease: Lease) -> bytes:
    values: dict[str, Any] = {
        "holder": lease.holder,
        "purpose": lease.purpose,
        "epoch": lease.epoch,
        "until": lease.until.isoformat(),
    }
    return json.dumps(values).encode()


def _parsed(data: bytes) -> Lease:
    values = json.loads(data)
    until = datetime.fromisoformat(values["until"])
    return Lease(values["holder"], values["purpose"], int(values["epoch"]), until)
