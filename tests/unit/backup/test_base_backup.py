"""Base backups of a real cluster, into a vault and back."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from dataharbour.backup.sources.base_backup import BaseBackup, Server, back_up_base, restore_base
from dataharbour.backup.sources.base_manifest import NAME, differences, parse_manifest
from dataharbour.backup.sources.tar_members import Member, WatchedTar
from dataharbour.backup.vault.index import ContentIndex
from dataharbour.backup.vault.keys import open_as_reader
from dataharbour.backup.vault.points import numbers
from dataharbour.backup.vault.reading import PointReader
from dataharbour.errors import BackupCorrupt, Unavailable
from dataharbour.postgres.binaries import binary
from dataharbour.postgres.cluster import Cluster
from dataharbour.testing.clusters import (
    RunningCluster,
    free_port,
    running_cluster,
    server_account,
)
from dataharbour.testing.vaults import OPERATOR, VaultPlace

SOURCE = "postgres:main"


@pytest.fixture
def place(tmp_path) -> VaultPlace:
    return VaultPlace(tmp_path)


@pytest.fixture(scope="module")
def source_cluster() -> Iterator[RunningCluster]:
    with running_cluster({"summarize_wal": "on", "wal_level": "replica"}) as running:
        with psycopg.connect(running.cluster.conninfo(), autocommit=True) as admin:
            admin.execute("create table sale (id bigint primary key, note text)")
            admin.execute(
                "insert into sale select n, repeat('x', 200) from generate_series(1, 5000) n"
            )
        yield running


@pytest.fixture
def server(source_cluster) -> Server:
    cluster = source_cluster.cluster
    programs = binary("pg_basebackup").parent
    return Server("127.0.0.1", cluster.port, "postgres", programs, cluster.password)


def take(place: VaultPlace, server: Server, point_id: str, **chain) -> BaseBackup:
    writer = place.writer()
    point = writer.begin(point_id)
    try:
        with writer.session(point, SOURCE) as session:
            part = back_up_base(session, server, **chain)
        writer.commit(point, [part], {})
    finally:
        writer.abandon(point)
    return BaseBackup.of(part.about["base"])


def brought_back(place: VaultPlace, number: int) -> Path:
    keys, point = open_as_reader(place.store, OPERATOR), place.point(number)
    target = Path(tempfile.mkdtemp(prefix="dh-restored-")) / "data"
    target.parent.chmod(0o711)
    base = BaseBackup.of(point.document["sources"][SOURCE]["base"])
    with ContentIndex(place.root / f"{number}.db") as index:
        restore_base(PointReader(place.store, keys, point, index), base, target)
    return target


def booted(data: Path) -> dict[str, int]:
    """What a server on a restored folder says."""
    account = server_account()
    if account is not None:
        for path in (data, *data.rglob("*")):
            os.chown(path, account.uid, account.gid)
    cluster = Cluster(data, free_port(), "unused", account)
    (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
    running = RunningCluster(cluster, data.parent / "log", {})
    try:
        running.start()
        with psycopg.connect(cluster.conninfo()) as connection:
            found = connection.execute("select count(*), sum(length(note)) from sale").fetchone()
            assert found is not None
            return {"rows": found[0], "length": found[1]}
    finally:
        running.stop()
        shutil.rmtree(data.parent)


def change(source_cluster: RunningCluster, rows: int) -> None:
    with psycopg.connect(source_cluster.cluster.conninfo(), autocommit=True) as admin:
        admin.execute("delete from sale where id > 5000")
        admin.execute(
            "insert into sale select n, 'new' from generate_series(5001, 5000 + %s) n", [rows]
        )


def test_a_full_base_boots_with_what_was_committed(place, server, source_cluster):
    change(source_cluster, 7)
    base = take(place, server, "1")
    assert (base.form, base.parent) == ("full", None)
    assert booted(brought_back(place, 1)) == {"rows": 5007, "length": 5000 * 200 + 21}


def test_an_incremental_base_is_small_and_makes_a_whole_with_its_parent(
    place, server, source_cluster
):
    full = take(place, server, "1")
    change(source_cluster, 11)
    second = take(place, server, "2")
    assert (second.form, second.parent) == ("incremental", 1)
    assert second.bytes < full.bytes / 2
    folders = [brought_back(place, number) for number in (1, 2)]
    together = Path(tempfile.mkdtemp(prefix="dh-restored-")) / "data"
    together.parent.chmod(0o711)
    subprocess.run(
        [binary("pg_combinebackup"), *folders, "-o", together], check=True, capture_output=True
    )
    for folder in folders:
        shutil.rmtree(folder.parent)
    assert booted(together) == {"rows": 5011, "length": 5000 * 200 + 33}


def test_a_chain_ends_with_a_full_base(place, server):
    forms = [take(place, server, f"{n}", longest_chain=2).form for n in range(5)]
    assert forms == ["full", "incremental", "incremental", "full", "incremental"]


def test_another_cluster_in_the_servers_place_gets_a_full_base(place, server):
    take(place, server, "1")
    with running_cluster({"summarize_wal": "on"}) as other:
        there = replace(server, port=other.cluster.port, password=other.cluster.password)
        assert take(place, there, "2").form == "full"


def test_without_summaries_of_the_wal_it_is_a_full_one(place):
    with running_cluster() as plain:
        programs = binary("pg_basebackup").parent
        server = Server(
            "127.0.0.1", plain.cluster.port, "postgres", programs, plain.cluster.password
        )
        assert [take(place, server, f"{n}").form for n in range(2)] == ["full", "full"]


def test_a_server_that_is_away_or_refuses_makes_no_point(place, server):
    for wrong, words in (
        (replace(server, port=1), "refused"),
        (replace(server, password="no: such \\ one"), "password authentication failed"),
    ):
        with pytest.raises(Unavailable, match=words) as caught:
            take(place, wrong, "1")
        assert wrong.password not in str(caught.value)
    assert numbers(place.store) == []


def test_a_program_that_ends_early_makes_no_point(place, server, tmp_path):
    """The real tar, cut: by a server that dies, a full disk, a lost connection."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for size in (0, 100, 1_000_000):
        (programs / "pg_basebackup").write_text(
            f'#!/bin/sh\n"{server.programs}/pg_basebackup" "$@" | head -c {size}\n'
        )
        (programs / "pg_basebackup").chmod(0o755)
        with pytest.raises(BackupCorrupt, match="before its manifest"):
            take(place, replace(server, programs=programs), f"{size}")
    assert numbers(place.store) == []


