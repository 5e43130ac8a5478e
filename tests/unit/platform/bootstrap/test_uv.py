from __future__ import annotations

import io
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform.bootstrap.checkout import Checkout
from dataharbour.platform.bootstrap.filling import Filling, not_installed
from dataharbour.platform.bootstrap.index import PackageIndex
from dataharbour.platform.bootstrap.lock import File, Requirement, Selection
from dataharbour.platform.bootstrap.progress import Progress
from dataharbour.platform.bootstrap.sources import Sources
from dataharbour.platform.bootstrap.uv import Uv
from dataharbour.platform.bootstrap.uv_lines import Reading


def program(folder: Path, script: str) -> Uv:
    """A uv that is a shell script, with what it says on a stream that is returned by `said`."""
    path = folder / "uv"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    ticks = iter(range(0, 10_000, 6))  # every look at the clock is 6 s later: each state is told
    progress = Progress(io.StringIO(), clock=lambda: float(next(ticks)))
    return Uv(path, {"PATH": os.environ["PATH"]}, folder=folder, lock=2, progress=progress)


def said(uv: Uv) -> str:
    return uv.progress._stream.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_downloads_are_told_and_the_list_of_packages_is_not_repeated(tmp_path):
    uv = program(
        tmp_path,
        "echo 'Downloading one (10.0MiB)' >&2; echo ' Downloaded one' >&2; sleep 0.1\n"
        "echo 'Prepared 1 package in 1s' >&2; sleep 0.1; echo ' + one==1.0' >&2",
    )
    uv.run("pip", "sync", expected_bytes=20_000_000)
    assert "packages: 10 MB of 20 MB" in said(uv)
    assert "one==" not in said(uv)


def test_what_is_told_is_downloads_first_then_builds_then_the_stages():
    reading, told = Reading(), []
    for line in (
        "Resolved 3 packages in 3ms",
        "Downloading one (10.0MiB)",
        "   Building three==3.0",
        "Downloading two (512.0KiB)",
        " Downloaded one",
        " Downloaded two",
        "      Built three==3.0",
        "Prepared 3 packages in 3s",
        "Installed 3 packages in 3ms",
        " + one==1.0",
    ):
        reading.take(line)
        told.append(reading.describe(20_000_000))
    assert told == [
        ("packages", 0, 20_000_000),
        ("packages", 0, 20_000_000),
        ("packages", 0, 20_000_000),
        ("packages", 0, 20_000_000),
        ("packages", 10_485_760, 20_000_000),
        ("building three==3.0", 0, 0),
        ("packages", 11_010_048, 20_000_000),
        ("installing", 0, 0),
        ("compiling", 0, 0),
        ("compiling", 0, 0),
    ]


def test_warnings_are_passed_on(tmp_path):
    uv = program(tmp_path, "echo 'warning: clocks are skewed' >&2")
    uv.run("x")
    assert "warning: clocks are skewed" in said(uv)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("error: Failed to fetch: `https://host/`", "Check the network"),
        ("error: failed to write\n  cause: No space left on device (os error 28)", "Free some"),
        ("error: Hash mismatch for `one==1.0`", "mirrors pypi.org"),
        ("error: something new", "Call again"),
    ],
)
def test_a_failure_is_told_from_its_first_word_with_a_remedy(error, remedy, tmp_path):
    (tmp_path / "text").write_text(f"Resolved 2 packages in 3ms\n{error}\n")
    uv = program(tmp_path, f"cat {tmp_path}/text >&2; exit 2")
    with pytest.raises(PlatformError) as caught:
        uv.run("x")
    assert error.splitlines()[0] in caught.value.problem
    assert "Resolved" not in caught.value.problem
    assert remedy in caught.value.remedy


def test_the_child_ends_with_an_interrupt(tmp_path):
    uv = program(tmp_path, f"echo $$ > {tmp_path}/pid; echo x >&2; exec sleep 60")

    def interrupt() -> float:
        raise KeyboardInterrupt

    uv.progress._clock = interrupt
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        uv.run("x")
    assert time.monotonic() - started < 30
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_installed_distributions_are_recognised_in_every_spelling():
    one = Requirement("my-package-x", "1.0", "", frozenset())
    two = Requirement("other", "2.0", "", frozenset())
    selection = Selection({each: File("f", 1, "") for each in (one, two)}, ())
    present = ["My.Package_X-1.0.dist-info", "other-1.9.dist-info"]
    assert list(not_installed(selection, present)) == [two]


def test_a_broken_file_beside_the_cache_is_fetched_again(tmp_path):
    uv = program(tmp_path, f"echo {tmp_path}/cache")
    offered, name = tmp_path / "offered", "one-1.0-py3-none-any.whl"
    offered.mkdir()
    (offered / name).write_bytes(b"whole")
    digest = sha256(b"whole").hexdigest()
    requirement = Requirement("one", "1.0", "", frozenset({digest}))
    selection = Selection({requirement: File(name, 5, digest)}, ())
    sources = Sources(indexes=(), find_links=(str(offered),))
    filling = Filling(uv, Checkout(tmp_path), selection, sources, PackageIndex(sources))
    file = tmp_path / "cache" / "dataharbour" / name
    for left in (None, b"who"):
        if left is not None:
            file.write_bytes(left)
        filling._download(selection.files)
        assert file.read_bytes() == b"whole"
