"""Bound how many requests of one user wait for news, and give the place back whatever happens.

They hold no thread, but a connection and a look at the database each second or two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dataharbour.api.problems import problem_response
from dataharbour.errors import LimitReached


class Places:
    """The event streams and waits of this process, by user. Used in the event loop alone."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def taken_by(self, user: str) -> int:
        """How many a user holds."""
        return self._taken[user]

    @contextmanager
    def take(self, user: str, *, at_most: int) -> Iterator[None]:
        """Hold a place.

        Raises:
            LimitReached: the user holds `at_most` already (0: there is no limit).
        """
        if at_most and self.taken_by(user) >= at_most:
            raise LimitReached(
                f"{user!r} has {at_most} event streams and waiting requests open already.",
                "Close one of them, or ask without waiting (GET runs/ID, GET runs/ID/logs with "
                "`cursor`). The limit is the setting [dataharbour] max_streams_per_user.",
            )
        self._taken[user] += 1
        try:
            yield
        finally:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]


class BoundedStream(StreamingResponse):
    """A stream that holds a place while it is sent; without one it answers 429.

    Args:
        content: what is sent.
        places: of this process.
        user: who reads.
        at_most: how many streams a user may read.
        options: those of a response.
    """

    def __init__(
        self,
        content: AsyncIterator[str],
        *,
        places: Places,
        user: str,
        at_most: int,
        **options: Any,
    ) -> None:
        super().__init__(content, **options)
        self._places, self._user, self._at_most = places, user, at_most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or why not."""
        try:
            with self._places.take(self._user, at_most=self._at_most):
                await super().__call__(scope, receive, send)
        except LimitReached as error:
            await problem_response(error)(scope, receive, send)
