"""The running platform: complete, closed to the outside, and back after every kill."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest

from dataharbour.platform import credentials, launch, object_store, ports
from dataharbour.platform.names import CLUSTER, SHOWN
from dataharbour.platform.object_store import Store
from dataharbour.platform.status import SECOND_SERVER
from dataharbour.platform.supervise import Supervisor

pytestmark = pytest.mark.integration

# Without what runs on demand; JupyterLab runs where it is installed.
_ON_DEMAND = {SECOND_SERVER, *CLUSTER} | (set() if find_spec("jupyterlab") else {"notebooks"})
USUAL = [name for name in SHOWN if name not in _ON_DEMAND]

LOOPBACK_HEX = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def status(platform) -> dict:
    return json.loads(platform.harbour("status", "-o", "json", check=False).stdout)


def until_ready(platform, timeout_s=90.0) -> dict:
    deadline = time.monotonic() + timeout_s
    while not (found := status(platform))["ready"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def secrets_of(platform) -> list[str]:
    def leaves(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            return [leaf for item in value for leaf in leaves(item)]
        return [value]

    found = leaves(asdict(credentials.load(platform.home.secrets)))
    return [s for s in found if not s.startswith("HB")]  # access keys are names, not secrets


def listeners(pids: set[int]) -> list[tuple[str, int]]:
    """(address in hex, port) of every listening TCP socket of `pids`."""
    inodes = set()
    for pid in pids:
        try:
            entries = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:  # gone; or one that hides from all but root, as Airflow's workers do
            continue
        for entry in entries:
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


def store(platform, name: str) -> Store:
    home, folder = platform.home, "vault" if name == "vault" else "object_store"
    known = ports.load(home.run / "ports.json")
    return Store(name, home.data / folder, home.config / folder, known)


def s3(platform, name, identity):
    secret = credentials.load(platform.home.secrets)
    keys = {**secret.s3, **secret.vault}[identity]
    return object_store.client(store(platform, name).endpoint, keys)


def test_every_service_runs_and_is_named(platform):
    found = until_ready(platform)
    assert [s["name"] for s in found["services"]] == USUAL
    assert {s["state"] for s in found["services"]} == {"running"}
    assert found["url"] == platform.airflow_url
    assert all(Path(s["log"]).exists() for s in found["services"])


def test_a_second_up_changes_nothing(platform):
    before = until_ready(platform)
    platform.harbour("up", "--no-tour")
    assert [s["pid"] for s in status(platform)["services"]] == [
        s["pid"] for s in before["services"]
    ]


def test_nothing_listens_beyond_loopback(platform):
    until_ready(platform)
    found = listeners(set(launch.marked(str(platform.home.root))))
    assert len(found) >= 12
    assert {address for address, _ in found} <= LOOPBACK_HEX


def test_a_listener_on_all_interfaces_would_be_seen():
    with socket.create_server(("0.0.0.0", 0)) as server:
        found = listeners({os.getpid()})
        assert ("00000000", server.getsockname()[1]) in found


def test_no_secret_stands_in_a_command_line(platform):
    until_ready(platform)
    secrets = secrets_of(platform)
    for pid in launch.marked(str(platform.home.root)):
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not [s for s in secrets if s in line], line


@pytest.fixture
def dataharbour(platform):
    """The database `dataharbour`, in a transaction that is not committed; a run has logged."""
    api, env = platform.api, platform.environment
    if not list(api.items("runs", limit=1)):
        run = api.start("jobs/flights_delays/runs", {}, key="logs-something")
        assert list(api.watch(run["id"], timeout_s=300))[-1]["state"] == "SUCCEEDED"
    with psycopg.connect(
        host=env["PGHOST"], port=env["PGPORT"], user=env["PGUSER"], password=env["PGPASSWORD"],
        dbname=env["PGDATABASE"],
    ) as connection:  # fmt: skip
        yield connection
        connection.rollback()


def logged(platform, dataharbour) -> Iterator[tuple[str, str]]:
    """(where, text) of everything that the platform wrote down as a log."""
    home = platform.home
    for folder in (home.logs, home.runs, home.airflow / "logs"):
        for file in folder.rglob("*.log*"):  # with those that were rotated away
            yield str(file), file.read_text(errors="replace")
    admin = s3(platform, "s3", "admin")
    for page in admin.get_paginator("list_objects_v2").paginate(Bucket="logs"):
        for found in page.get("Contents", []):
            body = admin.get_object(Bucket="logs", Key=found["Key"])["Body"].read()
            yield f"s3://logs/{found['Key']}", body.decode(errors="replace")
    for (lines,) in dataharbour.execute("select lines::text from log_chunk"):
        yield "log_chunk", lines


def test_no_secret_stands_in_a_log(platform, dataharbour):
    secrets = secrets_of(platform)
    places = [
        where
        for where, text in logged(platform, dataharbour)
        if any(secret in text for secret in secrets)
    ]
    assert places == []


def test_a_secret_in_any_log_would_be_seen(platform, dataharbour):
    home, admin, planted = platform.home, s3(platform, "s3", "admin"), "planted-by-the-test"
    files = [
        home.logs / "planted.log.1",
        home.runs / "planted" / "supervisor.log",
        home.airflow / "logs" / "planted" / "attempt=1.log",
    ]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(planted)
    admin.put_object(Bucket="logs", Key="planted/attempt=1.log", Body=planted.encode())
    dataharbour.execute("update log_chunk set lines = to_jsonb(%s::text)", [planted])
    try:
        places = {where for where, text in logged(platform, dataharbour) if planted in text}
    finally:
        admin.delete_object(Bucket="logs", Key="planted/attempt=1.log")
        for file in files:
            file.unlink()
    assert places == {*map(str, files), "s3://logs/planted/attempt=1.log", "log_chunk"}


def test_other_users_read_nothing_of_the_state_folder(platform):
    """Spark's and PostgreSQL's own folders belong to somebody else; people's files are theirs."""
    for folder, _, files in os.walk(platform.home.root):
        if Path(folder).stat().st_uid != os.getuid():
            continue
        if Path(folder).is_relative_to(platform.home.applications):
            continue  # people put them there, and containers of other users read them
        readable = [f for f in files if (Path(folder) / f).lstat().st_mode & 0o004]
        reachable = all(
            p.stat().st_mode & 0o001
            for p in (Path(folder), *Path(folder).parents)
            if p.is_relative_to(platform.home.root)
        )
        inside_spark = Path(folder).is_relative_to(platform.home.spark)
        assert not (readable and reachable and not inside_spark), (folder, readable)


