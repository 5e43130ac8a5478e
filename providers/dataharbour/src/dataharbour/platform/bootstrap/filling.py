"""Fill an environment with what the lock has, by calls of uv."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.index import PackageIndex, is_right
from dataharbour.platform.bootstrap.lock import File, Requirement, Selection
from dataharbour.platform.bootstrap.machine import base_python
from dataharbour.platform.bootstrap.progress import size
from dataharbour.platform.bootstrap.sources import Sources
from dataharbour.platform.bootstrap.uv import Uv

# What builds the source archives; uv's isolated builds would fetch it from outside the lock.
_BUILDERS = {"setuptools"}
# Larger files are fetched here: uv begins a download that was interrupted from its first byte.
_LARGE_BYTES = 100_000_000
# The wheel is unpacked at once: packing half a GB of archives tighter took 9 s of 24 s.
_NOT_PACKED = ("--config-settings-package", "pyspark:--build-option=--compression=stored")

_HASHED = ("--require-hashes", "--no-build-isolation")


@dataclass(frozen=True, slots=True)
class Filling:
    """The calls of uv that make an environment what the lock says.

    Attributes:
        uv: the program, with its environment.
        checkout: whose `.venv`.
        selection: the files for this machine.
        sources: where packages come from.
        index: the same, for the files that are fetched here.
    """

    uv: Uv
    checkout: Checkout
    selection: Selection
    sources: Sources
    index: PackageIndex

    def make_environment(self) -> None:
        """Make `.venv` with the Python that runs this, keeping our own folder in it."""
        options = ("--quiet", "--allow-existing", "--no-project", "--prompt", "dataharbour")
        self.uv.run("venv", *options, "--python", str(base_python()), str(self.checkout.venv))

    def run(self) -> None:
        """Install what the lock has, and remove what it no longer has."""
        absent = not_installed(self.selection, self.checkout.distributions())
        self._install_from_lock(
            "builders", [each for each in self.selection.files if each.name in _BUILDERS]
        )
        large = {each: file for each, file in absent.items() if file.size_bytes > _LARGE_BYTES}
        if large:
            folder = self._download(large)
            offline = ("--no-index", "--find-links", str(folder), *_NOT_PACKED)
            self._install_from_lock("large", large, *offline)
        self._pip(
            "sync",
            *_HASHED,
            *self._index_options(),
            "--compile-bytecode",
            *map(str, self.checkout.locks),
            expected_bytes=sum(f.size_bytes for each, f in absent.items() if each not in large),
        )
        local = ("--no-deps", "--no-build-isolation", "--editable", str(self.checkout.provider))
        self._pip("install", *local)

    def _install_from_lock(
        self, name: str, requirements: Iterable[Requirement], *options: str
    ) -> None:
        """Install some of the lock, before the rest."""
        listed = self.checkout.notes / "tmp" / f"{name}.txt"
        listed.write_text("".join(f"{each}\n" for each in requirements), encoding="utf-8")
        options = options or self._index_options()
        self._pip("install", *_HASHED, "--no-deps", *options, "-r", str(listed))

    def _pip(self, verb: str, *arguments: str, expected_bytes: int = 0) -> None:
        python = ("--python", str(self.checkout.python))
        self.uv.run("pip", verb, *python, *arguments, expected_bytes=expected_bytes)

    def _index_options(self) -> tuple[str, ...]:
        return () if self.sources.indexes else ("--no-index",)  # uv has no variable for it

    def _download(self, files: Mapping[Requirement, File]) -> Path:
        """Fetch files beside uv's cache, where the next checkout finds them; returns the folder."""
        folder = Path(self.uv.answer("cache", "dir")) / "dataharbour"
        folder.mkdir(parents=True, exist_ok=True)
        for requirement, file in files.items():
            if not is_right(folder / file.name, requirement.hashes):
                self.uv.progress.say(f"  fetching {file.name} ({size(file.size_bytes)})")
                self._fetch(requirement, file, folder / file.name)
        return folder

    def _fetch(self, requirement: Requirement, file: File, target: Path) -> None:
        links = (each for each in self.index.links(requirement.name) if each.name == file.name)
        link = next(links, None)
        if link is None:
            raise PlatformError(
                f"The package index has no file {file.name} ({size(file.size_bytes)}).",
                "Check that the mirror is complete (PIP_INDEX_URL, pip.conf).",
            )
        self.index.download(
            link,
            target,
            sha256=requirement.hashes,
            report=lambda done, total: self.uv.progress.show(
                requirement.name, done_bytes=done, total_bytes=total
            ),
        )


def not_installed(selection: Selection, distributions: Iterable[str]) -> Mapping[Requirement, File]:
    """What of `selection` is not among the ``name-version.dist-info`` folders."""
    present = {_normalised(name.removesuffix(".dist-info")) for name in distributions}
    return {
        each: file
        for each, file in selection.files.items()
        if _normalised(f"{each.name}-{each.version}") not in present
    }


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
