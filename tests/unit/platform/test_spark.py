from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from dataharbour.errors import Unavailable
from dataharbour.platform import spark_settings
from dataharbour.platform.connect_probe import connect_problem
from dataharbour.platform.java import ensure_java
from dataharbour.platform.spark import (
    SparkFiles,
    connect_command,
    ensure_jars,
    render_defaults,
    spark_home,
)

TOKEN, KEYS = "t0ken-of-the-server", ("ACCESSKEY", "s3cret-of-the-lake")


@pytest.fixture
def files(tmp_path: Path) -> SparkFiles:
    return SparkFiles(
        root=tmp_path / "spark of mine",
        owner=(os.getuid(), os.getgid()),
        lake_endpoint="http://127.0.0.1:18333",
        java_home=Path("/usr/lib/jvm/java"),
    )


def command(files: SparkFiles) -> tuple[list[str], dict[str, str]]:
    return connect_command(
        files, port=15002, ui_port=14040, heap_mb=1024, token=TOKEN, s3_keys=KEYS
    )


def test_no_secret_stands_in_the_command_line_or_in_a_file(files):
    argv, environment = command(files)
    files.write(lake="s3a://lake")
    written = "".join(p.read_text() for p in (files.root / "conf").iterdir())
    for secret in (TOKEN, *KEYS):
        assert secret not in " ".join(argv)
        assert secret not in written
        assert secret in environment.values()


def test_everything_binds_to_loopback(files):
    argv, environment = command(files)
    assert "spark.connect.grpc.binding.address=127.0.0.1" in argv
    assert environment["SPARK_LOCAL_IP"] == "127.0.0.1"  # the page and the block manager
    defaults = render_defaults(files, lake="s3a://lake")
    assert "spark.driver.bindAddress 127.0.0.1\n" in defaults
    assert "spark.authenticate true\n" in defaults


def test_the_properties_name_the_lake_and_where_the_jars_are(files):
    defaults = render_defaults(files, lake="s3a://lake")
    assert "spark.hadoop.fs.s3a.endpoint http://127.0.0.1:18333\n" in defaults
    assert f"spark.driver.extraClassPath {files.jars}/*\n" in defaults


def test_a_lake_in_a_folder_needs_no_s3(files):
    defaults = render_defaults(files, lake="file:///srv/lake")
    assert "s3a" not in defaults
    assert "extraClassPath" not in defaults


def test_mavens_settings_are_read_for_missing_jars_only(tmp_path, monkeypatch):
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<broken")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    folder, lock = tmp_path / "jars", tmp_path / "jars.lock"
    folder.mkdir()
    (folder / "tool-1.0.jar").write_bytes(b"x")
    (folder / "tool-0.9.jar").write_bytes(b"of an earlier lock")
    lock.write_text(f"org.example:tool:1.0 {hashlib.sha256(b'x').hexdigest()} 1\n")
    ensure_jars(lock, folder, on_progress=lambda _: None)
    assert [p.name for p in folder.iterdir()] == ["tool-1.0.jar"]
    (folder / "tool-1.0.jar").unlink()
    with pytest.raises(Unavailable, match="settings"):
        ensure_jars(lock, folder, on_progress=lambda _: None)


def test_the_server_owns_its_scratch_space_only(files):
    umask = os.umask(0o077)
    try:
        files.write(lake="s3a://lake")
        files.write(lake="s3a://lake")  # each `up` writes again
    finally:
        os.umask(umask)
    modes = {p.name: p.stat().st_mode & 0o777 for p in files.root.iterdir()}
    assert modes == {"conf": 0o755, "jars": 0o755, "work": 0o700, "local": 0o700, "tmp": 0o700}
    assert {p.stat().st_mode & 0o777 for p in (files.root / "conf").iterdir()} == {0o644}


def test_the_server_writes_in_its_folder_alone(files):
    argv, environment = command(files)
    assert f"-Djava.io.tmpdir={files.root}/tmp" in argv
    assert "-XX:-UsePerfData" in argv
    assert f"spark.sql.warehouse.dir=file:{files.work_dir}/warehouse" in argv
    assert environment["SPARK_LOCAL_DIRS"] == f"{files.root}/local"
    assert environment["HOME"] == f"{files.root}/work"
    assert "buffer.dir ${java.io.tmpdir}/" in render_defaults(files, lake="s3a://lake")


def test_the_module_options_are_those_of_sparks_own_launcher(tmp_path):
    """A new PySpark may open other packages; then copy what its launcher prints."""
    java_home = ensure_java(tmp_path / "java")
    done = subprocess.run(
        [spark_home() / "bin" / "spark-submit", "--version"],
        env={
            "PATH": "/usr/bin:/bin",
            "JAVA_HOME": str(java_home),
            "SPARK_PRINT_LAUNCH_COMMAND": "1",
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    line = re.search(r"^Spark Command: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert line is not None
    options = re.search(r"-Xmx\S+ (.*) org\.apache\.spark\.deploy\.SparkSubmit", line[1])
    assert options is not None
    assert options[1].split() == list(spark_settings.MODULES)


def test_a_port_without_a_server_is_told_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert connect_problem("127.0.0.1", port, TOKEN) == f"port {port}: Connection refused"
        assert connect_problem("127.0.0.1", port, TOKEN)


def test_a_server_that_says_nothing_is_given_up_by_the_deadline():
    """Spark's own client would go on for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port, held = mute.getsockname()[1], []
        thread = threading.Thread(target=lambda: held.extend(mute.accept() for _ in range(2)))
        thread.start()
        began = time.monotonic()
        problem = connect_problem("127.0.0.1", port, TOKEN, timeout_s=0.5)
        assert time.monotonic() - began < 3
        assert problem is not None
        assert str(port) in problem
        thread.join(5)
        for connection, _ in held:
            connection.close()
