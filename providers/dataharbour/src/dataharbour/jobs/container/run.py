"""`python -m dataharbour.jobs.container.run`: run one container, on behalf of its supervisor.

The supervisor's child in the place of the application: creates the container, passes on
its two streams and its exit code, SIGTERM in the other direction, and removes it. When this
process is killed, the container's standard input closes, and what is inside ends
itself (`inside`); the supervisor then calls this once more, with ``--remove``.

Reads its order from the variable `ORDER`, not from its arguments: it holds the
application's environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.utils.socket import frames_iter

from dataharbour.jobs.container.body import INSIDE, ORDER, container_name
from dataharbour.jobs.driver import bundle
from dataharbour.jobs.driver.control import Control

ENGINE_TIMEOUT_S = 60
STDOUT = 1
_CONFLICT = 409


def main(argv: list[str]) -> int:
    """Run the container of this attempt, or remove what is left of it."""
    order: dict[str, Any] = json.loads(os.environ.pop(ORDER))
    name = container_name(order["attempt_id"])
    if argv == ["--remove"]:
        with suppress(DockerException, OSError):
            remove(_engine(order), name)
        return 0
    folder = Path.cwd().parent  # a child works in its attempt's subfolder
    control = Control(str(folder / "control"))
    try:
        make_ready(folder, order)
        with _container(_engine(order), name, order["body"]) as engine:
            return _run(engine, name, order, control)
    except (DockerException, OSError) as error:  # requests' errors are OSErrors
        said = getattr(error, "explanation", None) or str(error)
        control.send(
            kind="failure",
            failure_class="CONFIG" if _is_ours_to_mend(error) else "INFRA",
            message=f"The container could not be run: {said}",
        )
        return os.EX_UNAVAILABLE


def make_ready(folder: Path, order: dict[str, Any]) -> None:
    """Make what the container's user reads and writes, and give it to that user.

    Args:
        folder: the attempt's.
        order: with `user`, the numbers of user and group, and `staging`, a folder or None.
    """
    user, group = order["user"]
    (folder / "passwd").write_text(
        f"spark:x:{user}:{group}::{INSIDE}/work:/bin/sh\n", encoding="ascii"
    )  # Hadoop wants a name for its user
    (folder / "passwd").chmod(0o644)
    bundle.write(folder / "package")
    given = [folder / "work", folder / "control"]
    if order["staging"]:
        staging = Path(order["staging"])
        staging.mkdir(parents=True, exist_ok=True)
        given.append(staging)
    if os.geteuid() == 0:
        for path in given:
            os.chown(path, user, group)


def remove(engine: APIClient, name: str) -> None:
    """Remove a container and what runs in it; none is fine too."""
    with suppress(NotFound):
        engine.remove_container(name, force=True, v=True)


@contextmanager
def _container(engine: APIClient, name: str, body: dict[str, Any]) -> Iterator[APIClient]:
    """A container that is made, and removed."""
    try:
        engine.create_container_from_config(body, name)
    except APIError as error:
        if error.status_code != _CONFLICT:
            raise
        remove(engine, name)  # the attempt is ours alone: it is what an earlier driver left
        engine.create_container_from_config(body, name)
    try:
        yield engine
    finally:
        remove(engine, name)


def _run(engine: APIClient, name: str, order: dict[str, Any], control: Control) -> int:
    stream = engine.attach_socket(name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    told_to_stop = False

    def on_terminate(_number: int, _frame: object) -> None:
        nonlocal told_to_stop
        told_to_stop = True
        _terminate(order, name)

    signal.signal(signal.SIGTERM, on_terminate)
    if told_to_stop:
        return 128 + signal.SIGTERM
    engine.start(name)
    if told_to_stop:  # it came before there was anything to stop
        _terminate(order, name)
    for number, data in frames_iter(stream, tty=False):
        _write(1 if number == STDOUT else 2, data)
    code = int(engine.wait(name, timeout=ENGINE_TIMEOUT_S)["StatusCode"])
    state = engine.inspect_container(name)["State"]
    if code and state.get("OOMKilled"):
        mib = order["body"]["HostConfig"]["Memory"] // 2**20
        control.send(
            kind="failure",
            failure_class="OUT_OF_MEMORY",
            message=f"The container has reached its memory limit of {mib} MiB, and was killed.",
        )
    return code


def _terminate(order: dict[str, Any], name: str) -> None:
    """SIGTERM to the container; by a connection of its own, the other one is being read."""
    with suppress(DockerException, OSError):
        _engine(order).kill(name, signal="SIGTERM")


def _engine(order: dict[str, Any]) -> APIClient:
    return APIClient(base_url=order["socket"], version="auto", timeout=ENGINE_TIMEOUT_S)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _is_ours_to_mend(error: Exception) -> bool:
    """Whether the engine has refused the request, as opposed to not having carried it out."""
    return isinstance(error, APIError) and error.is_client_error()


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(code)  # a connection that is still being read would hold the interpreter


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
