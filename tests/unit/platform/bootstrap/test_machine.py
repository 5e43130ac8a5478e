from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dataharbour.platform.bootstrap.checkout import Checkout, State
from dataharbour.platform.bootstrap.checks import Check, memory_bytes
from dataharbour.platform.bootstrap.machine import Facts, judge, observe
from dataharbour.platform.bootstrap.wheels import Machine

ROOT = Path(__file__).resolve().parents[4]
GOOD = Facts(
    python=Path("/usr/bin/python3.11"),
    implementation="CPython",
    lacks=(),
    system="Linux, 64 bit",
    machine=Machine(python=(3, 11, 2), arch="x86_64", glibc=(2, 36)),
    root=Path("/opt/dh"),
    state=State.MISSING,
    refusal="",
    free_bytes=20_000_000_000,
    memory_bytes=8_000_000_000,
)


def failures(facts: Facts, unavailable: tuple[str, ...] = ()) -> list[Check]:
    return [check for check in judge(facts, unavailable) if not check.ok]


def test_a_good_machine_has_no_findings():
    assert failures(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "check", "said"),
    [
        pytest.param(
            replace(GOOD, machine=replace(GOOD.machine, python=(3, 10, 13))),
            "python",
            "Python 3.10.13 at /usr/bin/python3.11 is not one of 3.11 to 3.13",
            id="old-python",
        ),
        pytest.param(
            replace(GOOD, machine=replace(GOOD.machine, python=(3, 14, 0))),
            "python",
            "Python 3.14.0",
            id="new-python",
        ),
        pytest.param(
            replace(GOOD, implementation="PyPy"), "python", "is PyPy, not CPython", id="pypy"
        ),
        pytest.param(
            replace(GOOD, implementation="CPython, free-threaded"),
            "python",
            "free-threaded",
            id="free-threaded",
        ),
        pytest.param(
            replace(GOOD, lacks=("sqlite3", "ssl")), "python", "no module sqlite3, ssl", id="thin"
        ),
        pytest.param(
            replace(GOOD, system="Darwin, 64 bit"), "platform", "Darwin, 64 bit", id="mac"
        ),
        pytest.param(
            replace(GOOD, system="Linux, 32 bit"), "platform", "Linux, 32 bit", id="32-bit"
        ),
        pytest.param(
            replace(GOOD, refusal="/opt/dh cannot be written to (Read-only file system)"),
            "checkout",
            "Read-only file system",
            id="read-only",
        ),
        pytest.param(
            replace(GOOD, state=State.FOREIGN),
            "checkout",
            "/opt/dh/.venv was not made by ./harbour",
            id="foreign",
        ),
        pytest.param(
            replace(GOOD, free_bytes=9_900_000_000),
            "disk",
            "9.9 GB are free at /opt/dh; 10 GB are needed",
            id="no-space",
        ),
    ],
)
def test_what_stops_an_installation_is_named_with_its_value_and_a_remedy(facts, check, said):
    (found,) = failures(facts)
    assert found.id == check
    assert said in found.detail
    assert found.needed
    assert found.remedy


def test_packages_that_a_machine_cannot_have_are_named():
    alpine = replace(GOOD, machine=replace(GOOD.machine, glibc=None))
    (found,) = failures(alpine, ("a 1", "b 2", "c 3", "d 4", "e 5"))
    assert found.id == "platform"
    assert "no glibc" in found.detail
    assert "a 1, b 2, c 3 and 2 more" in found.detail
    assert "not Alpine" in found.remedy


def test_what_was_begun_needs_less_space():
    begun = replace(GOOD, state=State.UNFINISHED, free_bytes=5_000_000_000)
    assert failures(begun) == []
    assert failures(replace(begun, free_bytes=4_100_000_000))


def test_little_memory_is_a_warning():
    (found,) = failures(replace(GOOD, memory_bytes=2_500_000_000))
    assert (found.id, found.needed) == ("memory", False)
    assert "2.5 GB" in found.detail


def test_this_machine_is_seen_without_a_trace():
    before = sorted(path.name for path in ROOT.iterdir())
    facts = observe(Checkout(ROOT))
    assert facts.machine.python >= (3, 11)
    assert facts.free_bytes > 0
    assert sorted(path.name for path in ROOT.iterdir()) == before


@pytest.mark.parametrize(
    ("files", "expected_kb"),
    [
        pytest.param({}, 7000, id="no-container"),
        pytest.param(
            {"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "1"},
            7000,
            id="no-limit",
        ),
        pytest.param(
            {"sys/fs/cgroup/memory.max": "3072000", "sys/fs/cgroup/memory.current": "1024000"},
            2000,
            id="limit",
        ),
        pytest.param(
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2048000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "0",
            },
            2000,
            id="older-limit",
        ),
    ],
)
def test_a_containers_limit_counts(files, expected_kb, tmp_path):
    meminfo = "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 7000 kB\nHugePages_Total: 0\n"
    for name, content in {"proc/meminfo": meminfo, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert memory_bytes(tmp_path) == expected_kb * 1024
