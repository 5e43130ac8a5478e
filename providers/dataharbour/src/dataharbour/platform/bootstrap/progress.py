"""Tell how long work goes on: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.1
_BAR_WIDTH = 24


class Progress:
    """Writes to standard error, where talk belongs; standard output is for data.

    Args:
        stream: where to write.
        clock: seconds that only grow.
    """

    def __init__(
        self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._label = ""
        self._started = self._shown = clock()
        self._before_bytes = 0  # what an earlier process had done of it
        self._bar_is_open = False

    def say(self, line: str) -> None:
        """Write one line."""
        self._close_bar()
        print(line, file=self._stream, flush=True)

    def show(self, label: str, *, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Tell the state of `label`, if the last time is long enough ago.

        Args:
            label: what is being done; a new one starts the clock.
            done_bytes: what is done.
            total_bytes: what there is to do, 0 where nobody knows.
        """
        now = self._clock()
        if label != self._label:
            self._label, self._started, self._before_bytes = label, now, done_bytes
            self._shown = -math.inf if self._is_terminal else now
        if now - self._shown < (_BAR_EVERY_S if self._is_terminal else _LINE_EVERY_S):
            return
        self._shown = now
        elapsed_s = now - self._started
        rate = (done_bytes - self._before_bytes) / elapsed_s if elapsed_s else 0.0
        text = describe(label, elapsed_s, done_bytes, total_bytes, rate=rate)
        if not self._is_terminal:
            self.say(f"  {text}")
            return
        share = min(done_bytes / total_bytes, 1.0) if total_bytes else 0.0
        bar = f"[{'#' * round(share * _BAR_WIDTH):<{_BAR_WIDTH}}] " if total_bytes else ""
        self._stream.write(f"\r\x1b[K  {bar}{text}")
        self._stream.flush()
        self._bar_is_open = True

    def _close_bar(self) -> None:
        if self._bar_is_open:
            self._stream.write("\r\x1b[K")
            self._bar_is_open = False


def describe(
    label: str, elapsed_s: float, done_bytes: int, total_bytes: int, *, rate: float
) -> str:
    """One line: what, how much of how much, how fast (bytes per second), how long still."""
    if not done_bytes:
        return f"{label}: {duration(elapsed_s)}"
    amount = size(done_bytes) + (f" of {size(total_bytes)}" if total_bytes else "")
    parts = [f"{label}: {amount}"]
    if rate:
        parts.append(f"{size(rate)}/s")
        if total_bytes > done_bytes:
            parts.append(f"{duration((total_bytes - done_bytes) / rate)} left")
    return ", ".join(parts)


def size(count_bytes: float) -> str:
    """Bytes for people, in powers of ten as disks and downloads are sold."""
    return f"{count_bytes / 1e9:.1f} GB" if count_bytes >= 1e9 else f"{count_bytes / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
