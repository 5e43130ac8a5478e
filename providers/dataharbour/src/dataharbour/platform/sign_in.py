"""A link that signs a person in once, without typing the generated password."""

from __future__ import annotations

import os
import socket
import sys
import time
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit

from dataharbour import tickets
from dataharbour.platform.environment import environment
from dataharbour.platform.layout import Home


def make_link(home: Home) -> str:
    """Make a ticket and return the address that takes it.

    Raises:
        Unavailable: the platform does not run.
    """
    variables = environment(home)
    ticket = tickets.issue(
        home.run / "tickets", token=variables["DATAHARBOUR_TOKEN"], now=time.time()
    )
    return f"{variables['DATAHARBOUR_URL']}/sign-in?ticket={ticket}"


def open_link(home: Home) -> None:
    """Print the link; open it where there is a browser, and say how to reach it over SSH."""
    link = make_link(home)
    sys.stdout.write(f"{link}\n")
    sys.stderr.write(f"The link signs you in as admin, once, within {tickets.TICKET_SECONDS} s.\n")
    hint = ssh_hint(link)
    if hint:
        sys.stderr.write(hint + "\n")
    elif os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(link)


def ssh_hint(url: str) -> str | None:
    """The `ssh -L` line for somebody who is here over SSH, or None."""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if not connection:
        return None
    port = urlsplit(url).port
    server, ssh_port = connection[2:4] if len(connection) == 4 else (socket.getfqdn(), "22")
    option = "" if ssh_port == "22" else f" -p {ssh_port}"
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or Path.home().name
    return (
        "You are here over SSH: run this on your own machine first, then open the link there:\n"
        f"  ssh -N{option} -L {port}:127.0.0.1:{port} {user}@{server}"
    )
