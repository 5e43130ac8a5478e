"""Read the cursors of lists: where the next page begins. Pure."""

from __future__ import annotations

import re
from uuid import UUID

from dataharbour.errors import ConfigError

_EVENT_CURSOR = re.compile(r"[0-9]{1,18}")
_LOG_CURSOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,18})")


def run_cursor(cursor: str) -> UUID:
    """The run after which a page of runs begins.

    Raises:
        ConfigError: no page gave this cursor.
    """
    try:
        return UUID(cursor)
    except ValueError:
        raise _foreign(cursor) from None


def log_cursor(cursor: str) -> tuple[int, int]:
    """The attempt's number and the line after which a page of a log begins.

    Raises:
        ConfigError: no page gave this cursor.
    """
    match = _LOG_CURSOR.fullmatch(cursor)
    if match is None:
        raise _foreign(cursor)
    return int(match[1]), int(match[2])


def event_cursor(cursor: str) -> int:
    """The event after which a page of events begins.

    Raises:
        ConfigError: no page gave this cursor.
    """
    if _EVENT_CURSOR.fullmatch(cursor) is None:
        raise _foreign(cursor)
    return int(cursor)


def _foreign(cursor: str) -> ConfigError:
    return ConfigError(
        f"The cursor {cursor[:60]!r} is not one that a page of this list gave.",
        "Send `next` of the page before, or no cursor for the first page.",
    )
