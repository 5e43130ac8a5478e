from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.lock import (
    File,
    Requirement,
    Selection,
    applies,
    parse_requirements,
    select,
)
from dataharbour.platform.bootstrap.machine import OLDEST_GLIBC
from dataharbour.platform.bootstrap.wheels import Machine

ROOT = Path(__file__).resolve().parents[4]
A, B = "a" * 64, "b" * 64


def environment(version: str) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "sys_platform": "linux",
    }


def machine(minor: int, *, arch: str = "x86_64", glibc: str | None = OLDEST_GLIBC) -> Machine:
    numbers = tuple(int(part) for part in glibc.split(".")) if glibc else None
    return Machine(python=(3, minor, 4), arch=arch, glibc=numbers)  # type: ignore[arg-type]


def select_all(chosen: Machine) -> Selection:
    """Of the real lock."""
    return select(
        parse_requirements((ROOT / "requirements.txt").read_text()),
        (ROOT / "uv.lock").read_text(),
        chosen,
        environment(".".join(map(str, chosen.python))),
    )


def test_a_pin_is_read_with_its_condition_and_all_hashes():
    text = (
        "# a comment\n"
        f"one==1.0 ; python_version < '3.12' \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f"two[extra]==2.0 \\\n    --hash=sha256:{A}\n"
    )
    assert parse_requirements(text) == [
        Requirement("one", "1.0", "python_version < '3.12'", frozenset({A, B})),
        Requirement("two", "2.0", "", frozenset({A})),
    ]


def test_a_requirement_is_written_as_it_was_read():
    once = parse_requirements((ROOT / "requirements.txt").read_text())
    assert parse_requirements("".join(f"{each}\n" for each in once)) == once


@pytest.mark.parametrize(
    "line",
    ["one==1.0", "one>=1.0 --hash=sha256:" + A, "-e .", "https://host/one.whl --hash=sha256:" + A],
)
def test_a_line_that_pins_nothing_is_refused(line):
    with pytest.raises(PlatformError, match="not a pin with hashes"):
        parse_requirements(line)


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("", True),
        ("python_full_version < '3.12'", True),
        ("python_full_version >= '3.9'", True),  # 3.11 is newer, though "3.1" < "3.9"
        ("python_full_version < '3.11.5'", True),
        ("python_full_version == '3.11.*'", True),
        ("python_full_version == '3.1.*'", False),
        ("python_full_version == '3.12.*'", False),
        ("sys_platform == 'win32'", False),
        ("sys_platform != 'win32' and platform_system == 'Linux'", True),
        ("sys_platform == 'win32' or platform_machine == 'x86_64'", True),
        ("(sys_platform == 'win32' or os_name == 'posix') and python_version > '3.11'", False),
    ],
)
def test_markers_hold_as_pep_508_says(marker, holds):
    assert applies(marker, environment("3.11.2")) is holds


@pytest.mark.parametrize("marker", ["__import__('os')", "unknown == '1'", "os_name"])
def test_what_is_no_known_marker_is_refused(marker):
    with pytest.raises(ValueError, match="Unknown marker"):
        applies(marker, environment("3.11.2"))


def locked(name: str, *, wheels: list[str], sdist: str = "") -> str:
    def entry(file: str) -> str:
        size = 10 * len(file)
        return f'{{ url = "https://host/{file}", hash = "sha256:{A}", size = {size} }}'

    source = f"sdist = {entry(sdist)}\n" if sdist else ""
    listed = ", ".join(entry(wheel) for wheel in wheels)
    return f'[[package]]\nname = "{name}"\nversion = "1.0"\n{source}wheels = [{listed}]\n'


ONE = [Requirement("one", "1.0", "", frozenset({A}))]


def test_of_the_wheels_that_fit_the_largest_counts():
    small, large = "one-1.0-py3-none-any.whl", "one-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    other = "one-1.0-cp313-cp313-manylinux_2_28_x86_64_and_much_longer.whl"
    lock = locked("one", wheels=[small, large, other])
    selection = select(ONE, lock, machine(11), environment("3.11.4"))
    assert [file.name for file in selection.files.values()] == [large]
    assert selection.size_bytes == 10 * len(large)


def test_a_package_without_wheels_is_built():
    lock = locked("one", wheels=[], sdist="one-1.0.tar.gz")
    selection = select(ONE, lock, machine(11), environment("3.11.4"))
    assert [file.name for file in selection.files.values()] == ["one-1.0.tar.gz"]


def test_a_package_with_wheels_for_other_machines_is_not_built():
    lock = locked("one", wheels=["one-1.0-py3-none-win_amd64.whl"], sdist="one-1.0.tar.gz")
    assert select(ONE, lock, machine(11), environment("3.11.4")).unavailable == ("one 1.0",)


def test_two_locks_that_are_not_in_step_are_told_apart_from_a_bad_machine():
    lock = locked("two", wheels=["two-1.0-py3-none-any.whl"])
    with pytest.raises(PlatformError, match=r"not in step.*one 1\.0"):
        select(ONE, lock, machine(11), environment("3.11.4"))


@pytest.mark.parametrize("minor", [11, 12, 13])
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_the_real_lock_has_everything_for_the_machines_that_are_promised(minor, arch):
    selection = select_all(machine(minor, arch=arch))
    assert selection.unavailable == ()
    assert 0.6e9 < selection.size_bytes < 1.2e9


@pytest.mark.parametrize(
    ("minor", "arch", "glibc"),
    [(11, "x86_64", "2.27"), (13, "x86_64", None), (12, "armv7l", "2.36"), (14, "x86_64", "2.36")],
)
def test_the_real_lock_lacks_something_for_other_machines(minor, arch, glibc):
    assert select_all(machine(minor, arch=arch, glibc=glibc)).unavailable


def test_what_two_lists_have_in_common_counts_once():
    def listed(*names):
        return {Requirement(n, "1", m, frozenset({A})): File(f"{n}.whl", 10, A) for n, m in names}

    first = Selection(listed(("a", ""), ("b", "os_name == 'posix'")), ("gone 1",))
    both = first.joined(Selection(listed(("b", ""), ("c", "")), ("gone 1", "away 2")))
    assert [each.name for each in both.files] == ["a", "b", "c"]
    assert both.size_bytes == 30
    assert both.unavailable == ("gone 1", "away 2")
