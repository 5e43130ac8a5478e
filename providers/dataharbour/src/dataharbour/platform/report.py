"""Show what the platform is doing: a live table on a terminal, plain lines elsewhere.

Writes to standard error: standard output is for data.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_REPEAT_S = 5.0  # a plain line about the same step at most this often
_REMIND_S = 30.0  # and this often, when nothing changes


class Report:
    """Progress of named steps, from several threads."""

    def __init__(self, *, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_live = self._stream.isatty() if live is None else live
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._steps: dict[str, tuple[str, str, float]] = {}  # name -> (state, text, started)
        self._said: dict[str, tuple[str, float]] = {}
        self._live: Live | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the live table up while the block runs."""
        if not self._is_live:
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream)
        with Live(get_renderable=self._table, console=console, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def say(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            if self._live:
                self._live.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)

    def waiting(self, name: str, text: str) -> None:
        """`name` is under way; `text` says what for."""
        self._set(name, "waiting", text)

    def ready(self, name: str, text: str = "ready") -> None:
        """`name` is done."""
        self._set(name, "ready", text)

    def failed(self, name: str, text: str) -> None:
        """`name` will not be done."""
        self._set(name, "failed", text)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the report began."""
        return time.monotonic() - self._began

    def _set(self, name: str, state: str, text: str) -> None:
        now = time.monotonic()
        with self._lock:
            started = self._steps.get(name, ("", "", now))[2]
            self._steps[name] = (state, text, started)
            if self._is_live:
                return
            said, at = self._said.get(name, ("", -_REPEAT_S))
            changed = said != f"{state} {text}"
            is_due = now - at >= (_REPEAT_S if changed else _REMIND_S)
            if is_due if state == "waiting" else changed:
                self._said[name] = (f"{state} {text}", now)
                line = f"[{now - self._began:6.1f} s] {name}: {text}"
                print(line, file=self._stream, flush=True)

    def _table(self) -> RenderableType:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text  # what others say is no markup

        table = Table(box=None, padding=(0, 1), show_header=False)
        with self._lock:
            for name, (state, text, _) in self._steps.items():
                mark: RenderableType = {"ready": "[green]✓", "failed": "[red]✗"}.get(state, "")
                symbol = Spinner("dots") if state == "waiting" else mark
                table.add_row(symbol, Text(name), Text(text[:90]))
        table.add_row("", "", Text(f"{time.monotonic() - self._began:.0f} s", style="dim"))
        return table
