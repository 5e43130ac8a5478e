"""The shell file `harbour` once its installation is complete."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def harbour(tmp_path):
    """An installed checkout whose Python prints what it was called with."""
    root = tmp_path / "a checkout"
    (root / "providers/dataharbour").mkdir(parents=True)
    installed = root / ".venv/harbour"
    installed.mkdir(parents=True)
    (installed / "checkout").write_text(f"{root}\n")
    for folder in (root, installed):
        (folder / "requirements.txt").write_text("")
    for folder in (root / "providers/dataharbour", installed):
        (folder / "pyproject.toml").write_text("")
    python = root / ".venv/bin/python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nshift 3\nprintf "[%s]" "$@"\n')
    python.chmod(0o755)
    command = shutil.copy(ROOT / "harbour", root / "harbour")
    return lambda *arguments: (
        subprocess.run([command, *arguments], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["up", "--no-tour"], "[up][--no-tour]"),
        (["help"], "[--help]"),
        (["help", "job", "submit"], "[job][submit][--help]"),
        (["logs", "help"], "[logs][help]"),
        (["test", "-k", "two words"], "[test][-k][two words]"),
    ],
)
def test_the_command_is_called_with(harbour, arguments, passed):
    assert harbour(*arguments) == passed


def test_what_was_installed_beside_is_compared_too(harbour, tmp_path):
    root = tmp_path / "a checkout"
    installer = root / "providers/dataharbour/src/dataharbour/platform/bootstrap"
    (root / "requirements-notebooks.txt").write_text("a==1\n")
    assert harbour("status") == "[status]"  # it was never asked for
    (root / ".venv/harbour/requirements-notebooks.txt").write_text("a==1\n")
    assert harbour("status") == "[status]"
    (root / "requirements-notebooks.txt").write_text("a==2\n")
    # The stand-in for Python leaves out what the CLI is called with: -P -m dataharbour.cli.
    assert harbour("status") == "[status]"
    assert not installer.exists()
