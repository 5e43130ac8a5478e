"""Find the file of a Spark application below an allowed root, and pin it by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dataharbour.errors import ApplicationNotAllowed, ApplicationNotFound
from dataharbour.jobs.notebooks import SUFFIX, is_notebook


@dataclass(frozen=True, slots=True)
class Application:
    """A PySpark file or a notebook: where it is, and the hash that the driver will check again."""

    path: Path
    sha256: str


def resolve_application(
    name: str, roots: Sequence[Path], *, notebooks: Path | None = None
) -> Application:
    """The application that `name` means.

    Args:
        name: relative to a root (the first that has it wins), an absolute path,
            or a ``file:`` URI.
        roots: the folders below which applications may lie.
        notebooks: the one below which notebooks may lie; None where there are none.

    Raises:
        ApplicationNotAllowed: the file is outside all roots (links followed),
            cannot be read, or the name is none.
        ApplicationNotFound: there is no such file.
    """
    wanted = _path(name, roots)
    if is_notebook(wanted.name):
        roots = [notebooks] if notebooks else []
    real_roots = [root.resolve() for root in roots]
    candidates = [wanted] if wanted.is_absolute() else [root / wanted for root in real_roots]
    for candidate in candidates:
        try:
            real = candidate.resolve()
            if not any(real.is_relative_to(root) for root in real_roots):
                raise _not_allowed(name, "it lies outside the allowed folders", roots)
            if real.suffix != wanted.suffix:
                raise _not_allowed(name, "it is a link to another kind of file", roots)
            if real.is_file():
                return Application(path=real, sha256=_sha256(real))
        except (OSError, RuntimeError, ValueError) as error:
            # Too long, unreadable; a ring of links; half a surrogate pair.
            why = getattr(error, "strerror", None) or "it is not the name of a file"
            raise _not_allowed(name, why, roots) from None
    raise ApplicationNotFound(
        f"There is no application {name!r}.",
        f"Put the file below one of: {_list(roots)}."
        if roots
        else "Say where notebooks lie: setting [dataharbour] notebooks.",
    )


def _path(name: str, roots: Sequence[Path]) -> Path:
    try:
        parts = urlsplit(name)
    except ValueError:
        raise _not_allowed(name, "it is not the name of a file", roots) from None
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.query:
        name_of_file = unquote(parts.path)
    elif parts.scheme:
        raise _not_allowed(name, f"its scheme {parts.scheme!r} is not file", roots)
    else:
        name_of_file = name
    if not name_of_file or "\0" in name_of_file or name_of_file.startswith("-"):
        raise _not_allowed(name, "it is not the name of a file", roots)
    if not name_of_file.endswith((".py", SUFFIX)):
        raise _not_allowed(name, "it ends neither in .py nor in .ipynb", roots)
    return Path(name_of_file)


def _not_allowed(name: str, why: str, roots: Sequence[Path]) -> ApplicationNotAllowed:
    return ApplicationNotAllowed(
        f"The application {name!r} is not allowed: {why}.",
        f"Name a .py file below one of: {_list(roots)} (setting [dataharbour] applications), or a "
        "notebook below its folder (setting [dataharbour] notebooks).",
    )


def _list(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
