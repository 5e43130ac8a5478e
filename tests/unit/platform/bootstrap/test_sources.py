from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.sources import PYPI, Sources, pip_options, read_sources


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which every place of pip's files lies below a temporary folder."""
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": f"{tmp_path}/xdg1:{tmp_path}/xdg2",
    }


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(environ: dict[str, str], tmp_path: Path) -> Sources:
    return read_sources(environ, prefix=str(tmp_path / "prefix"))


def test_where_nothing_is_said_it_is_pypi(tmp_path):
    assert read({"PIP_CONFIG_FILE": "/dev/null"}, tmp_path) == Sources(indexes=(PYPI,))


def test_pip_files_override_each_other_in_pips_order(home, tmp_path):
    places = [
        tmp_path / "xdg1/pip/pip.conf",
        tmp_path / "xdg2/pip/pip.conf",
        tmp_path / "home/.pip/pip.conf",
        tmp_path / "home/.config/pip/pip.conf",
        tmp_path / "prefix/pip.conf",
        tmp_path / "given.conf",
    ]
    environ = home | {"PIP_CONFIG_FILE": str(places[-1])}
    for number, place in enumerate(places):
        if place == places[-1]:  # with this file, pip leaves the user's files out
            places[2].unlink()
            places[3].unlink()
        write(place, f"[global]\nindex-url = https://host/{number}\n")
        assert read(
            environ | {"PIP_CONFIG_FILE": str(tmp_path / "given.conf")}, tmp_path
        ).indexes == (f"https://host/{number}",)
    environ["PIP_INDEX_URL"] = "https://host/variable"
    assert read(environ, tmp_path).indexes == ("https://host/variable",)


def test_a_given_file_that_exists_hides_the_users_files(home, tmp_path):
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nproxy = http://users:1\n")
    given = write(tmp_path / "given.conf", "[global]\ntimeout = 7\n")
    assert read(home | {"PIP_CONFIG_FILE": str(given)}, tmp_path).proxy is None
    assert read(home | {"PIP_CONFIG_FILE": "/no/such/file"}, tmp_path).proxy == "http://users:1"


def test_the_install_section_overrides_the_global_one_of_any_file(home, tmp_path):
    write(tmp_path / "xdg1/pip/pip.conf", "[install]\nindex-url = https://host/install\n")
    write(tmp_path / "home/.pip/pip.conf", "[global]\nindex-url = https://host/global\n")
    write(tmp_path / "prefix/pip.conf", "[list]\nindex-url = https://host/list\n")
    assert read(home, tmp_path).indexes == ("https://host/install",)


def test_all_options_are_read_in_pips_spelling(home, tmp_path):
    write(
        tmp_path / "home/.config/pip/pip.conf",
        "[global]\n"
        "index_url = https://me:p%40ss@host/simple\n"
        "extra-index-url =\n    https://host/a\n    https://host/b\n"
        "trusted-host = host other:8443\n"
        "cert = /etc/own.pem\n"
        "client-cert = /etc/client.pem\n"
        "proxy = proxy.local:3128\n"
        "find-links = /mirror https://host/links\n"
        "default-timeout = 90\n",
    )
    assert read(home, tmp_path) == Sources(
        indexes=("https://me:p%40ss@host/simple", "https://host/a", "https://host/b"),
        find_links=("/mirror", "https://host/links"),
        trusted_hosts=("host", "other:8443"),
        ca="/etc/own.pem",
        client_cert="/etc/client.pem",
        proxy="proxy.local:3128",
        timeout_s=90,
    )


def test_no_index_leaves_the_mirror_folder_alone(tmp_path):
    environ = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "true", "PIP_FIND_LINKS": "/mirror"}
    sources = read(environ, tmp_path)
    assert (sources.indexes, sources.find_links) == ((), ("/mirror",))


def test_uvs_own_variables_come_before_pips(tmp_path):
    environ = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "https://pip/simple",
        "PIP_FIND_LINKS": "/pip",
        "UV_DEFAULT_INDEX": "https://uv/simple",
        "UV_INDEX": "https://uv/a corp=https://uv/b",
        "UV_INDEX_CORP_USERNAME": "me",
        "UV_INDEX_CORP_PASSWORD": "p@ss",
        "UV_FIND_LINKS": "/uv,/uv 2",
        "UV_INSECURE_HOST": "uv",
        "UV_HTTP_TIMEOUT": "12",
    }
    assert read(environ, tmp_path) == Sources(
        indexes=("https://uv/simple", "https://uv/a", "https://me:p%40ss@uv/b"),
        find_links=("/uv", "/uv 2"),
        trusted_hosts=("uv",),
        timeout_s=12,
    )


def test_an_index_that_is_a_folder_becomes_a_url(tmp_path):
    environ = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "/srv/simple index"}
    assert read(environ, tmp_path).indexes == ("file:///srv/simple%20index",)


@pytest.mark.parametrize("name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_are_taken_from_where_pip_takes_them(name, tmp_path):
    environ = {"PIP_CONFIG_FILE": "/dev/null", name: "/etc/ca.pem"}
    assert read(environ, tmp_path).ca == "/etc/ca.pem"


def test_a_configuration_file_that_is_none_is_named(home, tmp_path):
    path = write(tmp_path / "home/.pip/pip.conf", "index-url = https://host/simple\n")
    with pytest.raises(PlatformError, match=r"\.pip/pip\.conf cannot be read"):
        read(home, tmp_path)
    path.write_bytes(b"[global]\nproxy = \xff\n")
    with pytest.raises(PlatformError, match=r"\.pip/pip\.conf cannot be read"):
        read(home, tmp_path)


def test_a_timeout_that_is_no_number_is_named(tmp_path):
    environ = {"PIP_CONFIG_FILE": "/dev/null", "PIP_TIMEOUT": "long"}
    with pytest.raises(PlatformError, match="'long'"):
        read(environ, tmp_path)


def test_percent_signs_are_not_interpolated(home, tmp_path):
    write(tmp_path / "home/.pip/pip.conf", "[global]\nindex-url = https://a:%2F@host/\n")
    assert pip_options(home, prefix="/none")["index-url"] == "https://a:%2F@host/"
