"""Decide which wheels a machine can use, by the tags in their file names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The glibc that each of the old names stands for (PEP 600).
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PLATFORM = re.compile(r"(manylinux_2_(\d+)|manylinux1|manylinux2010|manylinux2014|linux)_(.+)")


@dataclass(frozen=True, slots=True)
class Machine:
    """What wheels are chosen by.

    Attributes:
        python: version of the Python that the environment is made with, e.g. ``(3, 11, 2)``.
        arch: processor as the kernel names it, e.g. ``x86_64``.
        glibc: version of the C library, None where it is another one (musl).
    """

    python: tuple[int, int, int]
    arch: str
    glibc: tuple[int, int] | None


def fits(wheel: str, machine: Machine) -> bool:
    """Whether the wheel with this file name can be installed on `machine` (CPython, Linux)."""
    parts = wheel.removesuffix(".whl").split("-")
    if not wheel.endswith(".whl") or len(parts) < 5:
        return False
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    return any(_platform_fits(tag, machine) for tag in platforms) and any(
        (python, abi) in _interpreter_tags(machine) for python in pythons for abi in abis
    )


def _interpreter_tags(machine: Machine) -> set[tuple[str, str]]:
    return set(_each_interpreter_tag(machine.python[1]))


def _each_interpreter_tag(minor: int) -> Iterator[tuple[str, str]]:
    yield f"cp3{minor}", f"cp3{minor}"
    yield f"cp3{minor}", "none"
    yield "py3", "none"
    for older in range(2, minor + 1):
        yield f"cp3{older}", "abi3"
        yield f"py3{older}", "none"


def _platform_fits(tag: str, machine: Machine) -> bool:
    if tag == "any":
        return True
    match = _PLATFORM.fullmatch(tag)
    if match is None or match[3] != machine.arch or machine.glibc is None:
        return False
    if match[1] == "linux":
        return True
    needed = (2, int(match[2])) if match[2] else _LEGACY[match[1]]
    return machine.glibc >= needed
