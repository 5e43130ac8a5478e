"""Read where this machine gets Maven artifacts from. Reads Maven's settings files; changes nothing.

What a company's `settings.xml` says of Maven Central (a mirror, a profile's own address, a server's
login, a proxy) holds for the jars that the platform downloads, so that they come from where all
others come from.

Source: https://maven.apache.org/settings.html,
https://maven.apache.org/guides/mini/guide-mirror-settings.html
"""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as Xml
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from dataharbour.errors import Unavailable

CENTRAL = "https://repo.maven.apache.org/maven2"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in Maven's layout.

    Attributes:
        url: without a slash at its end and without a login.
        login: user name and password, or None.
        proxy: URL of the proxy that Maven's settings name, or None: the environment's then.
    """

    url: str
    login: tuple[str, str] | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Maven:
    """Where artifacts come from: the folder with those that Maven has, and the repository."""

    local: Path
    repository: Repository


def read_maven(environ: Mapping[str, str] = os.environ, *, home: Path | None = None) -> Maven:
    """Collect what Maven's settings say of Central, the user's before the installation's.

    Args:
        environ: the environment variables.
        home: the folder with `.m2`.

    Raises:
        Unavailable: a settings file cannot be read, or it blocks Central.
    """
    home = home or Path.home()
    settings = _Settings(
        [_parse(file, environ, home) for file in _files(environ, home) if file.is_file()]
    )
    local = next(settings.texts("localRepository"), None)
    return Maven(
        local=Path(local).expanduser() if local else home / ".m2" / "repository",
        repository=settings.central(),
    )


def mirrors_central(pattern: str, url: str) -> bool:
    """Whether a mirror with `mirrorOf` = `pattern` stands for Central at `url`.

    >>> mirrors_central("external:*,!central", CENTRAL)
    False
    """
    parts = [part.strip() for part in pattern.split(",")]
    if "!central" in parts:
        return False
    is_external = urlsplit(url).hostname not in _LOOPBACK and not url.startswith("file:")
    applies = {
        "*": True,
        "central": True,
        "external:*": is_external,
        "external:http:*": is_external and url.startswith("http:"),
    }
    return any(applies.get(part, False) for part in parts)


class _Settings:
    """The settings files of one machine; an earlier one comes first."""

    def __init__(self, files: list[Xml.Element]) -> None:
        self._files = files

    def texts(self, path: str) -> Iterator[str]:
        for element in self._each(path):
            if text := (element.text or "").strip():
                yield text

    def central(self) -> Repository:
        """Maven Central, or what stands for it."""
        name, url = "central", self._profile_url() or CENTRAL
        mirror = self._mirror(url)
        if mirror is not None:
            if _text(mirror, "blocked") == "true":
                raise Unavailable(
                    f"Maven's settings block Maven Central (mirror {_text(mirror, 'id')!r}).",
                    "Name a mirror that may be used in ~/.m2/settings.xml.",
                )
            name, url = _text(mirror, "id"), _text(mirror, "url")
        url, login = _without_login(url.rstrip("/"))
        return Repository(url, self._login(name) or login, self._proxy(url))

    def _mirror(self, url: str) -> Xml.Element | None:
        mirrors = list(self._each("mirrors/mirror"))
        exact = [m for m in mirrors if _text(m, "mirrorOf") == "central"]
        fitting = [m for m in mirrors if mirrors_central(_text(m, "mirrorOf"), url)]
        return next(iter(exact + fitting), None)

    def _profile_url(self) -> str | None:
        """The address that an active profile gives the repository `central`."""
        active = set(self.texts("activeProfiles/activeProfile"))
        for profile in self._each("profiles/profile"):
            by_default = _text(profile, "activation/activeByDefault") == "true"
            if _text(profile, "id") not in active and not by_default:
                continue
            for repository in profile.findall("repositories/repository"):
                if _text(repository, "id") == "central":
                    return _text(repository, "url") or None
        return None

    def _login(self, name: str) -> tuple[str, str] | None:
        for server in self._each("servers/server"):
            if _text(server, "id") != name or not _text(server, "username"):
                continue
            password = _text(server, "password")
            if re.search(r"(?<!\$)\{.+\}", password):
                raise Unavailable(
                    f"The password of the server {name!r} in Maven's settings is encrypted, "
                    "which only Maven itself can undo.",
                    "Name it by a variable: <password>${env.NAME}</password>.",
                )
            return _text(server, "username"), password
        return None

    def _proxy(self, url: str) -> str | None:
        target = urlsplit(url)
        found = [
            proxy
            for proxy in self._each("proxies/proxy")
            if _text(proxy, "active") != "false"
            and not any(
                fnmatch(target.hostname or "", pattern.strip())
                for pattern in _text(proxy, "nonProxyHosts").split("|")
            )
        ]
        same = [p for p in found if _text(p, "protocol") == target.scheme]
        for proxy in same + found:
            user, password = _text(proxy, "username"), _text(proxy, "password")
            login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
            return f"http://{login}{_text(proxy, 'host')}:{_text(proxy, 'port') or '8080'}"
        return None

    def _each(self, path: str) -> Iterator[Xml.Element]:
        for file in self._files:
            yield from file.findall(path)


def _files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    yield home / ".m2" / "settings.xml"
    program = shutil.which("mvn", path=environ.get("PATH", os.defpath))
    installations = [environ.get("MAVEN_HOME"), environ.get("M2_HOME")]
    if program:
        installations.append(str(Path(program).resolve().parents[1]))
    for folder in filter(None, installations):
        if (file := Path(folder) / "conf" / "settings.xml").is_file():
            yield file
            return


def _parse(file: Path, environ: Mapping[str, str], home: Path) -> Xml.Element:
    """The file's elements, without namespaces, with ${env.NAME} and ${user.home} put in."""
    try:
        root = Xml.parse(file).getroot()
    except (OSError, Xml.ParseError) as error:
        raise Unavailable(
            f"Maven's settings cannot be read: {file}: {error}", "Mend the file, or move it away."
        ) from error

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "user.home":
            return str(home)
        return environ.get(name.removeprefix("env."), match[0])

    for element in root.iter():
        if isinstance(element.tag, str):  # a comment's is not
            element.tag = element.tag.rpartition("}")[2]
        element.text = re.sub(r"\$\{(user\.home|env\.[^}]+)\}", value, element.text or "")
    return root


def _without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Split ``user:password@`` off."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return (
        urlunsplit(parts._replace(netloc=host)),
        (unquote(user), unquote(password)) if at else None,
    )


def _text(element: Xml.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
