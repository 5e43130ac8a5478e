"""Notebooks as applications: real kernels, on a real database, without Spark."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.driver.control import Control
from dataharbour.jobs.driver.notebook import _Run
from dataharbour.jobs.model import Detail, FailureClass
from dataharbour.testing.notebooks import notebook, printed

pytest.importorskip("papermill", reason="the extra notebooks is not installed")

SLEEPS = """
    import os, time
    print("pid", os.getpid(), flush=True)
    try:
        time.sleep(60)
    finally:
        open("cleaned-up", "w").close()
"""


@pytest.fixture
def run_notebook(launch, tmp_path):
    """Starts a driver of a notebook; keyword arguments beside `values` go to its spec."""

    def start(source: str, values: dict | None = None, **spec):
        return launch(source, json.dumps(values or {}), name="report.ipynb", **spec)

    return start


def kept(driver) -> bytes:
    content = artifacts.read(driver.artifacts, "notebook.ipynb")
    assert content is not None, list(driver.folder.iterdir())
    return content


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def kernel_of(driver) -> int:
    lines = until(lambda: [line for line in driver.lines() if line.startswith("pid ")])
    return int(lines[0].split()[1])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_notebook_runs_with_its_parameters_and_is_kept(run_notebook):
    source = notebook(
        "import sys; print('month', month, city); print('oops', file=sys.stderr)",
        "month + 1",
        "import ipykernel; print(ipykernel.get_connection_info(unpack=True)['transport'])",
        parameters="month = 1\ncity = None",
    )
    driver = run_notebook(source, {"month": 7, "city": 'New "York"\\n'})
    state = driver.end()
    assert (state.observed, state.failure) == (Detail.SUCCEEDED, None), driver.log()
    # Over ipc: to a port of TCP every user of the machine could listen.
    assert driver.lines() == ['month 7 New "York"\\n', "ipc"]
    assert driver.lines("stderr") == ["oops"]
    executed = json.loads(kept(driver))
    assert [cell["execution_count"] for cell in executed["cells"]] == [1, 2, 3, 4, 5]
    assert executed["cells"][-2]["outputs"][0]["data"]["text/plain"] == ["8"]
    progress = driver.store.get(driver.grant.run_id).progress
    assert progress == {"cells_done": 5, "cells": 5}


def test_a_failing_cell_is_named_and_the_notebook_is_kept(run_notebook):
    driver = run_notebook(notebook("x = 1", "print('before')", "x / 0", "print('never')"))
    state = driver.end()
    assert (state.observed, state.exit_code) == (Detail.FAILED, 1)
    assert state.failure.failure_class is FailureClass.USER_ERROR
    first, *rest = state.failure.message.splitlines()
    assert first == "ZeroDivisionError: division by zero (cell 3)"
    assert any("x / 0" in line for line in rest)
    assert not any("IPython" in line for line in [*rest, *driver.lines("stderr")])
    executed = kept(driver)
    assert b"ZeroDivisionError" in executed
    assert printed(executed) == "before\n"


def test_the_cause_behind_an_exception_is_found_as_in_other_applications(run_notebook):
    driver = run_notebook(
        notebook("""
            try:
                int("seven")
            except ValueError as error:
                raise RuntimeError("row 3 is bad") from error
        """)
    )
    first, second, *_ = driver.end().failure.message.splitlines()
    assert first == "ValueError: invalid literal for int() with base 10: 'seven' (cell 1)"
    assert second == "raised as: RuntimeError: row 3 is bad"


@pytest.mark.parametrize(
    ("cell", "failure_class", "message"),
    [
        ("import os; os._exit(3)", "USER_ERROR", "ended with exit code 3 (cell 1)."),
        ("import os; os.kill(os.getpid(), 9)", "INFRA", "(signal 9), not by us (cell 1)."),
        ("x = (", "USER_ERROR", "SyntaxError: "),
    ],
)
def test_every_other_end_of_a_cell_has_its_reason(run_notebook, cell, failure_class, message):
    state = run_notebook(notebook(cell)).end()
    assert state.observed is Detail.FAILED
    assert state.failure.failure_class == failure_class
    assert message in state.failure.message.splitlines()[0]


def test_a_notebook_may_leave_early(run_notebook):
    driver = run_notebook(notebook("print('a')", "import sys; sys.exit(0)", "print('never')"))
    assert driver.end().observed is Detail.SUCCEEDED
    assert driver.lines() == ["a"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{}", "it is no notebook of format 4"),
        ("no json", "it is no notebook of format 4"),
        (notebook("1", language="R"), "it is a notebook of R; jobs run Python"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(run_notebook, source, why):
    state = run_notebook(source).end()
    assert state.failure.failure_class is FailureClass.CONFIG
    assert state.failure.message == f"report.ipynb: {why}"


def test_a_notebook_that_was_changed_after_the_submission_is_not_run(run_notebook):
    driver = run_notebook(notebook("print('never')"), sha256="0" * 64)
    assert driver.end().failure.failure_class is FailureClass.CONFIG
    assert driver.lines() == []
    assert artifacts.listed(driver.artifacts) == []


def test_a_timeout_interrupts_the_cell_and_keeps_what_was_done(run_notebook):
    driver = run_notebook(notebook("print('first')", SLEEPS), timeout_s=6, grace_s=8)
    state = driver.end(timeout_s=40)
    assert state.observed is Detail.TIMED_OUT
    assert (driver.folder / "work" / "cleaned-up").exists()
    executed = kept(driver)
    assert printed(executed).startswith("first\n")
    assert b"KeyboardInterrupt" in executed
    assert is_gone(kernel_of(driver))


@pytest.mark.parametrize("whom", ["supervisor", "child"])
def test_a_killed_driver_takes_its_kernel_along_and_the_notebook_stays(run_notebook, whom):
    driver = run_notebook(notebook("print('first')", SLEEPS))
    kernel = kernel_of(driver)
    child = int(Path(f"/proc/{kernel}/stat").read_text().rpartition(")")[2].split()[1])
    until(lambda: b"running" in (artifacts.read(driver.artifacts, "notebook.ipynb") or b""))
    os.kill(driver.process.pid if whom == "supervisor" else child, signal.SIGKILL)
    until(lambda: is_gone(kernel))
    assert printed(kept(driver)).startswith("first\n")


def test_secrets_are_in_no_output_that_is_kept(run_notebook):
    cell = """
        import os
        token = os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"]
        print(token, "d4tabase")
        token
    """
    driver = run_notebook(
        notebook(cell, "raise RuntimeError(token + 'd4tabase')"),
        environment={
            "PATH": os.environ["PATH"],
            "SPARK_CONNECT_AUTHENTICATE_TOKEN": "t0ken",
        },
        secrets=["t0ken", "d4tabase"],
    )
    message = driver.end().failure.message
    executed = kept(driver).decode().replace(json.dumps(cell), "")
    assert "t0ken" not in message + executed
    # The source of a cell is not ours to keep secret, but it is cleaned all the same.
    assert "d4tabase" not in message + executed
    assert printed(executed) == "*** ***\n"


def test_outputs_beyond_the_limit_are_left_out_and_the_run_goes_on(tmp_path, capsys):
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    run = _Run("report.ipynb", b"", Control(str(tmp_path / "control")), attempt)
    run.write("small", "")
    for _ in range(2):
        run.write("x" * (artifacts.MAX_BYTES + 1), "")
    assert artifacts.read(attempt / artifacts.FOLDER, "notebook.ipynb") == b"small"
    said = "The outputs are over 32 MiB: the notebook is kept as it was before them.\n"
    assert capsys.readouterr().err == said


def test_without_the_extra_the_run_says_what_to_install(run_notebook, tmp_path):
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "papermill.py").write_text("raise ModuleNotFoundError('gone', name='papermill')")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(hiding)}
    state = run_notebook(notebook("1"), environment=environment).end()
    assert state.failure.failure_class is FailureClass.CONFIG
    assert "papermill is not installed" in state.failure.message
    assert "./harbour up --notebooks" in state.failure.message


_PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
_VALUES = st.recursive(
    _PLAIN | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=_VALUES)
def test_no_value_of_a_parameter_is_code(value):
    from papermill.translators import papermill_translators

    source = papermill_translators.find_translator("python3", "python").codify({"x": value}, "")
    found: dict = {}
    exec(source, found)
    assert found["x"] == value
