"""Files come from an index, a folder or through a proxy, with what the standard library has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.index import PackageIndex
from dataharbour.platform.bootstrap.sources import Sources

pytestmark = pytest.mark.integration

NAME = "thing-1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = frozenset({hashlib.sha256(CONTENT).hexdigest()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "offered"
    path.mkdir()
    (path / NAME).write_bytes(CONTENT)
    return path


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def fetch(
    sources: Sources, target: Path, *, sha256: frozenset[str] = DIGEST
) -> list[tuple[int, int]]:
    """Look for `NAME` and download it; returns what was reported."""
    packages, reports = PackageIndex(sources, sleep=lambda seconds: None), []
    link = next(link for link in packages.links("thing") if link.name == NAME)
    packages.download(link, target, sha256=sha256, report=lambda *told: reports.append(told))
    return reports


@pytest.mark.parametrize("form", ["json", "html"])
def test_both_forms_of_the_simple_api_are_read(form, new_index, folder, tmp_path):
    server = new_index(folder)
    server.form = form
    reports = fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("as_url", [True, False], ids=["url", "path"])
def test_a_mirror_folder_needs_no_index(as_url, folder, tmp_path):
    place = folder.as_uri() if as_url else str(folder)
    fetch(Sources(indexes=(), find_links=(place,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_mirror_folder_that_is_gone_is_passed_over(new_index, folder, tmp_path):
    server = new_index(folder)
    fetch(Sources(indexes=(server.url,), find_links=("/no/such/folder",)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


def test_an_index_made_of_files_works(folder, tmp_path):
    page = tmp_path / "simple" / "thing" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<base href="{folder.as_uri()}/"><a href="{NAME}">{NAME}</a>')
    fetch(Sources(indexes=((tmp_path / "simple").as_uri(),)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_an_index_that_does_not_know_the_package_leads_to_the_next(new_index, folder, tmp_path):
    (tmp_path / "nothing").mkdir()
    empty, full = new_index(tmp_path / "nothing"), new_index(folder)
    fetch(Sources(indexes=(empty.url, full.url)), tmp_path / NAME)
    assert empty.asked == ["/simple/thing/"]


def test_credentials_in_the_url_reach_pages_and_files(new_index, folder, tmp_path):
    server = new_index(folder)
    server.credentials = "me:s@cret"
    fetch(Sources(indexes=(server.url_with("me:s%40cret"),)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


def test_credentials_in_netrc_are_found(new_index, folder, tmp_path):
    server = new_index(folder)
    server.credentials = "me:secret"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


def test_credentials_are_not_shown_to_the_server_that_keeps_the_files(new_index, folder, tmp_path):
    server, other = new_index(folder), new_index(folder)
    server.credentials = "me:secret"
    server.files_at = other.url.removesuffix("/simple")
    fetch(Sources(indexes=(server.url_with("me:secret"),)), tmp_path / NAME)
    assert other.authorizations == [None]


def test_wrong_credentials_are_told_without_the_password(new_index, folder, tmp_path):
    server = new_index(folder)
    server.credentials = "me:secret"
    with pytest.raises(PlatformError, match=r"simple/thing/.*401") as caught:
        fetch(Sources(indexes=(server.url_with("me:wrong"),)), tmp_path / NAME)
    assert "netrc" in caught.value.remedy
    assert "wrong" not in str(caught.value)


def test_a_proxy_is_asked_for_everything(new_index, folder, tmp_path):
    proxy = new_index(folder)
    sources = Sources(indexes=("http://index.invalid/simple",), proxy=proxy.url.split("/simple")[0])
    fetch(sources, tmp_path / NAME)
    assert proxy.asked == ["proxy /simple/thing/", f"proxy /files/{NAME}"]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(variable, new_index, folder, tmp_path, monkeypatch):
    proxy = new_index(folder)
    monkeypatch.setenv(variable, proxy.url.split("/simple")[0])
    fetch(Sources(indexes=("http://index.invalid/simple",)), tmp_path / NAME)
    assert len(proxy.asked) == 2


def test_no_proxy_goes_straight(new_index, folder, tmp_path, monkeypatch):
    server = new_index(folder)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


def test_a_certificate_authority_of_ones_own_is_trusted_when_named(
    new_index, folder, tmp_path, certificate
):
    ca, context = certificate
    server = new_index(folder, tls=context)
    fetch(Sources(indexes=(server.url,), ca=str(ca)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


def test_an_unknown_certificate_is_refused_with_the_option_that_helps(
    new_index, folder, tmp_path, certificate
):
    _, context = certificate
    server = new_index(folder, tls=context)
    with pytest.raises(PlatformError, match="certificate") as caught:
        fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert "PIP_CERT" in caught.value.remedy


def test_a_trusted_host_needs_no_known_certificate(new_index, folder, tmp_path, certificate):
    _, context = certificate
    server = new_index(folder, tls=context)
    fetch(Sources(indexes=(server.url,), trusted_hosts=("127.0.0.1",)), tmp_path / NAME)
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "broken"])
def test_unreadable_certificates_are_named(content, tmp_path):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(PlatformError, match=r"ca\.pem"):
        PackageIndex(Sources(ca=str(path)))


def test_a_download_that_broke_off_goes_on_where_it_stopped(new_index, folder, tmp_path):
    server = new_index(folder)
    server.cut = "thing"
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.bytes_sent[NAME] == len(CONTENT)
    assert len(server.downloads(NAME)) == 2


def test_the_next_process_goes_on_with_what_the_last_one_left(new_index, folder, tmp_path):
    server = new_index(folder)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1_000_000])
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert server.bytes_sent[NAME] == len(CONTENT) - 1_000_000


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b"of another file"])
def test_what_was_left_is_not_trusted(left, new_index, folder, tmp_path):
    server = new_index(folder)
    (tmp_path / f"{NAME}.part").write_bytes(left)
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_that_only_sends_whole_files_is_put_up_with(new_index, folder, tmp_path):
    server = new_index(folder)
    server.has_ranges = False
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_file_that_is_not_the_locks_is_refused_and_removed(new_index, folder, tmp_path):
    server = new_index(folder)
    (folder / NAME).write_bytes(b"something else")
    with pytest.raises(PlatformError, match="sha256"):
        fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["offered"]


def test_a_file_that_is_there_is_not_asked_for(new_index, folder, tmp_path):
    server = new_index(folder)
    (tmp_path / NAME).write_bytes(CONTENT)
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert server.downloads(NAME) == []


@pytest.mark.parametrize("left", [b"", CONTENT[:1000], CONTENT[:-1] + b"x"])
def test_a_broken_file_from_before_is_replaced(left, new_index, folder, tmp_path):
    server = new_index(folder)
    (tmp_path / NAME).write_bytes(left)
    fetch(Sources(indexes=(server.url,)), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_full_disk_is_not_taken_for_a_bad_server(new_index, folder):
    server = new_index(folder)
    packages = PackageIndex(Sources(indexes=(server.url,)))
    link = next(packages.links("thing"))
    with (
        open("/dev/full", "ab", buffering=0) as stream,
        pytest.raises(PlatformError, match=r"/dev/full.*No space left"),
    ):
        packages._fetch(link, stream, lambda done, total: None)
    assert len(server.downloads(NAME)) == 1
