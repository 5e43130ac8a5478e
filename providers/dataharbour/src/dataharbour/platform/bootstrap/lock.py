"""Read the lock: which packages this machine gets, and how large their files are. Pure.

`requirements.txt` says what is installed (versions, conditions, hashes); `uv.lock`, of which it is
an export, knows the files and their sizes.
"""

from __future__ import annotations

import ast
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.wheels import Machine, fits

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.+))?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One pinned package of requirements.txt.

    Attributes:
        name: normalised, as in `uv.lock`.
        version: the exact version.
        marker: the condition under which it is installed; empty for always.
        hashes: sha256 of every file that may be installed for it, in hex.
    """

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        """The same in the form of a requirements file."""
        condition = f" ; {self.marker}" if self.marker else ""
        hashes = "".join(f" --hash=sha256:{digest}" for digest in sorted(self.hashes))
        return f"{self.name}=={self.version}{condition}{hashes}"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a package: its name, its size, its sha256 in hex."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What one machine downloads.

    Attributes:
        files: the file of each requirement that applies.
        unavailable: requirements that have no file for this machine, as ``name version``.
    """

    files: Mapping[Requirement, File]
    unavailable: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files.values())

    def joined(self, more: Selection) -> Selection:
        """Both; what the two have in common, of one version, is taken from this one."""
        known = {each.name for each in self.files}
        files = {each: file for each, file in more.files.items() if each.name not in known}
        return Selection(
            {**self.files, **files}, tuple(dict.fromkeys(self.unavailable + more.unavailable))
        )


def parse_requirements(text: str) -> list[Requirement]:
    """The pins of a requirements.txt, in its order.

    Raises:
        PlatformError: a line is not a pin with hashes.
    """
    requirements = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pin, hashes = _PIN.match(line.split("--hash")[0].strip()), _HASH.findall(line)
        if pin is None or not hashes:
            raise PlatformError(
                f"requirements.txt has a line that is not a pin with hashes: {line.strip()[:80]!r}",
                "Restore the file: git checkout requirements.txt",
            )
        requirements.append(
            Requirement(pin["name"], pin["version"], pin["marker"] or "", frozenset(hashes))
        )
    return requirements


def select(
    requirements: Iterable[Requirement],
    uv_lock: str,
    machine: Machine,
    environment: Mapping[str, str],
) -> Selection:
    """Choose a file per requirement.

    Of several wheels that fit, the largest counts, so that the announced size is an upper bound. A
    package without any wheel is built from its source archive; one that has wheels, but none for
    this machine, is unavailable: building it would need compilers.

    Args:
        requirements: the pins.
        uv_lock: content of uv.lock.
        machine: what wheels are chosen by.
        environment: values of the marker variables.

    Raises:
        PlatformError: uv.lock does not know a requirement.
    """
    packages = {
        (package["name"], package.get("version")): package
        for package in tomllib.loads(uv_lock)["package"]
    }
    files: dict[Requirement, File] = {}
    unavailable: list[str] = []
    for requirement in requirements:
        if not applies(requirement.marker, environment):
            continue
        package = packages.get((requirement.name, requirement.version))
        if package is None:
            raise PlatformError(
                f"The requirements and uv.lock are not in step: only the first have "
                f"{requirement.name} {requirement.version}.",
                "Restore them: git checkout requirements.txt requirements-notebooks.txt uv.lock",
            )
        wheels = [_file(wheel) for wheel in package.get("wheels", [])]
        fitting = [wheel for wheel in wheels if fits(wheel.name, machine)]
        if fitting:
            files[requirement] = max(fitting, key=lambda wheel: wheel.size_bytes)
        elif not wheels and "sdist" in package:
            files[requirement] = _file(package["sdist"])
        else:
            unavailable.append(f"{requirement.name} {requirement.version}")
    return Selection(files, tuple(unavailable))


def _file(entry: Mapping[str, str | int]) -> File:
    name = str(entry["url"]).rsplit("/", 1)[1]
    return File(name, int(entry["size"]), str(entry["hash"]).removeprefix("sha256:"))


_VERSIONS = {"python_version", "python_full_version"}
_OPERATORS: dict[type[ast.cmpop], Callable[..., bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Whether a marker holds (PEP 508, as far as locks use it).

    Raises:
        ValueError: the marker has a part that is not understood.
    """
    return not marker or _holds(ast.parse(marker, mode="eval").body, environment)


def _holds(node: ast.expr, environment: Mapping[str, str]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_holds(part, environment) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_holds(part, environment) for part in parts)
        case ast.Compare(
            left=ast.Name(id=variable), ops=[how], comparators=[ast.Constant(value=str(value))]
        ) if type(how) in _OPERATORS and variable in environment:
            if isinstance(how, ast.Eq) and value.endswith(".*"):
                return f"{environment[variable]}.".startswith(value.removesuffix("*"))
            read = _version if variable in _VERSIONS else str
            return _OPERATORS[type(how)](read(environment[variable]), read(value))
    raise ValueError(f"Unknown marker: {ast.unparse(node)}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
