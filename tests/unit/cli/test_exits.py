from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataharbour import errors
from dataharbour.cli.exits import Exit, exit_of
from dataharbour.cli.main import app
from dataharbour.platform import preflight
from dataharbour.platform.bootstrap.checks import Check

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


@pytest.fixture
def harbour(no_platform, monkeypatch):
    """Runs a verb where no platform is."""
    monkeypatch.setenv("HARBOUR_HOME", str(no_platform))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.PlatformError, Exit.FAILED),
        (errors.ConfigError, Exit.FAILED),
        (errors.QualityFailed, Exit.RUN_FAILED),
        (errors.NotAuthenticated, Exit.NOT_ALLOWED),
        (errors.Forbidden, Exit.NOT_ALLOWED),
        (errors.RunNotFound, Exit.NOT_FOUND),
        (errors.Unavailable, Exit.UNAVAILABLE),
    ],
)
def test_each_kind_of_error_has_its_code(kind, code):
    assert exit_of(kind("problem", "remedy")) is code


def test_the_page_lists_the_codes():
    listed = re.findall(r"(\d+) ", PAGE.read_text().split("Exit codes:")[1].split("\n\n")[0])
    assert [int(code) for code in listed] == [0, *Exit]


def test_a_log_that_is_not_there_is_not_found(harbour):
    done = harbour("logs", "nosuch")
    assert done.exit_code == Exit.NOT_FOUND
    assert "There is no log of 'nosuch'" in done.stderr
    assert "remedy: " in done.stderr


@pytest.mark.parametrize("verb", ["status", "env", "doctor"])
def test_an_unknown_form_is_wrong_usage_and_nothing_is_done(harbour, verb):
    done = harbour(verb, "-o", "xml")
    assert done.exit_code == Exit.USAGE
    assert "'xml' is not one of 'text', 'json'" in done.stderr
    assert done.stdout == ""


def test_a_platform_that_is_down_is_not_ready(harbour):
    done = harbour("status", "-o", "json")
    assert done.exit_code == Exit.NOT_READY
    assert json.loads(done.stdout)["services"] == []


@pytest.mark.parametrize("verb", [["env"], ["open"], ["job", "list"]])
def test_a_platform_that_does_not_run_does_not_answer(harbour, monkeypatch, verb):
    monkeypatch.delenv("DATAHARBOUR_URL", raising=False)
    monkeypatch.delenv("DATAHARBOUR_TOKEN", raising=False)
    done = harbour(*verb)
    assert done.exit_code == Exit.UNAVAILABLE
    assert "does not run" in done.stderr


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (Check("jars", False, "cannot be had", "-", needed=False), 0),
        (Check("job:broken", False, "no YAML", "-", needed=False), Exit.FAILED),
        (Check("state-folder", False, "not writable", "-"), Exit.FAILED),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_doctor_fails_for_what_the_platform_or_a_job_needs(harbour, monkeypatch, check, code):
    monkeypatch.setattr(preflight, "run", lambda *_, **__: [check])
    monkeypatch.setattr(preflight, "look_further", lambda *_: [])
    done = harbour("doctor")
    assert done.exit_code == code, done.output
    assert check.detail in done.stdout
