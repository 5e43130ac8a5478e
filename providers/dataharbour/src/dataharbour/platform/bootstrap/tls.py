"""Trust whom pip would: its option, else the system's certificates, else those that pip carries."""

from __future__ import annotations

import importlib.util
import os
import ssl
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.sources import Sources

_PIP_CERTIFICATES = "pip/_vendor/certifi/cacert.pem"
_DEBIAN_WHEELS = Path("/usr/share/python-wheels")  # where Debian keeps ensurepip's pip


def tls_context(sources: Sources) -> ssl.SSLContext:
    """The context that checks certificates.

    Raises:
        PlatformError: the certificates that were named cannot be read, or there are none at all.
    """
    context = _trusting(sources.ca) if sources.ca else ssl.create_default_context()
    if not sources.ca and not has_system_certificates():
        context.load_verify_locations(cadata=_carried_certificates())
    if sources.client_cert:
        try:
            context.load_cert_chain(sources.client_cert)
        except OSError as error:
            raise PlatformError(
                f"The client certificate {sources.client_cert} cannot be read: {error}",
                "Mend client-cert in pip.conf, PIP_CLIENT_CERT or SSL_CLIENT_CERT.",
            ) from error
    return context


def unchecked_context() -> ssl.SSLContext:
    """The context for trusted hosts: encrypted, but with whom is not checked."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def has_system_certificates() -> bool:
    """Whether OpenSSL finds certificates: by SSL_CERT_FILE, SSL_CERT_DIR or in its own place."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile and os.path.isfile(paths.cafile):
        return True
    return bool(paths.capath and os.path.isdir(paths.capath) and os.listdir(paths.capath))


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        if os.path.isdir(ca):
            return ssl.create_default_context(capath=ca)
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # SSLError, of what is no certificate, is one too
        raise PlatformError(
            f"The certificates {ca} cannot be read: {error}",
            "Mend PIP_CERT, `cert` in pip.conf, or REQUESTS_CA_BUNDLE.",
        ) from error


def _carried_certificates() -> str:
    """The certificates inside an installed or bundled pip, for machines without ca-certificates."""
    for content in _each_carried():
        return content
    raise PlatformError(
        f"No certificates to check HTTPS servers by were found "
        f"({ssl.get_default_verify_paths().openssl_cafile}).",
        "Install them (Debian: apt install ca-certificates), or set SSL_CERT_FILE=/path/to/ca.pem.",
    )


def _each_carried() -> Iterator[str]:
    pip = importlib.util.find_spec("pip")
    for folder in (pip.submodule_search_locations or []) if pip else []:
        path = Path(folder).parent / _PIP_CERTIFICATES
        if path.is_file():
            yield path.read_text(encoding="utf-8")
    ensurepip = importlib.util.find_spec("ensurepip")
    bundled = Path(ensurepip.origin).parent / "_bundled" if ensurepip and ensurepip.origin else None
    for wheels in filter(None, (bundled, _DEBIAN_WHEELS)):
        for wheel in sorted(wheels.glob("pip-*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                if _PIP_CERTIFICATES in archive.namelist():
                    yield archive.read(_PIP_CERTIFICATES).decode()
