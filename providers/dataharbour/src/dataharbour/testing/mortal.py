"""A process that dies at a chosen call to something outside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Life:
    """So many more steps, then the process dies: before the last one, or right after it.

    Whatever is called after that does nothing: the dead do not go on.
    """

    def __init__(self, steps: int, *, afterwards: bool) -> None:
        self._left = steps
        self._afterwards = afterwards
        self._lock = Lock()

    def step(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make one call, unless it is one too many."""
        with self._lock:
            left, self._left = self._left, self._left - 1
        if left < 0 or (left == 0 and not self._afterwards):
            raise Killed
        try:
            return call(*args, **kwargs)
        finally:
            if left == 0:
                raise Killed


class Mortal:
    """Hands calls on to `part`; each is a step of `life`, and each key that is deleted."""

    def __init__(self, part: Any, life: Life) -> None:
        self._part = part
        self._life = life

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One step."""
        return self._life.step(self._part, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """A member of the part, whose calls are steps, too."""
        member = getattr(self._part, name)
        return type(self)(member, self._life) if callable(member) else member

    def delete(self, keys: Iterable[str]) -> None:
        """A step for each key."""
        for key in keys:
            self._life.step(self._part.delete, [key])
