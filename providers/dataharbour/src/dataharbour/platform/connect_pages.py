"""Read from a Connect server's page how many sessions it has: no call of its protocol tells.

Pure. The page is that of the pinned Spark release; a test holds it against a real server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPEN = re.compile(r"(\d+)\s+session\(s\) are online,\s+running\s+(\d+)\s+Request\(s\)")
_SERVED = re.compile(r"Session Statistics \((\d+)\)")


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of a server.

    Attributes:
        open: that have not ended.
        running: operations that run now.
        served: since the server's start, as far as it remembers (3,000).
    """

    open: int
    running: int
    served: int


def read_sessions(page: str) -> Sessions:
    """The figures on ``/connect/``.

    Raises:
        ValueError: that is not the page.
    """
    found, served = _OPEN.search(page), _SERVED.search(page)
    if found is None:
        raise ValueError("the page of Spark Connect has no figures")
    return Sessions(int(found[1]), int(found[2]), int(served[1]) if served else 0)
