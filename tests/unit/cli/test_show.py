from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dataharbour.cli import client, show
from dataharbour.cli.main import app
from dataharbour.errors import JobNotFound

TITLE = "\x1b]0;pwned\x07"
HOSTILE = f"{TITLE}\x1b[2Jx\r\x9b31m\u202egnp.exe\x7f"


def commands(text: str) -> set[str]:
    return set(text) & set("\x1b\x07\r\x9b\u202e\x7f")


@pytest.mark.parametrize("text", ["Grüße, naïve 日本 👩‍🚀", "a\nb\tc", ""])
def test_a_text_for_people_stays(text):
    assert show.plain(text) == text


def test_a_cell_of_a_table_commands_no_terminal_and_stays_in_its_line(capsys):
    show.table([("JOB", "DESCRIPTION"), (HOSTILE, "two\nlines\tand a tab")])
    printed = capsys.readouterr().out
    assert not commands(printed)
    assert printed.splitlines()[1].endswith("two lines and a tab")


class Server:
    """Answers with texts of somebody who means ill."""

    def get(self, path: str):
        if path.endswith("nowhere"):
            raise JobNotFound(f"There is no job {HOSTILE}.", "None.")
        return {"name": HOSTILE, "description": f"{HOSTILE}\nSays more.", "params": {"x": HOSTILE}}


@pytest.mark.parametrize("name", ["evil", "nowhere"])
def test_what_is_shown_of_a_job_commands_no_terminal(monkeypatch, name):
    monkeypatch.setattr(client, "load_client", Server)
    shown = CliRunner().invoke(app, ["job", "show", name])
    printed = shown.stdout + shown.stderr
    assert "gnp.exe" in printed
    assert not commands(printed)
