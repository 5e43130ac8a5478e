"""Write places in JSON values as JSON pointers (RFC 6901). Pure."""

from __future__ import annotations


def step(part: object) -> str:
    """One step of a pointer, its slash included; a long name is cut off.

    >>> "".join(map(step, ["params", "a/b", 0]))
    '/params/a~1b/0'
    """
    name = str(part)[:100].replace("~", "~0").replace("/", "~1")
    return f"/{name}"
