"""Which archive of classes belongs to which Java and Spark; tests/contract/jobs has a real one."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from dataharbour.jobs.backends.class_archive import ClassArchive, make


@pytest.fixture
def archive(tmp_path) -> ClassArchive:
    """One whose spark-submit is a script that this test writes."""
    java, spark = tmp_path / "java", tmp_path / "pyspark"
    (spark / "jars").mkdir(parents=True)
    (spark / "bin").mkdir()
    java.mkdir()
    (java / "release").write_text('JAVA_VERSION="17.0.15"\n')
    (spark / "jars" / "spark-core.jar").write_bytes(b"jar")
    submits(spark, 'echo x > "${flags##*=}"')
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "s3a.jar").write_bytes(b"jar")
    defaults = tmp_path / "spark.conf"
    defaults.write_text(f"# comment\nspark.driver.extraClassPath {tmp_path}/more/*\n")
    made = ClassArchive.of(tmp_path / "home", java_home=java, spark_home=spark, defaults=defaults)
    assert made is not None
    Path(made.folder).mkdir(parents=True)
    return made


def submits(spark: Path, then: str) -> None:
    """`$flags` has what the JVM is told."""
    script = spark / "bin" / "spark-submit"
    script.write_text(
        "#!/bin/sh\n"
        'while [ $# -gt 0 ]; do [ "$1" = --driver-java-options ] && flags=$2; shift; done\n' + then
    )
    script.chmod(0o755)


def test_a_jvm_is_told_of_an_archive_that_is_there(archive):
    assert archive.is_wanted()
    assert archive.flags() == ""
    assert make(archive, jvm_flags="-XX:+UseSerialGC")
    assert not archive.is_wanted()
    assert archive.flags().startswith(f"-XX:SharedArchiveFile={archive.path} ")
    assert [path.name for path in Path(archive.folder).glob("training-*/")] == []


@pytest.mark.parametrize("change", ["java/release", "pyspark/jars/spark-core.jar", "more/s3a.jar"])
def test_another_java_or_jar_has_another_and_the_old_one_goes(archive, tmp_path, change):
    make(archive, jvm_flags="")
    old = archive.path
    (tmp_path / change).write_text("another build of it")
    assert archive.flags() == ""
    assert make(archive, jvm_flags="")
    assert archive.path != old
    assert not old.exists()


@pytest.mark.parametrize("then", ["exit 3", "exit 0"])
def test_a_java_that_makes_none_is_asked_once(archive, tmp_path, then):
    submits(tmp_path / "pyspark", then)
    assert not make(archive, jvm_flags="")
    assert not archive.is_wanted()
    assert archive.flags() == ""
    assert "no archive: see training.log" in archive.refused.read_text()


def test_who_wants_none_has_none(archive):
    make(archive, jvm_flags="")
    Path(archive.folder, "off").touch()
    assert archive.flags() == ""
    archive.path.unlink()
    assert not archive.is_wanted()


def test_one_at_a_time_makes_it(archive):
    with Path(archive.folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not make(archive, jvm_flags="")
    assert archive.is_wanted()


def test_what_a_killed_one_left_is_removed(archive):
    left = Path(archive.folder, "training-killed")
    left.mkdir()
    (left / "draft.jsa").write_text("half")
    make(archive, jvm_flags="")
    assert not left.exists()


def test_an_unknown_java_has_none(tmp_path):
    assert ClassArchive.of(tmp_path, java_home=None, spark_home=tmp_path, defaults=None) is None
    assert ClassArchive.of(tmp_path, java_home=tmp_path, spark_home=tmp_path, defaults=None) is None
