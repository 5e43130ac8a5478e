from __future__ import annotations

import gc
import json
import socket
import threading

import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.hooks.docker import DataHarbourDockerHook

DIGEST = "sha256:" + "a" * 64
# Docker's client leaves its socket open when nobody answers.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

IMAGE = f"registry.example/spark@{DIGEST}"


@pytest.fixture
def hook(connection):
    made = []

    def make(conn_type="docker", host=None, login=None, **extra):
        extra = {"image": IMAGE, **extra}
        connection(
            "dataharbour_docker",
            conn_type=conn_type,
            host=host,
            login=login,
            extra={k: v for k, v in extra.items() if v is not None},
        )
        made.append(DataHarbourDockerHook())
        return made[-1]

    yield make
    for hook in made:
        if hook.client_created:
            hook.get_conn().close()


def test_a_connection_says_what_a_container_gets(hook):
    place = hook(memory="4g", cpus="1.5", pids=100, network="lake", socket="unix:///x").place
    assert (place.image, place.socket, place.network) == (IMAGE, "unix:///x", "lake")
    assert (place.limits.memory_bytes, place.limits.cpus, place.limits.pids) == (
        4 * 2**30,
        1.5,
        100,
    )


def test_little_is_open_by_default(hook):
    place = hook(conn_type="dataharbour_docker").place
    assert (place.network, place.socket) == ("none", "unix:///var/run/docker.sock")
    assert (place.limits.memory_bytes, place.limits.pids) == (2 * 2**30, 512)


def test_an_image_of_this_host_is_pinned_by_its_id(hook):
    assert hook(image=DIGEST).place.image == DIGEST


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        pytest.param({"image": None}, "has no image", id="no-image"),
        pytest.param({"image": "spark:4.3"}, "has image 'spark:4.3'", id="a-tag"),
        pytest.param({"image": f"a b@{DIGEST}"}, "has image", id="spaces"),
        pytest.param({"image": f"{IMAGE}0"}, "has image", id="too-long"),
        pytest.param({"socket": "tcp://h:2375"}, "has socket 'tcp://h:2375'", id="elsewhere"),
        pytest.param({"network": "host"}, "has network 'host'", id="host-network"),
        pytest.param({"network": "bridge"}, "has network 'bridge'", id="bridge"),
        pytest.param({"network": "container:x"}, "has network 'container:x'", id="another"),
        pytest.param({"memory": "512m"}, "has memory '512m'", id="little-memory"),
        pytest.param({"memory": "lots"}, "has memory 'lots'", id="no-size"),
        pytest.param({"cpus": "0"}, "has cpus '0'", id="no-processor"),
        pytest.param({"cpus": "nan"}, "has cpus 'nan'", id="no-number"),
        pytest.param({"pids": "x"}, "has pids 'x'", id="no-pids"),
        pytest.param({"spark_submit": "sh -c x"}, "has spark_submit", id="a-command"),
    ],
)
def test_what_would_open_a_hole_is_refused(hook, extra, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        hook(**extra)
    assert caught.value.remedy


def test_an_engine_that_is_away_is_told(hook, tmp_path):
    with pytest.raises(Unavailable, match="No container engine answers at unix:///") as caught:
        hook(socket=f"unix://{tmp_path}/none.sock").have_image()
    assert "podman system service" in caught.value.remedy
    gc.collect()


@pytest.fixture
def engine(tmp_path):
    """A daemon that answers as it is told, and remembers what it was asked."""
    answers, asked = {}, []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "e.sock"))
    server.listen()

    def serve():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    def talk(client):
        with client, client.makefile("rb") as lines:
            while line := lines.readline():
                method, path, _ = line.decode().split()
                while lines.readline().strip():
                    pass
                asked.append(f"{method} {path}")
                known = (a for ending, a in answers.items() if ending in path)
                status, body = next(known, (200, {"ApiVersion": "1.41"}))
                data = b"OK" if path.endswith("_ping") else json.dumps(body).encode()
                head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n"
                client.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    threading.Thread(target=serve, daemon=True).start()
    yield f"unix://{tmp_path}/e.sock", answers, asked
    server.close()


def test_an_image_that_is_here_is_not_pulled(hook, engine):
    where, _, asked = engine
    hook(socket=where).have_image()
    assert not [line for line in asked if line.startswith("POST")]


def test_an_image_that_is_nowhere_is_told(hook, engine):
    where, answers, _ = engine
    answers[f"images/{DIGEST}"] = (404, {"message": "no such image"})
    with pytest.raises(ConfigError, match=f"has no image {DIGEST}"):
        hook(socket=where, image=DIGEST).have_image()


def test_an_image_of_a_registry_is_pulled(hook, engine):
    where, answers, asked = engine
    answers["/images/registry"] = (404, {"message": "no such image"})
    hook(socket=where).have_image()
    [pull] = [line for line in asked if line.startswith("POST")]
    assert "/images/create?" in pull
    assert f"sha256%3A{'a' * 64}" in pull


def test_a_registry_that_refuses_is_told(hook, engine):
    where, answers, _ = engine
    answers["/images/registry"] = (404, {"message": "no such image"})
    answers["/images/create"] = (500, {"message": "denied"})
    with pytest.raises(Unavailable, match=r"cannot get the image .*: denied"):
        hook(socket=where).have_image()


def test_removing_what_is_gone_is_no_error(hook, engine):
    where, answers, asked = engine
    answers["containers/x"] = (404, {"message": "no such container"})
    hook(socket=where).remove("x")
    assert "force=True" in asked[-1]
