"""Spark on the lake: a real object store and Connect server, started by the platform's code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataharbour.errors import Unavailable
from dataharbour.platform import object_store, ports, spark
from dataharbour.platform.connect_probe import connect_problem
from dataharbour.platform.java import ensure_java

pytestmark = pytest.mark.spark

LOCK = Path(__file__).parents[2] / "include" / "spark" / "jars.lock"
TOKEN = "token-of-this-test"
KEYS = {"admin": ("ADMIN", "admin-secret"), "spark": ("SPARK", "spark-secret")}
FIRST_PORTS = {name: port + 9_000 for name, port in ports.PREFERRED.items()}
CLIENT = """
import sys
from pyspark.sql import SparkSession, functions as F
spark = SparkSession.builder.remote(sys.argv[1]).create()
try:
    exec(sys.stdin.read())
finally:
    spark.stop()
"""


@dataclass
class Lake:
    """The two servers, and a way to run a client's code."""

    store: object_store.Store
    store_process: subprocess.Popen[bytes]
    spark_process: subprocess.Popen[bytes]
    port: int
    log: Path

    def run(self, code: str, *, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `code`, which has `spark` and `F`, in a client's process."""
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CLIENT, f"sc://localhost:{self.port}"],
            input=code,
            env=client_environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def client_environment() -> dict[str, str]:
    return {**os.environ, "SPARK_CONNECT_AUTHENTICATE_TOKEN": TOKEN}


def wait_for(
    problem: Callable[[], str | None], process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 90
    while (reason := problem()) is not None:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, f"{reason}\n{log.read_text()[-3000:]}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    root = tmp_path_factory.mktemp("spark lake")  # with a space, as a checkout's folder may have
    chosen, _ = ports.choose(FIRST_PORTS, is_free=ports.is_free)
    store = object_store.Store("s3", root / "data", root / "config", chosen)
    files = spark.SparkFiles(
        root=root / "spark",
        owner=(os.getuid(), os.getgid()),
        lake_endpoint=store.endpoint,
        java_home=ensure_java(root / "spark" / "java"),
    )
    try:
        spark.ensure_jars(LOCK, files.jars, on_progress=lambda _: None)
    except Unavailable as error:
        pytest.skip(f"Spark's S3 jars cannot be had: {error.problem}")
    files.write(lake="s3a://lake")
    object_store.write_config(store, KEYS)
    argv, environment = spark.connect_command(
        files,
        port=chosen["spark_connect"],
        ui_port=chosen["spark_ui"],
        heap_mb=1024,
        token=TOKEN,
        s3_keys=KEYS["spark"],
    )
    log = root / "spark.log"
    system = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as stream, (root / "store.log").open("wb") as store_stream:
            processes.append(
                subprocess.Popen(
                    object_store.command(store), cwd=store.config, stdout=store_stream,
                    stderr=store_stream, env=system,
                )
            )  # fmt: skip
            processes.append(
                subprocess.Popen(
                    argv, cwd=files.work_dir, stdout=stream, stderr=stream,
                    env={**system, **environment},
                )
            )  # fmt: skip
        wait_for(
            lambda: object_store.answers(store, KEYS["admin"]), processes[0], root / "store.log"
        )
        object_store.ensure_buckets(store, KEYS["admin"])
        port = chosen["spark_connect"]
        wait_for(lambda: spark.connect_waiting_for(port, TOKEN), processes[1], log)
        yield Lake(store, *processes, port, log)
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in processes:
            process.wait(60)
        object_store.remove_sockets(store)


def test_every_listener_of_the_server_is_on_loopback(lake):
    listeners = listening(lake.spark_process.pid)
    assert len(listeners) == 4  # Connect, page, driver, block manager
    assert all(address.endswith("0100007F") for address in listeners), listeners


def test_another_token_is_refused_at_once(lake):
    began = time.monotonic()
    problem = connect_problem("127.0.0.1", lake.port, "somebody's")
    assert problem is not None
    assert "does not take our token" in problem
    assert time.monotonic() - began < 5


def test_partitions_and_tables_come_back_as_they_were_written(lake):
    done = lake.run(
        """
rows = spark.range(10_000).select("id", (F.col("id") % 12 + 1).alias("month"))
rows.write.partitionBy("month").parquet("s3a://lake/.attempts/x/silver/rows")
back = spark.read.parquet("s3a://lake/.attempts/x/silver/rows")
counts = back.groupBy("month").count()
counts.coalesce(1).write.mode("overwrite").parquet("s3a://lake/.attempts/x/gold/counts")
print(back.agg(F.sum("id")).collect()[0][0], counts.count())
"""
    )
    assert done.stdout.split() == [str(sum(range(10_000))), "12"], done.stderr
    s3 = object_store.client(lake.store.endpoint, KEYS["admin"])
    listed = s3.list_objects_v2(Bucket="lake", Prefix=".attempts/x/")["Contents"]
    data = {o["Key"].split("/")[-2] for o in listed if o["Key"].endswith(".parquet")}
    assert data == {*(f"month={m}" for m in range(1, 13)), "counts"}
    assert not [o["Key"] for o in listed if "_temporary" in o["Key"]]


def test_an_object_that_was_replaced_is_read_anew(lake):
    """The reader keeps what it knows of an object; the server lives for days."""
    s3 = object_store.client(lake.store.endpoint, KEYS["admin"])
    for text in ("first", "again", "longer than both"):
        s3.put_object(Bucket="lake", Key="raw/replaced.txt", Body=text.encode())
        done = lake.run('print(spark.read.text("s3a://lake/raw/replaced.txt").collect()[0][0])')
        assert done.stdout.strip() == text, done.stderr


def test_the_server_has_only_its_own_identitys_rights(lake):
    done = lake.run('spark.range(1).write.parquet("s3a://logs/stolen")')
    assert done.returncode != 0
    assert "AccessDenied" in done.stderr


def test_the_servers_secrets_are_in_no_command_line_log_or_setting(lake):
    argv = Path(f"/proc/{lake.spark_process.pid}/cmdline").read_text()
    done = lake.run('print([tuple(r) for r in spark.sql("SET").collect()])')
    assert done.returncode == 0, done.stderr
    for secret in (TOKEN, KEYS["spark"][1]):
        assert secret not in argv + lake.log.read_text() + done.stdout


def test_python_functions_and_files_of_a_client_run_on_the_server(lake, tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("def triple(x):\n    return 3 * x\n")
    done = lake.run(
        f"""
spark.addArtifacts({str(tmp_path / "helper_of_mine.py")!r}, pyfile=True)
def triple(x):
    import helper_of_mine
    return helper_of_mine.triple(x)
print([r[0] for r in spark.range(3).select(F.udf(triple, "long")("id")).collect()])
"""
    )
    assert done.stdout.strip() == "[0, 3, 6]", done.stderr


def test_a_store_that_is_down_fails_a_job_within_a_minute(lake):
    lake.store_process.terminate()  # last of the module: it does not come back
    lake.store_process.wait(60)
    began = time.monotonic()
    done = lake.run('spark.range(9).write.mode("overwrite").parquet("s3a://lake/.attempts/y")')
    assert done.returncode != 0
    assert time.monotonic() - began < 60
    assert "Connection refused" in done.stderr


def listening(pid: int) -> list[str]:
    """The addresses, as the kernel prints them, on which a process listens."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # closed while we looked
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.append(fields[1].split(":")[0])
    return found