def test_the_database_wants_a_password(platform):
    conninfo = psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=platform.environment["PGPORT"], user="postgres", dbname="postgres"
    )
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(conninfo, password="postgres")


def test_the_drivers_role_reads_no_table(platform):
    dsn = (platform.home.secrets / "driver.dsn").read_text()
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select * from run")


def file_id(data: Path, bucket: str, content: bytes) -> str:
    """The id by which a volume server knows the object with this content.

    Source: seaweedfs, weed/storage/types: an index entry is key, offset / 8 (its low 32 bits, then
    8 high ones) and size; an object's header in the volume is cookie, key, size, content's length.
    """
    for index in data.glob(f"{bucket}_*.idx"):
        volume = index.with_suffix(".dat").read_bytes()
        for key, offset, _high, _size in struct.iter_unpack(">QIBi", index.read_bytes()):
            if volume[offset * 8 + 20 :].startswith(content):
                cookie = volume[offset * 8 : offset * 8 + 4].hex()
                return f"{index.stem.removeprefix(f'{bucket}_')},{key:x}{cookie}"
    raise AssertionError(f"no volume of {bucket} holds {content!r}")


@pytest.mark.parametrize(
    ("name", "bucket", "identity"), [("s3", "lake", "admin"), ("vault", "vault", "vault_admin")]
)
def test_the_stores_inner_ports_refuse_strangers(platform, name, bucket, identity):
    stores, client = store(platform, name), s3(platform, name, identity)
    content = f"closed to strangers {time.time_ns()}".encode()
    client.put_object(Bucket=bucket, Key="test/closed", Body=content)
    file = file_id(stores.data, bucket, content)
    for part, method, path in (
        ("master", "POST", f"/col/delete?collection={bucket}"),
        ("master", "GET", f"/dir/assign?collection={bucket}"),
        ("filer", "DELETE", f"/buckets/{bucket}?recursive=true"),
        ("filer", "GET", f"/buckets/{bucket}/"),
        ("volume", "GET", f"/{file}"),
        ("volume", "DELETE", f"/{file}"),
    ):
        url = f"http://127.0.0.1:{stores.port(part)}{path}"
        answer = httpx.request(method, url, trust_env=False)
        assert answer.status_code in (401, 403, 404), (url, answer.text)
        assert client.get_object(Bucket=bucket, Key="test/closed")["Body"].read() == content
    # The id is the right one: with the store's own token the same request deletes.
    key = tomllib.loads((stores.config / "security.toml").read_text())["jwt"]["signing"]["key"]
    token = jwt.encode({"fid": file, "exp": time.time() + 60}, key)
    mine = httpx.delete(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert mine.status_code == 202, mine.text
    client.delete_object(Bucket=bucket, Key="test/closed")


SETTINGS = b"\x04"  # the type of the frame by which a server answers the beginning of HTTP/2


def greeting(channel: socket.socket) -> bytes:
    """The type of the first HTTP/2 frame that comes back; nothing where we are hung up on."""
    try:
        channel.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return channel.recv(9)[3:4]
    except ConnectionError:
        return b""


@pytest.mark.parametrize("part", ["master", "volume", "filer", "s3"])
@pytest.mark.parametrize("name", ["s3", "vault"])
def test_the_stores_grpc_ports_want_a_certificate(platform, name, part):
    stores = store(platform, name)
    port = stores.ports[name] if part == "s3" else stores.port(part)
    context = ssl.create_default_context(cafile=stores.config / "ca.pem")
    context.set_alpn_protocols(["h2"])

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port + ports.GRPC_OFFSET), timeout=5)

    with connect() as plain:
        assert greeting(plain) != SETTINGS
    with (
        connect() as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        greeting(channel)  # in TLS 1.3 the refusal comes after the handshake
    context.load_cert_chain(stores.config / "store.pem", stores.config / "store.key")
    with connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as channel:
        assert greeting(channel) == SETTINGS


def refused(call) -> bool:
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "InvalidAccessKeyId")
    return False


