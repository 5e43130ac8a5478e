"""A container engine for the tests, and the images that they run.

The engine is the one of ``DATAHARBOUR_TEST_DOCKER`` (a ``unix://`` socket), or a Podman
that is started here with a storage of its own; it speaks Docker's API. The
images are made of this machine's files: nothing is pulled.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Where a plain image has no Spark, this stands for spark-submit: it runs the child by Python.
SUBMIT = """#!/usr/local/bin/python3
import os, sys
at = next(n for n, part in enumerate(sys.argv) if part.endswith("/child.py"))
os.execv("/usr/local/bin/python3", ["python3", *sys.argv[at:]])
"""
NO_ENGINE = (
    "no container engine: set DATAHARBOUR_TEST_DOCKER=unix:///…, or install podman (as root)"
)


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    socket: str

    def client(self) -> Any:
        from docker import APIClient

        return APIClient(base_url=self.socket, version="auto", timeout=120)

    def containers(self) -> list[str]:
        """The names of ours, running or not."""
        names = [name for c in self.client().containers(all=True) for name in c["Names"]]
        return [name.lstrip("/") for name in names if "dataharbour-" in name]

    def image(self, root: Path) -> str:
        """Import a root file system; its digest."""
        with root.open("rb") as data:
            reply = self.client().import_image_from_data(data, repository="dataharbour-test")
        return str(json.loads(reply.splitlines()[-1])["status"])


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """The engine; skips the test where there is none."""
    given = os.environ.get("DATAHARBOUR_TEST_DOCKER")
    if given:
        yield Engine(given)
        return
    if shutil.which("podman") is None or os.geteuid() != 0:
        pytest.skip(NO_ENGINE)
    folder = Path(tempfile.mkdtemp(prefix="dh-podman-"))
    environment = _podman_settings(folder)
    command = ["podman", "system", "service", "--time=0", f"unix://{folder}/api.sock"]
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not (folder / "api.sock").exists():
            assert service.poll() is None, (folder / "service.log").read_text()
            assert time.monotonic() < deadline, (folder / "service.log").read_text()
            time.sleep(0.1)
        yield Engine(f"unix://{folder}/api.sock")
    finally:
        subprocess.run(["podman", "rm", "-fa"], env=environment, capture_output=True, check=False)
        service.terminate()
        service.wait()
        subprocess.run(["umount", str(folder / "graph" / "overlay")], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _podman_settings(folder: Path) -> dict[str, str]:
    runtime = "runc" if shutil.which("runc") else "crun"
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    (folder / "containers.conf").write_text(
        "[containers]\n"
        'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        "[engine]\n"
        f'cgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "{runtime}"\n'
        f'tmp_dir = "{folder}/tmp"\n'
    )
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
    }


def python_root(target: Path) -> Path:
    """A root file system with this Python, and no more: a tar file."""
    with tarfile.open(target, "w") as tar:
        _add_python(tar)
        _add_text(tar, "usr/local/bin/spark-submit", SUBMIT, mode=0o755)
    return target


def spark_root(target: Path, java_home: Path) -> Path:
    """The same with PySpark and a Java."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    pyspark = Path(spec.origin).parent
    inside = "opt/spark-python/pyspark"
    with tarfile.open(target, "w") as tar:
        _add_python(tar)
        _add_tree(tar, pyspark, inside, leave_out=r"/(tests|examples|data|kubernetes)(/|$)")
        for name in ("py4j",):
            found = find_spec(name)
            assert found is not None
            assert found.origin is not None
            _add_tree(tar, Path(found.origin).parent, f"opt/spark-python/{name}")
        _add_tree(tar, java_home.resolve(), "opt/java", leave_out=r"/(jmods|man|demo|legal)(/|$)")
        for settings in Path("/etc").glob("java-*-openjdk"):  # Debian's Java has links to them
            _add_tree(tar, settings, str(settings).lstrip("/"))
        _add_libraries(tar, [*java_home.resolve().rglob("*.so"), java_home / "bin/java"])
        for name in (
            *("bash", "cat", "chmod", "dirname", "env", "grep", "ln", "ls", "ps", "readlink", "rm"),
            *("sed", "uname"),  # what Spark's scripts and Hadoop's local files call
        ):
            program = Path(shutil.which(name) or f"/bin/{name}").resolve()
            tar.add(program, f"usr/bin/{name}")
            _add_libraries(tar, [program])
        _add_text(
            tar,
            "usr/local/bin/spark-submit",
            "#!/usr/bin/bash\n"
            "export JAVA_HOME=/opt/java SPARK_HOME=/opt/spark-python/pyspark\n"
            "export PYTHONPATH=$PYTHONPATH:/opt/spark-python\n"
            'exec "$SPARK_HOME/bin/spark-submit" "$@"\n',
            mode=0o755,
        )
        _add_link(tar, "bin", "usr/bin")
    return target


_added: dict[int, set[str]] = {}


def _add_python(tar: tarfile.TarFile) -> None:
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = (base / "bin" / version).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    tar.add(executable, str(base / "bin" / version).lstrip("/"))
    _add_tree(
        tar,
        stdlib,
        str(stdlib).lstrip("/"),
        leave_out=r"/(site-packages|test|idlelib|__pycache__|config-[^/]*)(/|$)",
    )
    _add_libraries(tar, [executable, *(stdlib / "lib-dynload").glob("*.so")])
    for name in ("python3", version):
        _add_link(tar, f"usr/local/bin/{name}", str(base / "bin" / version))
    for folder in ("tmp", "etc", "run", "proc", "sys", "dev", "opt"):
        entry = tarfile.TarInfo(folder)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
        tar.addfile(entry)


def _add_tree(tar: tarfile.TarFile, source: Path, inside: str, *, leave_out: str = r"$^") -> None:
    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        relative = "/" + entry.name.removeprefix(inside).lstrip("/")
        return None if re.search(leave_out, relative) else entry

    tar.add(source, inside, filter=wanted)


def _add_libraries(tar: tarfile.TarFile, programs: list[Path]) -> None:
    """The shared libraries of programs, at their own paths."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True).stdout
    known_to_all = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    # What threads load when they end.
    told += "".join(re.findall(r".*libgcc_s\.so\.1 \(libc6,x86-64\).*\n", known_to_all))
    known = _added.setdefault(id(tar), set())
    for path in sorted(set(re.findall(r"(?:=> |^\t)(/[^\s(]+)", told, re.MULTILINE))):
        if path not in known and "/jvm/" not in path:
            known.add(path)
            tar.add(Path(path).resolve(), path.lstrip("/"))


def _add_text(tar: tarfile.TarFile, name: str, text: str, *, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(text)
    tar.addfile(entry, io.BytesIO(text.encode()))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)
