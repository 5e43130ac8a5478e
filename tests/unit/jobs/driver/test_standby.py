"""A driver that waits: what it takes, and that the application sees nothing of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dataharbour.jobs.driver import handover
from dataharbour.jobs.driver.handover import Post, hand_over, waiting
from dataharbour.jobs.driver.spec import ConnectSession, DriverSpec
from dataharbour.jobs.driver.standby import CHILD, Prepared

SESSION = ConnectSession("localhost", 15002, "token", "session", "user")


def spec(folder: Path, **changed) -> DriverSpec:
    whole = DriverSpec(
        conninfo="host=127.0.0.1 port=1",
        run_id="run",
        attempt_id="attempt",
        token="token",
        folder=str(folder),
        command=[sys.executable, str(CHILD), str(folder), "sha", "job.py"],
        environment={"PATH": "/usr/bin", "SPARK_REMOTE": "sc://localhost", "HOME": "/h"},
        session=SESSION,
    )
    return replace(whole, **changed)


@contextmanager
def visited(folder: Path, file: Path):
    """Somebody who comes with a spec, in a process of their own; gives what they heard."""
    code = (
        "import sys; from pathlib import Path\n"
        "from dataharbour.jobs.driver.handover import hand_over\n"
        "taker = hand_over(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(taker and taker.pid)"
    )
    visitor = subprocess.Popen(
        [sys.executable, "-c", code, folder, file], stdout=subprocess.PIPE, text=True
    )
    yield lambda: visitor.communicate(timeout=60)[0].strip()
    visitor.kill()
    visitor.communicate()


@pytest.fixture
def spec_file(tmp_path) -> Path:
    file = tmp_path / "spec.json"
    file.write_text("{}")
    return file


def take(file: Path) -> bool:
    file.unlink()
    return True


def test_a_spec_is_handed_to_one_that_waits(tmp_path, spec_file):
    post = Post(tmp_path / "posts")
    with visited(tmp_path / "posts", spec_file) as heard:
        assert post.answer(take)
        assert heard() == str(os.getpid())
    assert not list(tmp_path.glob("spec*"))
    assert waiting(tmp_path / "posts") == [], "it is found no more"


def test_so_it_is_where_the_path_is_longer_than_an_address(tmp_path, spec_file):
    posts = tmp_path / ("long" * 50) / "posts"
    posts.parent.mkdir()
    post = Post(posts)
    with visited(posts, spec_file) as heard:
        assert post.answer(take)
        assert heard() == str(os.getpid())


def test_one_that_does_not_fit_says_so_and_waits_on(tmp_path, spec_file):
    post = Post(tmp_path / "posts")
    with visited(tmp_path / "posts", spec_file) as heard:
        assert not post.answer(lambda _: False)
        assert heard() == "None"
    assert list(tmp_path.glob("spec*")) == [spec_file]
    assert [each.pid for each in waiting(tmp_path / "posts")] == [os.getpid()]
    post.close()


def test_where_nobody_waits_nobody_takes_it(tmp_path, spec_file):
    assert hand_over(tmp_path / "nothing", spec_file) is None
    assert spec_file.exists()


def test_one_that_hangs_is_not_waited_for_and_finds_nothing_later(tmp_path, spec_file, monkeypatch):
    monkeypatch.setattr(handover, "_ANSWER_WITHIN_S", 0.1)
    post, began = Post(tmp_path / "posts"), time.monotonic()
    assert hand_over(tmp_path / "posts", spec_file) is None
    assert time.monotonic() - began < 5
    asked: list[Path] = []
    assert not post.answer(lambda file: asked.append(file) is not None)
    assert spec_file.exists()
    assert asked
    assert not asked[0].exists()
    post.close()


def test_who_has_taken_it_is_known_without_an_answer(tmp_path, spec_file):
    """It was taken just in time, and the word of it came too late, or never."""
    post = Post(tmp_path / "posts")
    with visited(tmp_path / "posts", spec_file) as heard:
        channel, _ = post._socket.accept()
        with channel, channel.makefile("rb") as text:
            Path(os.fsdecode(text.readline().rstrip(b"\n"))).unlink()
        assert heard() == str(os.getpid())
    post.close()


def test_what_a_dead_one_left_is_removed(tmp_path):
    (tmp_path / "1-99.sock").touch()
    (tmp_path / "word.sock").touch()
    assert waiting(tmp_path) == []
    assert not list(tmp_path.glob("*.sock"))


def test_a_spec_can_be_taken_once(tmp_path):
    path = tmp_path / "spec.json"
    spec(tmp_path).write(path)
    assert DriverSpec.read(path) == DriverSpec.take(path)
    with pytest.raises(FileNotFoundError):
        DriverSpec.take(path)


@pytest.fixture
def child(tmp_path):
    """A child whose import of pyspark is quick: there is one in its way."""
    package = tmp_path / "fake" / "pyspark" / "sql" / "connect"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "session.py").write_text("imported = True\n")
    (package.parent / "functions.py").touch()
    prepared = Prepared({"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path / "fake")})
    yield prepared
    prepared._channel.close()
    prepared.process.kill()  # not by `close`, which ends all that we have started
    prepared.process.wait()
    for pipe in (prepared.process.stdout, prepared.process.stderr):
        pipe.close()


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        pytest.param({}, True, id="as-it-is"),
        pytest.param({"session": None}, False, id="another-backend"),
        pytest.param({"command": ["/usr/bin/spark-submit"]}, False, id="another-program"),
    ],
)
def test_a_child_fits_drivers_of_its_own_kind(child, tmp_path, changed, fits):
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path / "fake"), "HOME": "/h"}
    assert child.fits(spec(tmp_path, environment=environment, **changed)) is fits


@pytest.mark.parametrize(
    "early", [{"PATH": "/bin"}, {"PYTHONHASHSEED": "0"}, {"LD_PRELOAD": "x"}, {"TZ": "Asia/Tokyo"}]
)
def test_what_counts_when_python_starts_must_be_the_same(child, tmp_path, early):
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path / "fake"), **early}
    assert not child.fits(spec(tmp_path, environment=environment))


def test_the_application_sees_its_own_surroundings(child, tmp_path):
    application = tmp_path / "job.py"
    application.write_text(
        "import json, os, sys\n"
        "print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.stdin.read(),\n"
        "                  __name__, sys.path[0]]))"
    )
    import hashlib

    sha256 = hashlib.sha256(application.read_bytes()).hexdigest()
    work = tmp_path / "work"
    work.mkdir()
    assert child.is_ready()
    arguments = [str(tmp_path), sha256, str(application), "a", "b c"]
    started = child.begin(
        [sys.executable, str(CHILD), *arguments], environment={"ONLY": "this"}, folder=work
    )
    output, errors = started.communicate(timeout=30)
    assert started.returncode == 0, errors
    argv, cwd, environment, stdin, name, path = json.loads(output)
    assert argv == [str(application), "a", "b c"]
    assert (cwd, stdin, name, path) == (str(work), "", "__main__", str(tmp_path))
    assert environment == {"ONLY": "this"}


def test_a_child_whose_supervisor_goes_ends(child):
    assert child.is_ready()
    child._channel.close()
    assert child.process.wait(timeout=20) == 0
