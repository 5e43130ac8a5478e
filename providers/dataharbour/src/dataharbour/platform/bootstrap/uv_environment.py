"""Decide the environment that uv runs in: the sources, and nothing that would bend the lock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataharbour.platform.bootstrap.sources import PYPI, Sources

# What a person may tell uv here. Anything else (UV_SYSTEM_PYTHON, UV_CONSTRAINT, UV_NO_BINARY, …)
# would install something other than the lock, or elsewhere.
_PASSED = (
    "UV_CACHE_DIR",
    "UV_CONCURRENT_",
    "UV_CONFIG_FILE",
    "UV_CREDENTIALS_DIR",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_HTTP_",
    "UV_INDEX",  # and UV_INDEX_URL, UV_INDEX_STRATEGY, UV_INDEX_<NAME>_PASSWORD
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_NO_CONFIG",
    "UV_OFFLINE",
    "UV_SYSTEM_CERTS",
)
_PATHS = {"UV_CACHE_DIR", "UV_CONFIG_FILE"}  # uv runs in the checkout, not where the caller is
_DROPPED = {
    "CLICOLOR_FORCE",
    "CONDA_PREFIX",
    "FORCE_COLOR",
    "PYTHONHOME",
    "PYTHONPATH",
    "RUST_LOG",
    "VIRTUAL_ENV",
}


def uv_environment(
    sources: Sources,
    environ: Mapping[str, str],
    *,
    temporary: Path,
    has_system_certificates: bool,
) -> dict[str, str]:
    """The variables for every call of uv. Credentials travel here, never as arguments.

    Args:
        sources: where packages come from.
        environ: the caller's variables.
        temporary: folder for temporary files; must exist when uv runs.
        has_system_certificates: whether the system has a certificate store to prefer to uv's own.
    """
    passed = {
        name: os.path.abspath(value) if name in _PATHS else value
        for name, value in environ.items()
        if name not in _DROPPED
        and (not name.startswith("UV_") or (name.startswith(_PASSED) and value))
    }
    return (
        _defaults(sources, environ, has_system_certificates=has_system_certificates)
        | passed
        | _tls_and_proxy(sources)
        | {
            "NO_COLOR": "1",  # its lines are read
            "TMPDIR": str(temporary),  # the usual one may be full, or allow no programs
            "UV_PYTHON_DOWNLOADS": "never",
        }
    )


def _defaults(
    sources: Sources, environ: Mapping[str, str], *, has_system_certificates: bool
) -> dict[str, str]:
    """What holds where the caller has not told uv itself."""
    defaults = {
        "UV_CONCURRENT_DOWNLOADS": "8"
    }  # of fewer at a time, fewer are lost by an interrupt
    default, further = sources.indexes[:1], sources.indexes[1:]
    if "UV_INDEX_URL" not in environ and default and default[0] != PYPI:
        defaults["UV_DEFAULT_INDEX"] = default[0]
    if "UV_EXTRA_INDEX_URL" not in environ and further:
        defaults["UV_INDEX"] = " ".join(further)
    if further:  # as pip does it; harmless, for every file must have a hash of the lock
        defaults["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if sources.find_links:
        defaults["UV_FIND_LINKS"] = ",".join(sources.find_links)
    if sources.trusted_hosts:
        defaults["UV_INSECURE_HOST"] = " ".join(sources.trusted_hosts)
    if sources.timeout_s != Sources().timeout_s:
        defaults["UV_HTTP_TIMEOUT"] = str(round(sources.timeout_s))
    if has_system_certificates and "UV_NATIVE_TLS" not in environ:
        defaults["UV_SYSTEM_CERTS"] = "true"
    return defaults


def _tls_and_proxy(sources: Sources) -> dict[str, str]:
    """Options of pip itself, which are stronger than the variables that other programs share."""
    values: dict[str, str] = {}
    if sources.ca:
        values["SSL_CERT_DIR" if Path(sources.ca).is_dir() else "SSL_CERT_FILE"] = sources.ca
    if sources.client_cert:
        values["SSL_CLIENT_CERT"] = sources.client_cert
    if sources.proxy:
        proxy = sources.proxy if "://" in sources.proxy else f"http://{sources.proxy}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        values |= dict.fromkeys(names, proxy)
    return values
