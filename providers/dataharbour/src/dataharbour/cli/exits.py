"""The exit codes of the command, and which error leaves with which."""

from __future__ import annotations

from enum import IntEnum

from dataharbour.errors import (
    DataHarbourError,
    Forbidden,
    JobFailed,
    LimitReached,
    NotAuthenticated,
    NotFound,
    Unavailable,
)


class Exit(IntEnum):
    """Exit codes; docs/reference/cli.md lists them."""

    FAILED = 1  # an expected failure, or a request that was refused
    USAGE = 2
    NOT_READY = 3  # `status`
    RUN_FAILED = 4  # the run that was followed did not succeed
    NOT_ALLOWED = 5
    NOT_FOUND = 6
    UNAVAILABLE = 7  # no answer, or too much at once: try again later
    INTERRUPTED = 130


_EXITS = {
    JobFailed: Exit.RUN_FAILED,
    NotAuthenticated: Exit.NOT_ALLOWED,
    Forbidden: Exit.NOT_ALLOWED,
    NotFound: Exit.NOT_FOUND,
    Unavailable: Exit.UNAVAILABLE,
    LimitReached: Exit.UNAVAILABLE,
}


def exit_of(error: DataHarbourError) -> Exit:
    """The code to leave with after `error`.

    >>> exit_of(NotFound("There is no log of 'x'.", "Choose another.")).name
    'NOT_FOUND'
    """
    kinds = (kind for kind in _EXITS if isinstance(error, kind))
    return next((_EXITS[kind] for kind in kinds), Exit.FAILED)
