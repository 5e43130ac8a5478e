"""Ask a question of the world outside at most every two seconds, however many want to know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

ANSWER_TTL_S = 2.0


class Remembered(Generic[T]):
    """The answer to one question, asked by one thread at a time.

    Args:
        ask: gives the answer; may be slow. What it raises is not remembered.
        clock: seconds that only grow.
    """

    def __init__(
        self, ask: Callable[[], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = threading.Lock()
        self._known: tuple[T, float] | None = None

    def __call__(self) -> T:
        """The answer, of this moment or one a little earlier."""
        with self._asking:
            if self._known is None or self._clock() - self._known[1] > ANSWER_TTL_S:
                self._known = (self._ask(), self._clock())
            return self._known[0]
