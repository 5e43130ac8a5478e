"""Artifacts that are collected: by real drivers, however they end, and within limits."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from dataharbour.jobs.driver import artifacts, collection
from dataharbour.jobs.driver.collection import Collection
from dataharbour.jobs.model import Detail

SECRET = "d4tabase"
LEAVES = """
    import os, time
    os.mkdir("../artifacts")
    def leave(name, text):
        with open("../artifacts/.draft", "w") as file:
            file.write(text)
        os.replace("../artifacts/.draft", "../artifacts/" + name)
    leave("notebook.ipynb", '{"cells": ["the d4tabase"]}')
    leave("chart.csv", "d4tabase,7")
    print("left", flush=True)
"""
WAITS = LEAVES + "    time.sleep(60)\n"
FAILS = LEAVES + "    raise ValueError('bad row')\n"
CLEAN = b'{"cells": ["the ***"]}'


def kept(driver, name: str = "notebook.ipynb") -> bytes | None:
    return artifacts.read(driver.artifacts, name)


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer


def no_secret_below(place: Path) -> bool:
    return not any(
        SECRET.encode() in file.read_bytes() for file in place.rglob("*") if file.is_file()
    )


@pytest.mark.parametrize(
    ("source", "observed"), [(LEAVES, Detail.SUCCEEDED), (FAILS, Detail.FAILED)]
)
def test_what_is_left_is_there_without_secrets_when_the_end_is_told(launch, source, observed):
    driver = launch(source, secrets=[SECRET])
    assert driver.end().observed is observed
    assert kept(driver) == CLEAN
    assert kept(driver, "chart.csv") == b"***,7"
    assert artifacts.listed(driver.folder / artifacts.FOLDER) == [], "there are not two of them"


def test_of_a_killed_supervisor_the_notebook_is_there_without_secrets(launch):
    driver = launch(WAITS, secrets=[SECRET])
    until(lambda: kept(driver))
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    assert kept(driver) == CLEAN
    assert kept(driver, "chart.csv") is None, "nobody knows that it was complete"
    assert no_secret_below(driver.artifacts)


def test_a_supervisor_that_was_killed_before_it_looked_leaves_nothing_to_see(launch):
    driver = launch(WAITS, secrets=[SECRET])
    until(lambda: (driver.folder / "artifacts" / "notebook.ipynb").exists())
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    assert kept(driver) in (None, CLEAN)
    assert not driver.artifacts.exists() or no_secret_below(driver.artifacts)


def test_one_that_fenced_itself_leaves_them_without_secrets(launch):
    driver = launch(WAITS, secrets=[SECRET], fence_after_s=3, renew_every_s=60)
    assert driver.end().observed is Detail.FAILED
    assert "stopped itself before its lease ended" in driver.end().failure.message
    assert kept(driver) == CLEAN
    assert kept(driver, "chart.csv") == b"***,7"


def test_one_that_gave_up_leaves_them_without_secrets(launch):
    driver = launch(WAITS, secrets=[SECRET], timeout_s=2, grace_s=None)
    message = driver.end().failure.message
    assert message.startswith("The driver could not be supervised")
    assert kept(driver) == CLEAN
    assert kept(driver, "chart.csv") == b"***,7"


def test_where_nobody_is_shown_any_nothing_is_copied(launch):
    driver = launch(LEAVES, secrets=[SECRET], artifacts="")
    assert driver.end().observed is Detail.SUCCEEDED
    assert not driver.artifacts.exists()


def has(kept: Path, content: bytes) -> bool:
    return artifacts.read(kept, "notebook.ipynb") == content


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "left", tmp_path / "artifacts" / "attempt"


def test_the_notebook_is_followed_while_it_is_written(places, monkeypatch):
    monkeypatch.setattr(collection, "_EVERY_S", 0.01)
    left, kept = places
    collected = Collection(left, kept, [SECRET])
    collected.start()
    for text, cleaned in ((b"one", b"one"), (b"two", b"two"), (b"d4tabase", b"***")):
        artifacts.write(left, "notebook.ipynb", text)
        until(partial(has, kept, cleaned))
    artifacts.write(left, "other.csv", b"half")
    time.sleep(0.1)
    assert [each.name for each in artifacts.listed(kept)] == ["notebook.ipynb"]
    assert collected.end() == []
    assert [each.name for each in artifacts.listed(kept)] == ["notebook.ipynb", "other.csv"]


def test_of_too_many_the_notebook_is_kept_and_the_rest_is_named(places, monkeypatch):
    monkeypatch.setattr(collection, "MAX_FILES", 3)
    left, kept = places
    for name in ("a", "b", "c", "d", "notebook.ipynb"):
        artifacts.write(left, name, b"x")
    [said] = Collection(left, kept, []).end()
    assert [each.name for each in artifacts.listed(kept)] == ["a", "b", "notebook.ipynb"]
    assert said == "Not kept as artifacts: 'c', 'd'. An attempt may leave 3 with 128 MiB."


def test_of_too_much_the_rest_is_named(places, monkeypatch):
    monkeypatch.setattr(collection, "MAX_TOTAL_BYTES", 2**20)
    left, kept = places
    for number in range(9):
        artifacts.write(left, f"f{number}", b"x" * 2**19)
    [said] = Collection(left, kept, []).end()
    assert [each.name for each in artifacts.listed(kept)] == ["f0", "f1"]
    assert said == (
        "Not kept as artifacts: 'f2', 'f3', 'f4', 'f5', 'f6' and 2 more. "
        "An attempt may leave 100 with 1 MiB."
    )


def test_what_can_be_no_artifact_is_named(places):
    left, kept = places
    artifacts.write(left, "table.csv", b"x")
    (left / "my chart.png").touch()
    (left / "line\nbreak").touch()
    (left / "link").symlink_to(left / "table.csv")
    [said] = Collection(left, kept, []).end()
    assert said == (
        "Not kept as artifacts: 'line\\nbreak', 'link', 'my chart.png'. One is a plain file of "
        "at most 32 MiB, with letters, digits and ._- in its name."
    )
    assert [each.name for each in artifacts.listed(kept)] == ["table.csv"]


def test_what_cannot_be_written_is_named_and_stays_where_nobody_is_shown_it(places):
    left, kept = places
    artifacts.write(left, "table.csv", b"d4tabase")
    kept.parent.write_text("in the way")
    [said] = Collection(left, kept, [SECRET]).end()
    assert said == "The artifact table.csv is not kept: File exists."
    assert artifacts.read(left, "table.csv") == b"d4tabase"
