"""`./harbour` installs, again and again, whatever happens: real installs into folders of their own.

All but the first tests use a small set of packages from an index on loopback: no network.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from dataharbour.platform.bootstrap.lock import applies, parse_requirements
from dataharbour.platform.bootstrap.machine import base_python, marker_environment

pytestmark = pytest.mark.integration

IS_ROOT = os.geteuid() == 0
NEEDS_ROOT = pytest.mark.skipif(not IS_ROOT, reason="changes users or mounts: root only")


@pytest.fixture
def index(new_index, wheelhouse):
    return new_index(wheelhouse)


@pytest.fixture
def small(new_checkout, index, wheelhouse):
    """A checkout of the small set, with a cache of its own."""
    trial = new_checkout()
    trial.require({path.name.split("-")[0].replace("_", "-") for path in wheelhouse.iterdir()})
    trial.environment |= {"PIP_INDEX_URL": index.url, "UV_CACHE_DIR": str(cache_of(trial))}
    return trial


def cache_of(trial: Any) -> Path:
    """uv's cache of one checkout, which goes with it."""
    return trial.root.parent / "cache"


def cli(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """What the CLI was started with: arguments, Python, folder, environment."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ends(process: subprocess.Popen[str], *, timeout_s: float = 60) -> tuple[int, str]:
    """Wait for the end; exit code and what was said."""
    _, said = process.communicate(timeout=timeout_s)
    return process.returncode, said


def eventually(condition: Any, *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


# --- the whole lock ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(whole):
    """`whole` after its first command, whose end is `whole.first`."""
    whole.first = whole.harbour("up", "two words")
    return whole


def test_a_fresh_checkout_says_what_it_takes_installs_and_goes_on(installed):
    assert cli(installed.first)[0] == ["up", "two words"]
    said = installed.first.stderr
    download = re.search(r"download  up to (\d+) MB, (\d+) packages", said)
    assert download, said
    assert int(download[1]) > 600
    assert re.search(r"disk +\d\.\d GB .*free", said)
    assert re.search(r"memory +\d\.\d GB", said)
    assert said.index("download") < said.index("Installed in")


def test_every_package_of_the_lock_is_there_and_the_local_one(installed):
    requirements = parse_requirements((installed.root / "requirements.txt").read_text())
    here = marker_environment()
    wanted = {each.name for each in requirements if applies(each.marker, here)}
    assert installed.distributions() == wanted | {"airflow-provider-dataharbour"}


def test_pyspark_has_exactly_one_owner(installed):
    records = installed.venv.glob("lib/python*/site-packages/*.dist-info/RECORD")
    owners = [
        record.parent.name
        for record in records
        if re.search(r"^\"?pyspark/", record.read_text(), re.M)
    ]
    assert len(owners) == 1
    assert owners[0].startswith("pyspark-4.")


def test_a_second_call_goes_straight_through(installed):
    durations = []
    for _ in range(5):
        started = time.monotonic()
        done = installed.harbour("--help")
        durations.append(time.monotonic() - started)
        assert cli(done)[0] == ["--help"]
        assert done.stderr == ""
    assert statistics.median(durations) < 0.5


def test_nothing_but_our_notes_stays_behind_in_the_environment(installed):
    notes = installed.venv / "harbour"
    assert {path.name for path in notes.iterdir()} == {
        "checkout",
        "pyproject.toml",
        "requirements.txt",
    }
    assert not [path for path in installed.root.iterdir() if path.name.startswith(".harbour")]


# --- how it is called ----------------------------------------------------------------------------


def test_it_is_found_through_symbolic_links_from_any_folder(small, tmp_path):
    small.harbour("x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "harbour").symlink_to(small.root / "harbour")
    (tmp_path / "again").symlink_to("bin/harbour")
    calls = {
        "link": [str(tmp_path / "bin" / "harbour"), "x"],
        "link to a relative link": ["../again", "x"],
        "PATH": ["harbour", "x"],
        "sh": ["sh", str(small.root / "harbour"), "x"],
    }
    environment = small.environment | {"PATH": f"{tmp_path}/bin:{small.environment['PATH']}"}
    for how, command in calls.items():
        done = subprocess.run(
            command, cwd=tmp_path / "bin", env=environment, capture_output=True, text=True
        )
        arguments, python, folder, _ = cli(done)
        assert (arguments, python) == (["x"], str(small.venv / "bin" / "python")), how
        assert folder == str(tmp_path / "bin"), how


def test_the_cli_gets_the_callers_environment_and_nothing_more(small):
    given = small.environment | {"root": "kept", "python": "kept", "HARBOUR_HOME": "/h"}
    for _ in ("first", "second"):
        *_, environment = cli(small.harbour("x", root="kept", python="kept", HARBOUR_HOME="/h"))
        added = {name: value for name, value in environment.items() if given.get(name) != value}
        assert set(added) <= {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_before_the_installation_installs_nothing(arguments, small):
    done = small.harbour(*arguments)
    assert done.returncode == 0
    assert "./harbour up" in done.stdout
    assert "not installed" in done.stdout
    assert not small.venv.exists()


def test_doctor_before_the_installation_installs_nothing(small):
    done = small.harbour("doctor", "-o", "json")
    checks = {check["id"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert set(checks) == {
        "python",
        "platform",
        "checkout",
        "disk",
        "memory",
        "index",
        "installation",
    }
    assert checks["index"]["ok"]
    assert not checks["installation"]["ok"]
    assert not small.venv.exists()


def test_a_system_without_cmp_goes_straight_through_too(small, tmp_path):
    small.harbour("x")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cat", "readlink"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    done = small.harbour("--help", PATH=str(tools))
    assert cli(done)[0] == ["--help"]
    assert done.stderr == ""


# --- which Python --------------------------------------------------------------------------------


def shim(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_shim_that_does_not_run_is_not_chosen(small, tmp_path):
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        shim(tmp_path / "shims", name, "echo 'pyenv: command not found' >&2; exit 127")
    done = small.harbour("x", PATH=f"{tmp_path}/shims:{small.environment['PATH']}")
    assert cli(done)[0] == ["x"]


def test_without_a_fitting_python_every_one_that_was_seen_is_named(small, tmp_path):
    answer = """case "$*" in *version_info*) exit 1;; esac; echo 3.10.13"""
    old = shim(tmp_path / "old", "python3", answer)
    broken = shim(tmp_path / "broken", "python3.12", "exit 127")
    for tool in ("sh", "cmp", "readlink"):
        (old.parent / tool).symlink_to(str(shutil.which(tool)))
    done = small.harbour("up", PATH=f"{broken.parent}:{old.parent}")
    assert done.returncode == 1
    assert f"{old} (3.10.13)" in done.stderr
    assert f"{broken} (does not run)" in done.stderr
    assert "remedy: Install" in done.stderr
    assert not small.venv.exists()


def test_a_python_that_was_asked_for_and_does_not_fit_is_not_replaced(small, tmp_path):
    wanted = shim(tmp_path / "old", "python3", "exit 1")
    done = small.harbour("up", HARBOUR_PYTHON=str(wanted))
    assert done.returncode == 1
    assert f"HARBOUR_PYTHON is {wanted}" in done.stderr
    assert not small.venv.exists()


def test_without_venv_ensurepip_and_pip_it_installs_all_the_same(small, tmp_path):
    python = bare_python(tmp_path / "bare")
    for module in ("venv", "ensurepip", "pip"):
        assert subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cmp", "cat", "readlink"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    done = small.harbour("x", PATH=f"{python.parent}:{tools}")
    assert cli(done)[0] == ["x"]
    assert str(python) in done.stderr
    home = (small.venv / "pyvenv.cfg").read_text()
    assert str(python.parent) in home


def bare_python(folder: Path) -> Path:
    """A copy of this Python, with a standard library that lacks what Debian splits off."""
    source, version = base_python(), f"python{sysconfig.get_python_version()}"
    library = folder / "lib" / version
    library.mkdir(parents=True)
    (folder / "bin").mkdir()
    for path in Path(sysconfig.get_path("stdlib")).iterdir():
        if path.name not in {"venv", "ensurepip", "site-packages", "dist-packages"}:
            (library / path.name).symlink_to(path)
    python = folder / "bin" / version
    shutil.copy2(source, python)
    for shared in (source.parent.parent / "lib").glob("libpython3*.so*"):
        (folder / "lib" / shared.name).symlink_to(shared)
    return python


# --- the lock changes ----------------------------------------------------------------------------


def test_a_changed_lock_brings_the_difference(small, index):
    small.harbour("x")
    requirements = small.root / "requirements.txt"
    whole = requirements.read_text()
    requirements.write_text("".join(x for x in whole.splitlines(True) if "shellingham" not in x))
    done = small.harbour("x")
    assert "has changed" in done.stderr
    assert "shellingham" not in small.distributions()

    asked = len(index.asked)
    requirements.write_text(whole)
    done = small.harbour("x")
    assert "1 packages" in done.stderr
    assert "shellingham" in small.distributions()
    fetched = {path for path in index.asked[asked:] if path.startswith("/files/")}
    assert all("shellingham" in path for path in fetched)
    assert small.harbour("x").stderr == ""


def test_changed_entry_points_of_the_local_package_are_installed(small):
    small.harbour("x")
    project = small.root / "providers/dataharbour/pyproject.toml"
    project.write_text(
        project.read_text().replace("[project.scripts]", '[project.scripts]\nother = "json:tool"')
    )
    assert small.harbour("x").returncode == 0
    assert (small.venv / "bin" / "other").exists()


def test_a_checkout_that_was_moved_is_installed_for_its_new_place(small):
    small.harbour("x")
    small.root = small.root.rename(small.root.with_name("moved"))
    done = small.harbour("x")
    assert cli(done)[1] == str(small.venv / "bin" / "python")
    assert str(small.venv) in (small.venv / "bin" / "hatchling").read_text()


def test_an_environment_whose_python_is_gone_is_made_anew(small, tmp_path):
    python = bare_python(tmp_path / "leaving")
    small.harbour("x", HARBOUR_PYTHON=str(python))
    shutil.rmtree(tmp_path / "leaving")
    assert cli(small.harbour("x"))[0] == ["x"]


def test_an_update_that_fails_leaves_the_older_installation_as_it_was(small):
    small.harbour("x")
    requirements = small.root / "requirements.txt"
    older = requirements.read_text()
    requirements.write_text(older.replace("editables==", "editables==0.4.99+", 1))
    failed = small.harbour("x")
    assert failed.returncode == 1
    requirements.write_text(older)
    done = small.harbour("x")
    assert cli(done)[0] == ["x"]
    assert done.stderr == ""


def test_an_update_without_network_leaves_the_older_installation_as_it_was(small, wheelhouse):
    requirements = small.root / "requirements.txt"
    whole = requirements.read_text()
    requirements.write_text("".join(x for x in whole.splitlines(True) if "shellingham" not in x))
    small.harbour("x")
    older = requirements.read_text()
    requirements.write_text(whole)
    failed = small.harbour("x", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert failed.returncode == 1
    assert "127.0.0.1:9" in failed.stderr
    assert "Check the network" in failed.stderr
    requirements.write_text(older)
    assert small.harbour("x").stderr == ""


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["uv", "setuptools", "trove_classifiers"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_installation_goes_on_with_the_next_call(package, how, small, index):
    index.held = package
    first = small.start("x")
    assert index.is_waiting.wait(30)
    os.killpg(first.pid, how)
    code, said = ends(first)
    assert code in {130, -signal.SIGKILL, 143}
    assert "Traceback" not in said
    assert not small.is_complete
    assert (small.venv / "harbour" / "uv").exists() == (package != "uv")

    index.held = None
    index.release.set()
    assert cli(small.harbour("x"))[0] == ["x"]


def test_killed_at_any_moment_the_next_call_ends_it(small):
    cli(small.harbour("x"))  # fills the cache, so that the rest is quick
    started = time.monotonic()
    shutil.rmtree(small.venv)
    cli(small.harbour("x"))
    whole_s = time.monotonic() - started
    for share in (0.2, 0.4, 0.6, 0.7, 0.8, 0.9):
        shutil.rmtree(small.venv)
        process = small.start("x")
        time.sleep(whole_s * share)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        ends(process)
        assert cli(small.harbour("x"))[0] == ["x"]
        assert "airflow-provider-dataharbour" in small.distributions()


def test_an_update_that_was_killed_is_not_taken_for_complete(small, index):
    requirements = small.root / "requirements.txt"
    whole = requirements.read_text()
    requirements.write_text("".join(x for x in whole.splitlines(True) if "shellingham" not in x))
    small.harbour("x")
    older = requirements.read_text()
    requirements.write_text(whole)
    index.held = "shellingham"
    process = small.start("x")
    assert index.is_waiting.wait(30)
    os.killpg(process.pid, signal.SIGKILL)
    ends(process)
    requirements.write_text(older)  # the very lock that was installed before
    done = small.harbour("x")
    assert "not complete" in done.stderr
    assert cli(done)[0] == ["x"]


def test_what_an_orphaned_installer_still_does_is_waited_for(small, index):
    index.held = "trove_classifiers"
    first = small.start("x")
    assert index.is_waiting.wait(30)
    os.kill(first.pid, signal.SIGKILL)  # uv lives on
    second = small.start("x")
    eventually(lambda: "waiting" in second.stderr.readline())
    index.held = None
    index.release.set()
    assert ends(second)[0] == 0
    first.communicate(timeout=10)
    assert small.is_complete


def test_of_two_calls_at_once_one_installs_and_the_other_waits(small, index):
    index.held = "uv"
    first = small.start("first")
    assert index.is_waiting.wait(30)
    second = small.start("second")
    eventually(lambda: "waiting" in second.stderr.readline())
    index.release.set()
    assert ends(first)[0] == 0
    assert ends(second)[0] == 0
    assert len(index.downloads("hatchling-")) == 1


# --- where packages come from --------------------------------------------------------------------


def test_pip_configuration_holds_for_all_downloads(small, index, tmp_path):
    index.credentials = "me:s@cret"
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {index.url_with('me:s%40cret')}\n")
    del small.environment["PIP_INDEX_URL"]
    done = small.harbour("x", PIP_CONFIG_FILE=str(configuration))
    assert cli(done)[0] == ["x"]
    assert index.downloads("uv-")
    assert index.downloads("hatchling-")


def test_credentials_are_neither_arguments_nor_told(small, index, tmp_path):
    index.credentials, index.held = "me:sEcReT", "hatchling"
    process = small.start("x", PIP_INDEX_URL=index.url_with("me:sEcReT"))
    assert index.is_waiting.wait(30)
    arguments = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    ]
    assert any(b"requirements.txt" in line for line in arguments)
    assert not any(b"sEcReT" in line for line in arguments)
    index.held = None
    index.release.set()
    code, said = ends(process)
    assert code == 0

    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy2(small.venv / "bin" / "uv", tools)  # so that it is uv that meets the refusal
    shutil.rmtree(small.venv)
    shutil.rmtree(cache_of(small))
    index.credentials = "me:another"
    failed = small.harbour(
        "x",
        PIP_INDEX_URL=index.url_with("me:sEcReT"),
        PATH=f"{tools}:{small.environment['PATH']}",
    )
    assert failed.returncode == 1
    assert "sEcReT" not in said + failed.stderr


def test_a_mirror_folder_alone_is_enough(small, wheelhouse, index):
    del small.environment["PIP_INDEX_URL"]
    done = small.harbour(
        "x",
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(wheelhouse),
        HTTPS_PROXY="http://127.0.0.1:9",  # so that nothing can come from elsewhere
    )
    assert cli(done)[0] == ["x"]
    assert index.asked == []


def test_an_additional_index_is_searched_too(small, index, new_index, wheelhouse, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    for path in wheelhouse.glob("uv-*"):
        shutil.copy(path, part)
    first = new_index(part)
    done = small.harbour("x", PIP_INDEX_URL=first.url, PIP_EXTRA_INDEX_URL=index.url)
    assert cli(done)[0] == ["x"]
    assert first.downloads("uv-")
    assert index.downloads("hatchling-")


@pytest.mark.parametrize("how", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_certificate_authority_of_ones_own_is_enough(
    how, small, new_index, wheelhouse, certificate
):
    ca, context = certificate
    index = new_index(wheelhouse, tls=context)
    refused = small.harbour("x", PIP_INDEX_URL=index.url)
    assert refused.returncode == 1
    assert "certificate" in refused.stderr
    assert cli(small.harbour("x", PIP_INDEX_URL=index.url, **{how: str(ca)}))[0] == ["x"]
    assert index.downloads("hatchling-")


def test_a_trusted_host_needs_no_known_certificate(small, new_index, wheelhouse, certificate):
    index = new_index(wheelhouse, tls=certificate[1])
    done = small.harbour("x", PIP_INDEX_URL=index.url, PIP_TRUSTED_HOST="127.0.0.1")
    assert cli(done)[0] == ["x"]


@pytest.mark.parametrize("how", ["PIP_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def test_everything_comes_through_the_proxy(how, small, index):
    proxy = index.url.removesuffix("/simple")
    done = small.harbour("x", **{"PIP_INDEX_URL": "http://index.invalid/simple", how: proxy})
    assert cli(done)[0] == ["x"]
    assert all(path.startswith("proxy ") for path in index.asked)


def test_the_locked_uv_in_path_is_used_and_another_is_not(small, index, tmp_path):
    locked = next(
        each.version
        for each in parse_requirements((small.root / "requirements.txt").read_text())
        if each.name == "uv"
    )
    real = tmp_path / "cache-of-uv"
    small.harbour("x")
    shutil.copy2(small.venv / "bin" / "uv", real)
    shutil.rmtree(small.venv)

    other = shim(tmp_path / "other", "uv", "echo uv 0.1.2")
    index.asked.clear()
    small.harbour("x", PATH=f"{other.parent}:{small.environment['PATH']}")
    assert len(index.downloads("uv-")) == 1
    shutil.rmtree(small.venv)

    same = shim(tmp_path / "same", "uv", f'test "$1" = --version || exec {real} "$@"')
    same.write_text(same.read_text() + f"echo uv {locked}\n")
    index.asked.clear()
    small.harbour("x", PATH=f"{same.parent}:{small.environment['PATH']}")
    assert index.downloads("uv-") == []


def test_a_tampered_installer_is_refused_and_nothing_is_left(
    small, wheelhouse, new_index, tmp_path
):
    offered = tmp_path / "offered"
    shutil.copytree(wheelhouse, offered)
    wheel = next(offered.glob("uv-*"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
    done = small.harbour("x", PIP_INDEX_URL=new_index(offered).url)
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert not small.venv.exists()


def test_a_tampered_package_is_refused_and_nothing_is_left(small, wheelhouse, new_index, tmp_path):
    offered = tmp_path / "offered"
    shutil.copytree(wheelhouse, offered)
    wheel = next(offered.glob("pathspec-*"))
    wheel.write_bytes(wheel.read_bytes() + b"!")
    done = small.harbour("x", PIP_INDEX_URL=new_index(offered).url)
    assert done.returncode == 1
    assert "pathspec" in done.stderr
    assert not small.venv.exists()


def test_an_index_that_does_not_answer_leaves_nothing_behind(small):
    before = sorted(small.root.iterdir())
    done = small.harbour("x", PIP_INDEX_URL="http://me:sEcReT@127.0.0.1:9/simple")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/simple/uv/" in done.stderr
    assert "remedy: Check the network" in done.stderr
    assert sorted(small.root.iterdir()) == before


def test_variables_that_would_bend_the_lock_are_not_passed_on(small):
    bent = {"UV_SYSTEM_PYTHON": "1", "UV_NO_BUILD": "1", "UV_EXCLUDE_NEWER": "2020-01-01"}
    bent |= {"PYTHONPATH": "/nowhere", "VIRTUAL_ENV": "/nowhere", "UV_PYTHON": "3.9"}
    done = small.harbour("x", **bent)
    assert cli(done)[0] == ["x"]


# --- the machine ---------------------------------------------------------------------------------


def test_an_environment_of_somebody_else_is_left_alone(small):
    (small.venv / "lib").mkdir(parents=True)
    done = small.harbour("x")
    assert done.returncode == 1
    assert "was not made by ./harbour" in done.stderr
    assert [path.name for path in small.venv.iterdir()] == ["lib"]


@pytest.mark.parametrize("home", ["/proc/nobody", "/dh-no-such-home"])
def test_without_a_usable_home_the_cache_lies_in_the_environment_and_goes(home, small):
    del small.environment["UV_CACHE_DIR"]
    done = small.harbour("x", HOME=home)
    assert cli(done)[0] == ["x"]
    assert not (small.venv / "harbour" / "cache").exists()
    assert not Path(home).exists()


def test_a_cache_on_another_disk_is_copied_from_without_a_warning(small):
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == small.root.stat().st_dev:
        pytest.skip("/dev/shm is not a disk of its own here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        done = small.harbour("x", UV_CACHE_DIR=folder)
    assert cli(done)[0] == ["x"]
    assert "warning" not in done.stderr


def test_temporary_folders_that_cannot_be_used_do_not_matter(small):
    assert cli(small.harbour("x", TMPDIR="/proc/nowhere"))[0] == ["x"]


@NEEDS_ROOT
def test_installed_by_root_everybody_can_read_it_whatever_the_umask(small):
    small.harbour("x")
    shutil.rmtree(small.venv)
    for path in cache_of(small).rglob("*"):  # as another program of root may leave it
        path.chmod(path.stat().st_mode & 0o700)
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0" x', str(small.root / "harbour")],
        env=small.environment,
        capture_output=True,
        text=True,
    )
    cli(done)
    closed = [
        path
        for path in (small.venv, *small.venv.rglob("*"))
        if not path.is_symlink() and not path.stat().st_mode & (0o001 if path.is_dir() else 0o004)
    ]
    assert closed == []


@NEEDS_ROOT
def test_roots_checkout_that_is_closed_to_others_is_installed_where_they_can_reach_it(small):
    small.root.parent.chmod(0o700)
    try:
        assert cli(small.harbour("x"))[0] == ["x"]
        target = small.venv.resolve()
        assert small.venv.is_symlink()
        assert target.is_relative_to("/var/lib/dataharbour")
        assert Path(cli(small.harbour("x"))[1]).parent == target / "bin"
        assert [each for each in (target, *target.parents) if not each.stat().st_mode & 1] == []
    finally:
        shutil.rmtree(small.venv.resolve().parent)


@NEEDS_ROOT
def test_an_ordinary_user_installs_in_a_folder_of_their_own(small):
    nobody = ordinary_user()
    for path in (small.root, *small.root.rglob("*")):
        os.chown(path, nobody["user"], nobody["group"])
    del small.environment["UV_CACHE_DIR"]
    environment = small.environment | {"PATH": "/usr/bin:/bin"}
    del environment["HOME"]
    done = subprocess.run(
        small.command("x"), env=environment, capture_output=True, text=True, **nobody
    )
    assert cli(done)[0] == ["x"]
    assert (small.venv / "bin" / "python").lstat().st_uid == nobody["user"]


@NEEDS_ROOT
def test_the_closed_home_of_somebody_else_is_no_place_for_the_cache(small, tmp_path):
    nobody = ordinary_user()
    for path in (small.root, *small.root.rglob("*")):
        os.chown(path, nobody["user"], nobody["group"])
    del small.environment["UV_CACHE_DIR"]
    tmp_path.chmod(0o700)
    environment = small.environment | {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        small.command("x"), env=environment, capture_output=True, text=True, **nobody
    )
    assert cli(done)[0] == ["x"]


@NEEDS_ROOT
def test_a_checkout_that_may_not_be_written_to_is_told_in_one_message(small):
    done = subprocess.run(
        small.command("x"),
        env=small.environment | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        **ordinary_user(),
    )
    assert done.returncode == 1
    assert f"{small.root} cannot be written to (Permission denied)" in done.stderr
    assert done.stderr.count("remedy:") == 1
    assert not small.venv.exists()


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("mount", "message"),
    [
        pytest.param("size=1g", "1.1 GB are free at {root}; 10 GB are needed", id="no-space"),
        pytest.param("size=20g,noexec", "no programs may be run from that disk", id="noexec"),
        pytest.param("size=20g,ro", "cannot be written to (Read-only file system)", id="read-only"),
    ],
)
def test_a_disk_that_does_not_do_is_told_in_one_message(mount, message, small):
    options, is_read_only = mount.removesuffix(",ro"), mount.endswith(",ro")
    script = (
        'mount -t tmpfs -o "$1" tmpfs /mnt && cp -a "$2" /mnt/dh || exit 99\n'
        f"{'mount -o remount,ro /mnt' if is_read_only else ''}\n"
        'cd /mnt/dh && sh ./harbour up; code=$?; test -e .venv && exit 98; exit "$code"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", options, str(small.root)],
        env=small.environment,
        capture_output=True,
        text=True,
    )
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    assert message.format(root="/mnt/dh") in done.stderr
    assert done.stderr.count("remedy:") == 1


def ordinary_user() -> dict[str, Any]:
    """`nobody`, who must have a Python to run."""
    nobody = pwd.getpwnam("nobody")
    user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    fits = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    found = subprocess.run(["/usr/bin/python3", "-c", fits], capture_output=True, **user)
    if found.returncode:
        pytest.skip("/usr/bin/python3 is not a Python 3.11 to 3.13")
    return user
