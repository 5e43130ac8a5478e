"""Which Maven repository this machine is set up for: mirror, credentials, proxy, local copies."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

CENTRAL = "https://repo.maven.apache.org/maven2"
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where to ask.

    Attributes:
        url: without a slash at the end and without credentials.
        local: the machine's local repository.
        headers: with the credentials of the mirror, if it has any.
        proxies: scheme -> proxy of Maven's settings; None for the environment's own.
        ca_file: certificates to trust instead of the system's.
    """

    url: str
    local: Path
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxies: Mapping[str, str] | None = field(default=None, repr=False)
    ca_file: str | None = None


def repository(environ: Mapping[str, str] = os.environ) -> Repository:
    """The repository that Maven itself would ask for a jar of Maven Central."""
    home = Path(environ.get("HOME") or "/nonexistent")
    url, local = CENTRAL, home / ".m2" / "repository"
    headers: dict[str, str] = {}
    proxies: dict[str, str] | None = None
    for file in _settings_files(home, environ):
        settings = _parse(file)
        if settings is None:
            continue
        local = Path(_text(settings, "localRepository", environ) or local)
        for mirror in settings.iterfind(".//mirrors/mirror"):
            if _mirrors_central(_text(mirror, "mirrorOf", environ)):
                url = _text(mirror, "url", environ).rstrip("/")
                headers = _credentials(settings, _text(mirror, "id", environ), environ)
                break
        proxies = _proxies(settings, environ) or proxies
    ca_file = next((environ[name] for name in _CA_VARIABLES if environ.get(name)), None)
    return Repository(url, local, headers, proxies, ca_file)


def _settings_files(home: Path, environ: Mapping[str, str]) -> list[Path]:
    """The machine's settings first, so that the user's override them."""
    roots = [environ[name] for name in ("MAVEN_HOME", "M2_HOME") if environ.get(name)]
    shared = [Path(root) / "conf" / "settings.xml" for root in (*roots, "/usr/share/maven")]
    return [file for file in (*shared, home / ".m2" / "settings.xml") if file.is_file()]


def _parse(file: Path) -> ElementTree.Element | None:
    try:
        text = file.read_text(encoding="utf-8")
        return ElementTree.fromstring(re.sub(r'\sxmlns="[^"]+"', "", text, count=1))
    except (OSError, ElementTree.ParseError):
        return None  # Maven's own complaint about it is Maven's business


def _mirrors_central(pattern: str) -> bool:
    parts = {part.strip() for part in pattern.split(",")}
    return "!central" not in parts and bool(parts & {"*", "central", "external:*"})


def _credentials(
    settings: ElementTree.Element, server_id: str, environ: Mapping[str, str]
) -> dict[str, str]:
    for server in settings.iterfind(".//servers/server"):
        if _text(server, "id", environ) == server_id and _text(server, "username", environ):
            pair = f"{_text(server, 'username', environ)}:{_text(server, 'password', environ)}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _proxies(settings: ElementTree.Element, environ: Mapping[str, str]) -> dict[str, str]:
    for proxy in settings.iterfind(".//proxies/proxy"):
        if _text(proxy, "active", environ) in ("", "true"):
            address = f"http://{_text(proxy, 'host', environ)}:{_text(proxy, 'port', environ)}"
            return {"http": address, "https": address}
    return {}


def _text(element: ElementTree.Element, name: str, environ: Mapping[str, str]) -> str:
    """The text of a child, with ``${env.NAME}`` filled in."""
    raw = (element.findtext(name) or "").strip()
    return re.sub(r"\$\{env\.([^}]+)\}", lambda match: environ.get(match[1], ""), raw)
