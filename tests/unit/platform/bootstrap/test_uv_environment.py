from __future__ import annotations

from pathlib import Path
from typing import Any

from dataharbour.platform.bootstrap.sources import Sources
from dataharbour.platform.bootstrap.uv_environment import uv_environment


def given_to_uv(sources: Sources | None = None, /, **environ: str) -> dict[str, Any]:
    return uv_environment(
        sources or Sources(),
        environ,
        temporary=Path("/t"),
        has_system_certificates=True,
    )


def test_uv_learns_what_pip_was_told():
    sources = Sources(
        indexes=("https://me:pw@host/simple", "https://host/more"),
        find_links=("/mirror", "/mirror 2"),
        trusted_hosts=("host", "other"),
        ca="/etc/own.pem",
        client_cert="/etc/client.pem",
        proxy="proxy.local:3128",
        timeout_s=90,
    )
    told = given_to_uv(sources, SSL_CERT_FILE="/etc/system.pem", https_proxy="http://else:1")
    assert told["UV_DEFAULT_INDEX"] == "https://me:pw@host/simple"
    assert told["UV_INDEX"] == "https://host/more"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["UV_FIND_LINKS"] == "/mirror,/mirror 2"
    assert told["UV_INSECURE_HOST"] == "host other"
    assert told["SSL_CERT_FILE"] == "/etc/own.pem"
    assert told["SSL_CLIENT_CERT"] == "/etc/client.pem"
    assert told["HTTPS_PROXY"] == told["https_proxy"] == "http://proxy.local:3128"
    assert told["UV_HTTP_TIMEOUT"] == "90"


def test_a_folder_of_certificates_is_told_as_one(tmp_path):
    told = given_to_uv(Sources(ca=str(tmp_path)))
    assert told["SSL_CERT_DIR"] == str(tmp_path)


def test_what_was_said_to_uv_stays():
    said = {
        "UV_DEFAULT_INDEX": "corp=https://uv/simple",
        "UV_INDEX_CORP_PASSWORD": "pw",
        "UV_CACHE_DIR": "/cache",
        "UV_LINK_MODE": "copy",
        "UV_OFFLINE": "1",
        "UV_CONCURRENT_DOWNLOADS": "2",
        "UV_SYSTEM_CERTS": "false",
        "UV_KEYRING_PROVIDER": "subprocess",
        "HTTPS_PROXY": "http://proxy:1",
        "NO_PROXY": "host",
        "NETRC": "/n",
    }
    told = given_to_uv(Sources(indexes=("https://pip/simple",)), **said)
    assert told | said == told


def test_the_older_names_of_variables_are_not_contradicted():
    said = {"UV_INDEX_URL": "https://uv/", "UV_EXTRA_INDEX_URL": "https://b/", "UV_NATIVE_TLS": "0"}
    told = given_to_uv(Sources(indexes=("https://uv/", "https://b/")), **said)
    assert {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_SYSTEM_CERTS"}.isdisjoint(told)


def test_what_would_install_something_else_or_elsewhere_is_kept_back():
    bent = [
        "UV_SYSTEM_PYTHON",
        "UV_PYTHON",
        "UV_CONSTRAINT",
        "UV_OVERRIDE",
        "UV_NO_BINARY",
        "UV_EXCLUDE_NEWER",
        "UV_PROJECT_ENVIRONMENT",
        "UV_VENV_SEED",
        "UV_WORKING_DIR",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHOME",
        "RUST_LOG",
        "FORCE_COLOR",
    ]
    assert set(bent).isdisjoint(given_to_uv(**dict.fromkeys(bent, "1")))


def test_relative_folders_are_the_callers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert given_to_uv(UV_CACHE_DIR="cache")["UV_CACHE_DIR"] == f"{tmp_path}/cache"


def test_pypi_needs_no_words():
    told = given_to_uv()
    assert "UV_DEFAULT_INDEX" not in told
    assert "UV_INDEX_STRATEGY" not in told
    assert told["UV_PYTHON_DOWNLOADS"] == "never"
    assert told["TMPDIR"] == "/t"