def test_a_byte_that_changed_on_its_way_makes_no_point(place, server, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pg_basebackup").write_text(
        f'#!/bin/sh\n"{server.programs}/pg_basebackup" "$@" | '
        "sed 's/xxxxxxxxxxxxxxxxxxx/xxxxxxxxxxxyxxxxxxx/'\n"
    )
    (programs / "pg_basebackup").chmod(0o755)
    with pytest.raises(BackupCorrupt, match=r"faults; the first: base/\d+/\d+ has"):
        take(place, replace(server, programs=programs), "1")
    assert numbers(place.store) == []


def test_members_are_seen_whatever_the_reads_are(tmp_path):
    names = {"a": b"", "b/c": b"x" * 511, "d": b"y" * 512, "e": b"z" * 5_000, "f" * 120: b"long"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in names.items():
            member = tarfile.TarInfo(name if len(name) < 100 else f"{name[:60]}/{name[60:]}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for size in (1, 7, 512, 513, 100_000):
        watched = WatchedTar(io.BytesIO(buffer.getvalue()), keep=("e",))
        data = b""
        while part := watched.read(size):
            data += part
        assert data == buffer.getvalue()
        assert watched.is_complete
        sizes = {name: member.size_bytes for name, member in watched.members.items()}
        assert sizes == {
            name if len(name) < 100 else f"{name[:60]}/{name[60:]}": len(content)
            for name, content in names.items()
        }
        assert watched.kept == {"e": names["e"]}


def test_what_is_no_tar_is_told():
    for wrong in (b"x" * 2_000, b"\0" * 100 + b"x" * 412):
        with pytest.raises(ValueError, match="no tar"):
            WatchedTar(io.BytesIO(wrong)).read()


def test_every_difference_from_a_manifest_is_named(place, server):
    take(place, server, "1")
    data = brought_back(place, 1)
    manifest = parse_manifest((data / NAME).read_bytes())
    found = dict(manifest.files)
    assert list(differences(manifest, found)) == []
    first, second, *_ = found
    found[first] = Member(found[first].size_bytes, "0" * 64)
    del found[second]
    found["extra"] = Member(1, "0" * 64)
    told = list(differences(manifest, {**found, "pg_wal/0001": Member(1, "0" * 64)}))
    assert [line.split()[0] for line in told] == [first, second, "extra"]
    text = (data / NAME).read_bytes()
    for damaged in (text[:-30], text.replace(b'"Size": 3', b'"Size": 4', 1), b"{}", b""):
        with pytest.raises(BackupCorrupt, match="manifest of a base backup is damaged"):
            parse_manifest(damaged)
    shutil.rmtree(data.parent)
