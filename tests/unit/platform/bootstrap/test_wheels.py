from __future__ import annotations

import pytest

from dataharbour.platform.bootstrap.wheels import Machine, fits

DEBIAN = Machine(python=(3, 11, 2), arch="x86_64", glibc=(2, 36))
ALPINE = Machine(python=(3, 11, 2), arch="x86_64", glibc=None)


@pytest.mark.parametrize(
    "wheel",
    [
        "a-1.0-py3-none-any.whl",
        "a-1.0-py2.py3-none-any.whl",
        "a-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "a-1.0-cp39-abi3-manylinux_2_34_x86_64.whl",
        "a-1.0-1build-py3-none-linux_x86_64.whl",
        "a-1.0-py311-none-any.whl",
    ],
)
def test_a_wheel_for_this_python_and_library_fits(wheel):
    assert fits(wheel, DEBIAN)


@pytest.mark.parametrize(
    ("wheel", "why"),
    [
        ("a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", "newer Python"),
        ("a-1.0-cp310-cp310-manylinux_2_28_x86_64.whl", "older Python, not abi3"),
        ("a-1.0-cp312-abi3-manylinux_2_28_x86_64.whl", "abi3 of a newer Python"),
        ("a-1.0-cp311-cp311t-manylinux_2_28_x86_64.whl", "free-threaded"),
        ("a-1.0-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", "PyPy"),
        ("a-1.0-py2-none-any.whl", "Python 2"),
        ("a-1.0-cp311-cp311-manylinux_2_37_x86_64.whl", "newer glibc"),
        ("a-1.0-cp311-cp311-manylinux_2_28_aarch64.whl", "other processor"),
        ("a-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", "other C library"),
        ("a-1.0-cp311-cp311-macosx_11_0_arm64.whl", "other system"),
        ("a-1.0.tar.gz", "no wheel"),
    ],
)
def test_a_wheel_for_another_machine_does_not(wheel, why):
    assert not fits(wheel, DEBIAN), why


def test_without_glibc_only_pure_wheels_fit():
    assert fits("a-1.0-py3-none-any.whl", ALPINE)
    assert not fits("a-1.0-py3-none-manylinux_2_5_x86_64.whl", ALPINE)
