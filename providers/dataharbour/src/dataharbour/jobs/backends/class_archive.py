"""Keep an archive of Spark's classes, so that a JVM of our own starts with them already parsed.

A JVM that starts Spark spends most of its first seconds on loading classes. The
archive (Java's class data sharing) belongs to one build of Java and one of
pyspark; it is made once, in the background, when a run first misses it, and
lies in the state folder: ``cache/spark-classes/<key>.jsa``, some 180 MB. With
``-Xshare:auto`` a JVM that it does not fit starts without it.

`python -m dataharbour.jobs.backends.class_archive JSON` is the process that makes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TRAINING_LIMIT_S = 600
_TRAINING = Path(__file__).with_name("class_training.py")
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"  # an archive that does not fit is no news


@dataclass(frozen=True, slots=True)
class ClassArchive:
    """The archive of one Java and one Spark.

    Attributes:
        folder: where archives lie.
        java_home: the Java that uses it.
        spark_home: the folder of pyspark.
        class_path: what the installation puts before Spark's own jars, as Spark takes it
            (`spark.driver.extraClassPath`); an archive holds for one class path.
    """

    folder: str
    java_home: str
    spark_home: str
    class_path: str = ""

    @classmethod
    def of(
        cls, home: Path, *, java_home: Path | None, spark_home: Path, defaults: Path | None
    ) -> ClassArchive | None:
        """The archive of an installation; None where it is not known which Java runs.

        Args:
            home: the state folder.
            java_home: the Java that spark-submit takes.
            spark_home: the folder of pyspark.
            defaults: the installation's Spark settings, a properties file.
        """
        if java_home is None or not (java_home / "release").is_file():
            return None
        folder = str(home / "cache" / "spark-classes")
        return cls(folder, str(java_home), str(spark_home), _extra_class_path(defaults))

    @property
    def path(self) -> Path:
        """Its file, there or not."""
        return Path(self.folder, f"{self._key()}.jsa")

    @property
    def refused(self) -> Path:
        """There when this Java could not make one: it is not tried again."""
        return self.path.with_suffix(".refused")

    @property
    def is_off(self) -> bool:
        """Somebody wants none here: a file ``off`` in the folder, which may be empty."""
        return Path(self.folder, "off").exists()

    def flags(self) -> str:
        """What a JVM is told so that it uses the archive; nothing while there is none."""
        path = self.path
        there = path.is_file() and not self.is_off
        return f"-XX:SharedArchiveFile={path} {_QUIET}" if there else ""

    def is_wanted(self) -> bool:
        """Whether it has still to be made."""
        return not (self.is_off or self.path.exists() or self.refused.exists())

    def _key(self) -> str:
        """Another one for another build of Java, or when any jar changes: so would the JVM say."""
        jars = sorted(Path(self.spark_home, "jars").iterdir())
        for place in filter(None, self.class_path.split(":")):
            jars += sorted(Path(place).parent.glob(Path(place).name))
        parts = [Path(self.java_home, "release").read_text(), self.spark_home, self.class_path]
        parts += [f"{jar.name} {jar.stat().st_size}" for jar in jars]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make_in_background(
    archive: ClassArchive, *, jvm_flags: str, environment: Mapping[str, str]
) -> None:
    """Start to make the archive, at the lowest priority; returns at once.

    Args:
        archive: which.
        jvm_flags: those of the JVMs that will use it.
        environment: of the process; its marks tell whose it is.
    """
    Path(archive.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    order = json.dumps({"archive": asdict(archive), "jvm_flags": jvm_flags})
    argv = [sys.executable, "-m", "dataharbour.jobs.backends.class_archive", order]
    log = os.path.join(archive.folder, "training.log")
    os.posix_spawn(
        argv[0],
        argv,
        {**environment, "JAVA_HOME": archive.java_home},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=list(range(1, 32)),
        setsigmask=[],
    )


def make(archive: ClassArchive, *, jvm_flags: str) -> bool:
    """Make the archive, unless somebody else does; whether it is there afterwards."""
    folder = Path(archive.folder)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if archive.is_wanted():
            os.nice(19)
            _train(archive, jvm_flags)
        return archive.path.exists()


def _train(archive: ClassArchive, jvm_flags: str) -> None:
    for left in Path(archive.folder).glob("training-*/"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="training-", dir=archive.folder) as work:
        draft = Path(work) / "draft.jsa"
        started = time.monotonic()
        try:
            code: int | None = subprocess.run(
                _command(archive, jvm_flags, draft),
                cwd=work,
                env=_environment(archive, jvm_flags),
                timeout=TRAINING_LIMIT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        said = f"exit code {code} after {time.monotonic() - started:.0f} s"
        if code == 0 and draft.is_file():
            for old in Path(archive.folder).glob("*.jsa"):  # of another Java, or another Spark
                old.unlink()
            draft.replace(archive.path)
        else:
            archive.refused.write_text(f"{said}, and no archive: see training.log\n")
        print(said, flush=True)  # noqa: T201 - the log of this process


def _command(archive: ClassArchive, jvm_flags: str, draft: Path) -> Sequence[str]:
    """As `local` starts a run: the class path must be the same to the letter."""
    return [
        str(Path(archive.spark_home) / "bin" / "spark-submit"),
        "--master", "local[2]",
        *(("--driver-class-path", archive.class_path) if archive.class_path else ()),
        "--driver-java-options", f"{jvm_flags} -XX:ArchiveClassesAtExit={draft}",
        "--conf", "spark.ui.enabled=false",
        "--conf", "spark.driver.host=127.0.0.1",
        "--conf", "spark.driver.bindAddress=127.0.0.1",
        str(_TRAINING),
    ]  # fmt: skip


def _extra_class_path(defaults: Path | None) -> str:
    if defaults is None:
        return ""
    try:
        lines = defaults.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if name == "spark.driver.extraClassPath":
            return value.strip()
    return ""


def _environment(archive: ClassArchive, jvm_flags: str) -> dict[str, str]:
    return {
        **os.environ,
        "SPARK_HOME": archive.spark_home,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LAUNCHER_OPTS": jvm_flags,
        "PYSPARK_PYTHON": sys.executable,
    }


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    sys.exit(not make(ClassArchive(**wanted["archive"]), jvm_flags=wanted["jvm_flags"]))
