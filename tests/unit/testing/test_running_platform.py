from __future__ import annotations

import json
import sys

import pytest

from dataharbour.testing import running_platform
from dataharbour.testing.running_platform import neutral_environment, run_harbour


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program in the place of Python and so of `harbour`, which runs this shell text."""

    def install(text: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return install


@pytest.mark.parametrize(
    "name", ["HARBOUR_VAULT_DIR", "DATAHARBOUR_URL", "AIRFLOW_HOME", "AWS_PROFILE", "PGHOST"]
)
def test_what_a_developer_has_set_for_another_platform_is_dropped(stand_in, monkeypatch, name):
    monkeypatch.setenv(name, "of another")
    stand_in("env")
    assert "of another" not in run_harbour(running_platform.Path("/of/mine"), "up").stdout
    assert name not in neutral_environment()
    assert "PATH" in neutral_environment()


def test_a_platform_that_cannot_be_destroyed_fails_the_tests(stand_in):
    stand_in(f"""case "$*" in *destroy*) exit 1 ;; *env*) echo '{json.dumps({})}' ;; esac""")
    with (
        pytest.raises(RuntimeError, match="harbour destroy"),
        running_platform.running_platform(),
    ):
        pass
