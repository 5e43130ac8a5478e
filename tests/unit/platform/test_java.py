from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dataharbour.platform.java import VECTOR, ensure_java, find_java, packaged_java, run_java

NOTHING = {"PATH": "/nonexistent"}


def fake_java(home: Path, version: str, *, has_vector: bool = True) -> Path:
    """A program that says of itself what a Java does."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    refuse = "" if has_vector else f'case "$*" in *{VECTOR}*) exit 1;; esac\n'
    program.write_text(
        f"#!/bin/sh\n{refuse}"
        f'echo "    java.home = {home}" >&2\n'
        f'echo "    java.specification.version = {version}" >&2\n'
        f'for a do echo "$a"; done\n'
    )
    program.chmod(0o755)
    return home


def test_java_home_comes_before_the_path(tmp_path):
    one, two = fake_java(tmp_path / "one", "21"), fake_java(tmp_path / "two", "17")
    found = find_java({"JAVA_HOME": str(one), "PATH": f"{two}/bin"}, common_folders=())
    assert found is not None
    assert (found.home, found.version) == (one, 21)
    assert str(found) == f"{one} (version 21)"


@pytest.mark.parametrize("version", ["1.8", "11", "16"])
def test_a_java_that_is_too_old_is_passed_over(tmp_path, version):
    old, new = fake_java(tmp_path / "old", version), fake_java(tmp_path / "new", "17")
    found = find_java({"JAVA_HOME": str(old), "PATH": f"{new}/bin"}, common_folders=())
    assert found is not None
    assert found.home == new


def test_a_java_that_sparks_account_cannot_reach_is_passed_over(tmp_path):
    closed, open_ = fake_java(tmp_path / "root", "21"), fake_java(tmp_path / "usr", "17")
    found = find_java(
        {"JAVA_HOME": str(closed), "PATH": f"{open_}/bin"},
        common_folders=(),
        is_usable=lambda home: home != closed,
    )
    assert found is not None
    assert found.home == open_


def test_a_java_that_does_not_run_is_passed_over(tmp_path):
    broken = tmp_path / "bin" / "java"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    environ = {"JAVA_HOME": str(tmp_path), "PATH": "/nonexistent"}
    assert find_java(environ, common_folders=()) is None


def test_of_the_common_folders_the_oldest_that_fits_is_taken(tmp_path):
    for version in ("11", "25", "17"):
        fake_java(tmp_path / f"jdk {version}", version)
    found = find_java(NOTHING, common_folders=(f"{tmp_path}/*",))
    assert found is not None
    assert found.version == 17


def test_without_any_java_the_packaged_one_is_made_fit_for_spark(tmp_path):
    folder = tmp_path / "java of spark"  # a checkout may lie below a folder with a space
    umask = os.umask(0o077)
    try:
        home = ensure_java(folder, NOTHING, common_folders=())
    finally:
        os.umask(umask)
    assert home == folder
    packaged = packaged_java()
    assert packaged is not None
    assert not packaged.has_vector
    asked = [home / "bin" / "java", VECTOR, "-version"]  # the real one refuses the option
    assert subprocess.run(asked, env={}, capture_output=True, check=True).returncode == 0
    assert run_java(asked[0]) == packaged  # it does not pass for a Java that has the module
    for path in (folder, folder / "bin", folder / "bin" / "java"):
        assert path.stat().st_mode & 0o055 == 0o055  # Spark's account goes through


def test_the_wrapper_runs_with_no_environment_and_drops_one_option_only(tmp_path):
    java = fake_java(tmp_path / "a 'quoted' java", "21", has_vector=False)
    home = ensure_java(
        tmp_path / "wrapper", {"JAVA_HOME": str(java), "PATH": ""}, common_folders=()
    )
    done = subprocess.run(
        [home / "bin" / "java", "-cp", "a b:*", VECTOR, "", "--add-modules=other", "$x"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "-cp\na b:*\n\n--add-modules=other\n$x\n"


def test_a_whole_java_is_used_as_it_is(tmp_path):
    java = fake_java(tmp_path / "java", "17")
    home = ensure_java(
        tmp_path / "wrapper", {"JAVA_HOME": str(java), "PATH": ""}, common_folders=()
    )
    assert home == java
    assert not (tmp_path / "wrapper").exists()
