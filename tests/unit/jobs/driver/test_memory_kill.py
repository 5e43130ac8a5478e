"""The kernel kills a driver, or a process that it started, for want of memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dataharbour.jobs.model import FailureClass

GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A cgroup of 200 MiB; only root may make one, and only where there is version 1."""
    group = GROUPS / f"dh-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
        with suppress(OSError):  # no swap accounting
            (group / "memory.memsw.limit_in_bytes").write_text(str(200 << 20))
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error.strerror}")
    yield group
    group.rmdir()


def test_a_kill_by_the_kernel_is_told_from_any_other(launch, small_group):
    inside = ["/bin/sh", "-c", f'echo $$ > {small_group}/tasks && exec "$@"', "sh"]
    driver = launch("held = b'x' * (400 << 20)", prefix=inside)
    state = driver.end()
    driver.process.wait(10)
    assert state.exit_code == 137
    assert state.failure.failure_class is FailureClass.OUT_OF_MEMORY
    assert state.failure.message.startswith("The kernel killed the driver for want of memory.")


def test_a_kill_by_somebody_is_not(launch):
    state = launch("import os; os.kill(os.getpid(), 9)").end()
    assert state.failure.failure_class is FailureClass.INFRA
