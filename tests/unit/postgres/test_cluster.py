from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import launch
from dataharbour.platform.accounts import unreachable
from dataharbour.postgres.binaries import binary
from dataharbour.postgres.cluster import Account, Cluster, initialise, is_complete

START = """
import sys
from pathlib import Path
from dataharbour.platform import launch
from dataharbour.postgres.cluster import Account, Cluster, initialise
data, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cluster = Cluster(data, 1, "secret", Account(uid, gid) if uid else None)
initialise(cluster, environment=launch.marks(data.parent, "initdb"))
"""


@pytest.fixture
def cluster():
    account = None
    if os.geteuid() == 0:  # PostgreSQL refuses root
        nobody = pwd.getpwnam("nobody")
        account = Account(nobody.pw_uid, nobody.pw_gid)
        if closed := unreachable(account, binary("initdb")):
            pytest.skip(f"{closed} is closed to the user that runs PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="dh-cluster-"))
    folder.chmod(0o711)
    yield Cluster(folder / "postgres", 1, "secret", account)
    shutil.rmtree(folder)


def test_a_killed_initdb_is_found_and_the_next_one_begins_anew(cluster):
    account = cluster.account or Account(0, 0)
    arguments = [str(cluster.data), str(account.uid), str(account.gid)]
    start = subprocess.Popen([sys.executable, "-c", START, *arguments])
    deadline = time.monotonic() + 30
    draft = cluster.data.with_name("postgres.new")
    while not (cluster.data / "PG_VERSION").exists() and not (draft / "PG_VERSION").exists():
        assert time.monotonic() < deadline
        assert start.poll() is None
        time.sleep(0.005)
    start.kill()
    start.wait()
    left = launch.marked(str(cluster.data.parent), service="initdb")
    assert left
    for pid in left:
        with contextlib.suppress(ProcessLookupError):  # a child of one that was killed just now
            os.kill(pid, 9)
    launch.stop_all(list(left), grace_s=0)
    assert not is_complete(cluster.data)
    initialise(cluster)
    assert is_complete(cluster.data)
    assert (cluster.data / "global" / "pg_control").exists()
    assert not draft.exists()


def test_what_is_no_cluster_is_named_and_left_alone(cluster):
    cluster.data.mkdir()
    (cluster.data / "thesis.txt").write_text("mine")
    with pytest.raises(PlatformError, match="in the way"):
        initialise(cluster)
    assert (cluster.data / "thesis.txt").read_text() == "mine"
