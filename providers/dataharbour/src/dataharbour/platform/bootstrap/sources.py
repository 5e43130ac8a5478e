"""Read where packages come from: pip's configuration and uv's variables. Changes nothing.

A machine that can install with pip can install DataHarbour: what pip was told (index, mirror
folder, proxy, certificates) holds for the files that are fetched here and is handed on to uv, which
does not read pip's configuration itself. What was said to uv in its own variables comes first.

Source: https://pip.pypa.io/en/stable/topics/configuration/ (files, their order, sections),
https://docs.astral.sh/uv/reference/environment/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from dataharbour.errors import PlatformError

PYPI = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where packages come from, and how to get there.

    Attributes:
        indexes: URLs of simple indexes, with credentials if there are any; tried in this order.
        find_links: folders, and pages with links, that are looked through before the indexes.
        trusted_hosts: ``host`` or ``host:port`` whose certificate is not checked.
        ca: a PEM file or a folder of certificates to trust in place of the system's.
        client_cert: a PEM file with the client's certificate and key.
        proxy: URL of the proxy, in place of what HTTP_PROXY and HTTPS_PROXY say.
        timeout_s: seconds that a server may stay silent.
    """

    indexes: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    ca: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout_s: float = 30.0


def read_sources(environ: Mapping[str, str], *, prefix: str = sys.prefix) -> Sources:
    """Collect what `environ` and pip's configuration files say.

    Args:
        environ: the environment variables.
        prefix: folder of the running Python, whose pip.conf counts too.

    Raises:
        PlatformError: a configuration file or a value in it cannot be read.
    """
    pip = pip_options(environ, prefix=prefix)
    indexes = () if _is_true(pip.get("no-index", "")) else tuple(_indexes(environ, pip))
    return Sources(
        indexes=indexes,
        find_links=tuple(_find_links(environ, pip)),
        trusted_hosts=tuple(
            (environ.get("UV_INSECURE_HOST") or pip.get("trusted-host", "")).split()
        ),
        ca=_ca(environ, pip),
        client_cert=environ.get("SSL_CLIENT_CERT") or pip.get("client-cert"),
        proxy=pip.get("proxy"),
        timeout_s=_timeout_s(environ, pip),
    )


def pip_options(environ: Mapping[str, str], *, prefix: str) -> dict[str, str]:
    """Effective options of pip by their long names: files, then PIP_ variables over them.

    Raises:
        PlatformError: a file cannot be read.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _pip_files(environ, prefix):
        for section, values in _parse(path).items():
            sections.setdefault(section, {}).update(values)
    variables = {
        _normalised(name.removeprefix("PIP_")): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    options = sections["global"] | sections["install"] | variables
    if "default-timeout" in options:  # an older name of the same option
        options.setdefault("timeout", options["default-timeout"])
    return options


def _pip_files(environ: Mapping[str, str], prefix: str) -> Iterator[Path]:
    """The configuration files of pip, the strongest last."""
    given = environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    if not (given and os.path.exists(given)):
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(prefix, "pip.conf")
    if given:
        yield Path(given)


def _parse(path: Path) -> dict[str, dict[str, str]]:
    parser = RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError, ConfigParserError) as error:
        raise PlatformError(
            f"pip's configuration file {path} cannot be read: {' '.join(str(error).split())}",
            "Mend the file, or set PIP_CONFIG_FILE=/dev/null to go without.",
        ) from error
    return {
        section: {_normalised(name): value for name, value in parser.items(section)}
        for section in parser.sections()
    }


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _is_true(value: str) -> bool:
    return value.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _indexes(environ: Mapping[str, str], pip: Mapping[str, str]) -> Iterator[str]:
    """The default index, then the additional ones."""
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    yield _with_credentials(default or pip.get("index-url") or PYPI, environ)
    further = environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL")
    for url in (further or pip.get("extra-index-url", "")).split():
        yield _with_credentials(url, environ)


def _with_credentials(index: str, environ: Mapping[str, str]) -> str:
    """Resolve uv's ``name=url`` form, whose user and password are in variables of that name."""
    name, separator, url = index.partition("=")
    if not separator or not re.fullmatch(r"[\w.-]+", name):
        return index if "://" in index else Path(os.path.abspath(index)).as_uri()
    variable = "UV_INDEX_" + re.sub(r"\W", "_", name).upper()
    user = environ.get(f"{variable}_USERNAME", "")
    password = environ.get(f"{variable}_PASSWORD", "")
    parts = urlsplit(url)
    if not (user or password) or parts.username or parts.password:
        return url
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))


def _find_links(environ: Mapping[str, str], pip: Mapping[str, str]) -> Iterator[str]:
    told_uv = environ.get("UV_FIND_LINKS", "").split(",")
    for place in [each.strip() for each in told_uv if each.strip()] or pip.get(
        "find-links", ""
    ).split():
        yield place if "://" in place else os.path.abspath(os.path.expanduser(place))


def _ca(environ: Mapping[str, str], pip: Mapping[str, str]) -> str | None:
    """What pip would trust; SSL_CERT_FILE and SSL_CERT_DIR are read by OpenSSL and uv anyway."""
    given = pip.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    return os.path.abspath(os.path.expanduser(given)) if given else None


def _timeout_s(environ: Mapping[str, str], pip: Mapping[str, str]) -> float:
    given = environ.get("UV_HTTP_TIMEOUT") or pip.get("timeout") or ""
    try:
        return float(given) if given else Sources().timeout_s
    except ValueError as error:
        raise PlatformError(
            f"The timeout {given!r} (UV_HTTP_TIMEOUT, PIP_TIMEOUT or pip.conf) is not a number.",
            "Give it in seconds, e.g. PIP_TIMEOUT=60.",
        ) from error
