"""The first process of a container, run as an ordinary one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dataharbour.jobs.driver import inside


def start(*command: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, inside.__file__, *command]
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param("print('out')", 0, id="well"),
        pytest.param("raise SystemExit(7)", 7, id="its-code"),
        pytest.param("import os; os.kill(os.getpid(), 11)", 139, id="a-signal"),
    ],
)
def test_it_ends_as_its_command_does(source, code):
    with start(sys.executable, "-c", source) as process:
        assert process.wait(20) == code


def test_orphans_of_the_command_do_not_hold_it_up():
    source = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(3)"
    with start(sys.executable, "-c", source) as process:
        assert process.wait(20) == 0


def test_a_command_that_is_not_there_is_named():
    with start("/no/submit") as process:
        assert process.wait(20) == inside.NOT_FOUND
        assert b"/no/submit: No such file or directory" in process.stderr.read()


def test_it_ends_when_the_line_to_whoever_started_it_closes():
    with start(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(5)") as one:
        assert one.stdout.readline() == b"up\n"
        one.stdin.close()
        assert one.wait(4) == inside.LEFT_ALONE


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        pytest.param("low 0\noom_kill 2\n", True, id="killed"),
        pytest.param("low 0\noom_kill 0\n", False, id="not"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_the_kernels_count_tells_of_memory(tmp_path, monkeypatch, counts, told):
    (tmp_path / "memory.events").write_text(counts)
    monkeypatch.setattr(inside, "COUNTS", (str(tmp_path / "memory.events"), "/no/file"))
    assert inside._out_of_memory() is told
