"""Decide whether a change may be, by the headers If-Match and If-None-Match (RFC 9110). Pure."""

from __future__ import annotations

import re

from dataharbour.api.problems import InvalidRequest, PreconditionRequired
from dataharbour.errors import Stale

_TAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')
_READ = "Read it again (GET), and send the change with the ETag of that answer as If-Match."


def check_change(
    what: str, current: str | None, *, if_match: str | None, if_none: str | None
) -> None:
    """Refuse a change that was meant for something else than what is there.

    Args:
        what: the thing, for people: ``the job x``.
        current: its entity tag, or None when there is none.
        if_match: the header, or None.
        if_none: the header If-None-Match, or None; only ``*`` (create only) has a meaning.

    Raises:
        InvalidRequest: a header is none of its kind.
        Stale: it is not, or no more, what the caller wants to change.
        PreconditionRequired: it is there, and the caller does not say to know it.
    """
    wanted = tags("If-Match", if_match)
    if if_none is not None and if_none.strip() != "*":
        raise InvalidRequest(
            "If-None-Match: only * is understood here.", "Send *, or leave it out."
        )
    if if_none is not None and current is not None:
        raise Stale(f"{what} is there already (ETag {current}).", _READ)
    if wanted is not None and (current is None or (wanted and current not in wanted)):
        now = "is not there" if current is None else f"has the ETag {current} by now"
        raise Stale(f"{what} {now}.", _READ)
    if wanted is None and current is not None:
        raise PreconditionRequired(
            f"{what} is there already; a change must say which version it is meant for.", _READ
        )


def tags(header: str, value: str | None) -> set[str] | None:
    """The tags of a header (weak ones match nothing); empty for ``*``, None for no header.

    Raises:
        InvalidRequest: it is no list of ETags.
    """
    if value is None:
        return None
    if value.strip() == "*":
        return set()
    given = [each.strip() for each in value.split(",")]
    if not all(_TAG.fullmatch(each.removeprefix("W/")) for each in given):
        raise InvalidRequest(f"{header} holds no list of ETags.", 'E.g. "3".')
    return set(given)
