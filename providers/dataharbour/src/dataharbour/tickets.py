"""Tickets that sign somebody in once: made by the command line, taken by the API server.

A ticket stands in a link; the token that it is worth lies in a file (0600) of the state folder
whose name is the ticket's hash, and which is gone as soon as it was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from dataharbour.errors import NotAuthenticated

TICKET_SECONDS = 60


def issue(folder: Path, *, token: str, now: float) -> str:
    """Make a ticket that is worth `token` for one minute.

    Args:
        folder: of the tickets; made where it is missing (0700).
        token: what the ticket is exchanged for.
        now: Unix time.
    """
    ticket = secrets.token_urlsafe(24)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for unused in folder.iterdir():
        with suppress(FileNotFoundError):  # redeemed meanwhile
            if unused.stat().st_mtime < now - TICKET_SECONDS:
                unused.unlink()
    file = os.open(_file(folder, ticket), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump({"token": token, "expires": now + TICKET_SECONDS}, stream)
    return ticket


def redeem(folder: Path, ticket: str, *, now: float) -> str:
    """The token that `ticket` is worth; it is worth nothing afterwards.

    Raises:
        NotAuthenticated: it was never made, was used, or is too old.
    """
    file = _file(folder, ticket)
    mine = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.rename(mine)  # of two who come with the same ticket one finds the file
        content = json.loads(mine.read_text())
        mine.unlink()
    except (OSError, ValueError) as error:
        raise _refusal() from error
    if now > content["expires"]:
        raise _refusal()
    return str(content["token"])


def _file(folder: Path, ticket: str) -> Path:
    return folder / hashlib.sha256(ticket.encode()).hexdigest()


def _refusal() -> NotAuthenticated:
    return NotAuthenticated(
        "This sign-in link was used already, or is older than a minute.",
        "Make a new one: ./harbour open. Or sign in with user and password.",
    )