def test_spark_reaches_the_lake_and_nothing_else(platform):
    spark = s3(platform, "s3", "spark")
    spark.put_object(Bucket="lake", Key="test/spark", Body=b"x")
    assert spark.get_object(Bucket="lake", Key="test/spark")["Body"].read() == b"x"
    assert refused(lambda: spark.list_objects_v2(Bucket="logs"))
    assert refused(lambda: spark.put_object(Bucket="logs", Key="x", Body=b""))
    assert refused(lambda: s3(platform, "vault", "spark").list_objects_v2(Bucket="vault"))


def test_a_replaced_object_of_the_lake_can_be_brought_back(platform):
    spark = s3(platform, "s3", "admin")
    first = spark.put_object(Bucket="lake", Key="test/versions", Body=b"one")["VersionId"]
    spark.put_object(Bucket="lake", Key="test/versions", Body=b"two")
    old = spark.get_object(Bucket="lake", Key="test/versions", VersionId=first)
    assert old["Body"].read() == b"one"


def test_the_backup_identity_writes_and_cannot_delete_or_shorten(platform):
    from datetime import UTC, datetime, timedelta

    backup = s3(platform, "vault", "backup")
    until = datetime.now(UTC) + timedelta(minutes=5)
    put = backup.put_object(
        Bucket="vault", Key="test/locked", Body=b"x",
        ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until,
    )  # fmt: skip
    version = put["VersionId"]
    assert refused(lambda: backup.delete_object(Bucket="vault", Key="test/locked"))
    assert refused(
        lambda: backup.delete_object(Bucket="vault", Key="test/locked", VersionId=version)
    )
    sooner = {"Mode": "GOVERNANCE", "RetainUntilDate": until - timedelta(minutes=2)}
    assert refused(
        lambda: backup.put_object_retention(
            Bucket="vault", Key="test/locked", Retention=sooner, BypassGovernanceRetention=True
        )
    )


def test_the_prune_identity_deletes_what_no_lock_holds(platform):
    backup, prune = s3(platform, "vault", "backup"), s3(platform, "vault", "prune")
    version = backup.put_object(Bucket="vault", Key="test/free", Body=b"x")["VersionId"]
    prune.delete_object(Bucket="vault", Key="test/free", VersionId=version)
    listed = prune.list_object_versions(Bucket="vault", Prefix="test/free")
    assert not listed.get("Versions")


@pytest.mark.parametrize("name", USUAL)
def test_a_killed_service_comes_back(platform, name):
    before = pids(until_ready(platform))
    os.kill(before[name], 9)
    deadline = time.monotonic() + 30
    while pids(status(platform))[name] in (before[name], None):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert set(pids(until_ready(platform))) == set(USUAL)


def pids(found) -> dict[str, int | None]:
    return {service["name"]: service["pid"] for service in found["services"]}


def test_up_heals_after_the_supervisor_was_killed(platform):
    until_ready(platform)
    orphans = launch.marked(str(platform.home.root))
    assert set(USUAL) <= set(orphans.values())
    os.kill(int((platform.home.run / "supervisor.pid").read_text()), 9)
    deadline = time.monotonic() + 10
    while Supervisor(platform.home).is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    platform.harbour("up", "--no-tour")
    found = until_ready(platform)
    assert set(pids(found)) == set(USUAL)
    assert set(launch.marked(str(platform.home.root))).isdisjoint(orphans)


def test_down_leaves_no_process_and_no_socket_and_keeps_the_data(platform):
    until_ready(platform)
    known = ports.load(platform.home.run / "ports.json")
    platform.harbour("down")
    assert launch.marked(str(platform.home.root)) == {}
    assert not any(map(ports.is_open, known.values()))
    assert not platform.home.socket.exists()
    for name in ("s3", "vault"):
        assert not [s for s in store(platform, name).sockets if s.exists()]
    began = time.monotonic()
    platform.harbour("up", "--no-tour")
    until_ready(platform)
    print(f"second up: {time.monotonic() - began:.1f} s")
    assert ports.load(platform.home.run / "ports.json") == known
