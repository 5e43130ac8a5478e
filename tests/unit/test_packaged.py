"""The data that belongs to the code is found in a checkout and in a wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dataharbour.packaged import read_packaged

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
DATA = sorted(
    str(path.relative_to(INCLUDE))
    for folder in ("schemas", "spark", "sql")
    for path in (INCLUDE / folder).rglob("*")
    if path.is_file()
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as its users install it, unpacked; the checkout is not beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT / "providers/dataharbour",
        check=True,
        capture_output=True,
    )
    [built] = folder.glob("*.whl")
    zipfile.ZipFile(built).extractall(folder / "unpacked")
    return folder / "unpacked"


def test_a_checkout_has_it_in_include():
    assert {name: read_packaged(name) for name in DATA} == {
        name: (INCLUDE / name).read_text() for name in DATA
    }


def test_a_wheel_has_it_inside(wheel):
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]);"
        "import dataharbour.packaged as p;"
        "print(json.dumps([p.__file__, {n: p.read_packaged(n) for n in sys.argv[2:]}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(wheel), *DATA],
        check=True,
        capture_output=True,
        text=True,
    )
    module, texts = json.loads(done.stdout)
    assert Path(module).is_relative_to(wheel)
    assert texts == {name: (INCLUDE / name).read_text() for name in DATA}
