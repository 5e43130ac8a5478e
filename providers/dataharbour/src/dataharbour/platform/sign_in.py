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
from dataharbour.errors import Unavailable
from dataharbour.platform import credentials, jupyter, ports
from dataharbour.platform.environment import environment
from dataharbour.platform.layout import Home
from dataharbour.platform.supervise import Supervisor


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


def make_notebooks_link(home: Home) -> str:
    """The same for JupyterLab.

    Raises:
        Unavailable: it does not run.
    """
    if "notebooks" not in {s.name for s in Supervisor(home).states() if s.state == "running"}:
        raise Unavailable("JupyterLab does not run.", "Start it: ./harbour up --notebooks")
    port = ports.load(home.run / "ports.json")["notebooks"]
    return jupyter.make_link(port, credentials.load(home.secrets).notebooks_token)


def open_link(home: Home, *, notebooks: bool = False) -> None:
    """Print the link; open it where there is a browser, and say how to reach it over SSH."""
    link = make_notebooks_link(home) if notebooks else make_link(home)
    who = "" if notebooks else " as admin"
    sys.stdout.write(f"{link}\n")
    sys.stderr.write(f"The link signs you in{who}, once, within {tickets.TICKET_SECONDS} s.\n")
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
