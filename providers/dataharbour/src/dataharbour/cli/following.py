"""Follow a run that was started: its log as it grows, why it waits, how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from dataharbour.cli import rows, show
from dataharbour.cli.arguments import segment
from dataharbour.cli.exits import Exit
from dataharbour.errors import JobFailed, Unavailable

if TYPE_CHECKING:
    from dataharbour.cli.client import Client


# What the application did not write: its driver had not begun, or was over.
_NOT_IN_THE_LOG = frozenset({"QUALITY", "CONFIG"})


def started(client: Client, run: Mapping[str, Any], *, follow: bool, as_json: bool) -> None:
    """Say that a run was started; with `follow` print its log, and how it ended.

    Raises:
        JobFailed: it was followed, and did not succeed.
    """
    if not follow:
        if as_json:
            show.json_document(run)
        else:
            sys.stdout.write(f"{run['id']}\n")
            show.say(f"Started {rows.what(run)}. Its log: harbour job logs {run['id']} --follow")
        return
    show.say(f"Started {rows.what(run)}, run {run['id']}.")
    print_log(client, run["id"], write=_say_line if as_json else write_line)
    ended = client.get(f"runs/{run['id']}", wait=60)
    if as_json:
        show.json_document(ended)
    if ended["state"] != "SUCCEEDED":
        failure = ended["failure"] or {"class": "", "message": "no reason was recorded"}
        is_told_whole = failure["class"] in _NOT_IN_THE_LOG
        message = failure["message"] if is_told_whole else _first_line(failure["message"])
        where = (
            f"harbour job show {run['id']}" if is_told_whole else f"harbour job logs {run['id']}"
        )
        raise JobFailed(
            f"The run is {ended['state']}: {failure['class']} {message}",
            f"To see it again: {where}" if is_told_whole else f"Its log: {where}",
        )
    show.say(f"The run succeeded after {ended['duration_s'] or 0:.1f} s.")


def print_log(client: Client, run_id: str, *, write: Callable[[Mapping[str, Any]], None]) -> None:
    """Print the log until the run ends; on Ctrl-C say how to come back."""
    state = None
    try:
        for event in client.events(f"runs/{segment(run_id)}/logs"):
            if event.name == "lines":
                for line in event.data["items"]:
                    write(line)
                sys.stdout.flush()
            elif event.name == "queue":
                show.say(f"-- waiting: {rows.waiting(event.data)}")
            elif event.name == "state" and event.data != state:
                state = event.data
                fine = "" if state["detail"] == state["state"] else f" ({state['detail'].lower()})"
                show.say(f"-- {state['state'].lower()}{fine}")
    except KeyboardInterrupt:
        show.say(f"The run goes on. To follow it again: harbour job logs {run_id} --follow")
        raise typer.Exit(Exit.INTERRUPTED) from None


class Patience:
    """Says why a run cannot be started yet, once for each reason."""

    def __init__(self) -> None:
        self._said: str | None = None

    def __call__(self, why: Unavailable) -> None:
        """Say it, unless it was said last."""
        if why.problem != self._said:
            self._said = why.problem
            show.say(f"{_first_line(why.problem)} Trying again for about a minute.")


def write_line(line: Mapping[str, Any]) -> None:
    """A line of a log, as it is."""
    sys.stdout.write(f"{line['line']}\n")


def write_json(line: Mapping[str, Any]) -> None:
    """A line of a log with its time and stream."""
    sys.stdout.write(json.dumps(line) + "\n")


def _say_line(line: Mapping[str, Any]) -> None:
    sys.stderr.write(f"{line['line']}\n")
    sys.stderr.flush()


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:500]
