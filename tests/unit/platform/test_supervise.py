from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import launch
from dataharbour.platform.down import down
from dataharbour.platform.layout import Home
from dataharbour.platform.report import Report
from dataharbour.platform.status import status
from dataharbour.platform.supervise import Service, Supervisor


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory() as short:  # a socket's path must be short
        home = Home(Path(short) / "a home; with 100% odd")
        for folder in (home.run, home.logs, home.config):
            folder.mkdir(parents=True)
        yield home


@pytest.fixture
def supervised(home):
    """A supervisor that is stopped at the end whatever happens."""
    supervisor = Supervisor(home)
    yield supervisor
    supervisor.shutdown()
    launch.stop_all(list(launch.marked(str(home.root))), grace_s=1)


@pytest.fixture
def ordinary_user():
    """Options for subprocess: somebody who is not root, and has a Python to run."""
    nobody = pwd.getpwnam("nobody")
    user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    user = user if os.geteuid() == 0 else {}
    fits = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2])"
    if subprocess.run(["/usr/bin/python3", "-c", fits], check=False, **user).returncode:
        pytest.skip("/usr/bin/python3 is not a Python 3.11 or newer")
    return user


def python(code: str, **more) -> Service:
    return Service(command=[sys.executable, "-c", code], **more)


def until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def state_of(supervisor: Supervisor, name: str):
    return next(s for s in supervisor.states() if s.name == name)


def test_a_service_gets_its_environment_and_arguments_whatever_they_hold(home, supervised):
    odd = "50% of \"a\" 'b' \\ ; #c"
    out = home.root / "out"
    code = (
        "import os,sys,time;"
        "open(sys.argv[1],'w').write(os.environ['ODD']+'|'+sys.argv[2]);time.sleep(60)"
    )
    service = Service(
        name="odd", command=[sys.executable, "-c", code, str(out), odd], environment={"ODD": odd}
    )
    supervised.configure([service])
    supervised.ensure_running()
    supervised.start("odd")
    until(lambda: out.exists() and out.read_text())
    assert out.read_text() == f"{odd}|{odd}"


def test_a_killed_service_comes_back_without_what_its_children_left(home, supervised):
    marker = home.root / "children"
    code = (
        "import subprocess,sys,time;"
        f"p=subprocess.Popen([sys.executable,'-c','import time;time.sleep(600)']);"
        f"open({str(marker)!r},'a').write(str(p.pid)+'\\n');time.sleep(600)"
    )
    supervised.configure([python(code, name="parent")])
    supervised.ensure_running()
    supervised.start("parent")
    until(lambda: marker.exists() and state_of(supervised, "parent").state == "running")
    first = state_of(supervised, "parent").pid
    os.kill(first, 9)
    until(lambda: len(marker.read_text().splitlines()) == 2)
    orphan = int(marker.read_text().splitlines()[0])
    assert not Path(f"/proc/{orphan}/exe").exists()


HIDING = """
import ctypes, os, sys, time
if os.fork() == 0:  # as Airflow's workers: nobody but root may look into them
    ctypes.CDLL(None).prctl(4, 0)
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(60)
time.sleep(60)
"""


def test_workers_that_hide_their_environment_are_found_by_an_ordinary_user(ordinary_user):
    """The service is killed, its worker stays, and the sweep of the same user must see it."""
    with tempfile.TemporaryDirectory() as folder:
        home, told = Path(folder) / "home", Path(folder) / "worker"
        (home / "run").mkdir(parents=True)
        shutil.copy(launch.__file__, folder)
        start = {
            "command": ["/usr/bin/python3", "-c", HIDING, str(told)],
            "directory": folder,
            "environment": {
                launch.PLATFORM_MARK: str(home),
                launch.SERVICE_MARK: "scheduler",
            },
            "user": None,
        }
        (Path(folder) / "service.json").write_text(json.dumps(start))
        for path in (folder, home, home / "run"):
            os.chown(path, ordinary_user.get("user", -1), -1)
        service = subprocess.Popen(
            ["/usr/bin/python3", "launch.py", "service.json"],
            cwd=folder,
            start_new_session=True,
            **ordinary_user,
        )
        until(lambda: told.exists() and told.read_text())
        worker = int(told.read_text())
        try:
            service.kill()
            service.wait()
            look = "import launch; print(launch.marked({!r}))"
            found = subprocess.run(
                ["/usr/bin/python3", "-c", look.format(str(home))],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
                **ordinary_user,
            )
            assert found.stdout.strip() == str({worker: "scheduler"})
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_driver_outlives_the_service_that_started_it(home, supervised):
    marker = home.root / "driver"
    code = (
        "import os,subprocess,sys,time;"
        "e={**os.environ,'HARBOUR_SERVICE':'driver'};"
        "p=subprocess.Popen([sys.executable,'-c','import time;time.sleep(600)'],"
        "env=e,start_new_session=True);"
        f"open({str(marker)!r},'a').write(str(p.pid)+'\\n');time.sleep(600)"
    )
    supervised.configure([python(code, name="scheduler")])
    supervised.ensure_running()
    supervised.start("scheduler")
    until(lambda: marker.exists() and state_of(supervised, "scheduler").state == "running")
    os.kill(state_of(supervised, "scheduler").pid, 9)
    until(lambda: len(marker.read_text().splitlines()) == 2)
    driver = int(marker.read_text().splitlines()[0])
    assert Path(f"/proc/{driver}/exe").exists()
    assert launch.marked(str(home.root), service="driver").get(driver) == "driver"


def test_a_killed_supervisors_services_are_found_and_stopped(home, supervised):
    supervised.configure([python("import time;time.sleep(600)", name="left")])
    supervised.ensure_running()
    supervised.start("left")
    until(lambda: state_of(supervised, "left").state == "running")
    supervisor_pid = int((home.run / "supervisor.pid").read_text())
    os.kill(supervisor_pid, 9)
    until(lambda: not supervised.is_alive())
    left = launch.marked(str(home.root))
    assert "left" in left.values()
    launch.stop_all(list(left), grace_s=5)
    assert launch.marked(str(home.root)) == {}


def test_starting_what_runs_is_fine_and_what_is_unknown_is_told(home, supervised):
    supervised.configure([python("import time;time.sleep(600)", name="known")])
    supervised.ensure_running()
    supervised.start("known")
    supervised.start("known")
    sleeper = python("import time;time.sleep(600)", name="newer")
    supervised.configure([python("import time;time.sleep(600)", name="known"), sleeper])
    supervised.start("newer")  # the running one reads of it now
    assert "newer" in {state.name for state in supervised.states()}
    supervised.forget(["newer", "never-there"])
    assert "newer" not in {state.name for state in supervised.states()}
    with pytest.raises(PlatformError, match="nobody") as caught:
        supervised.start("nobody")
    assert "harbour restart" in caught.value.remedy


def test_status_names_what_a_killed_supervisor_left(home, supervised):
    names = ("vault", "of-another-version", "postgres")
    supervised.configure([python("import time;time.sleep(600)", name=name) for name in names])
    supervised.ensure_running()
    for name in names:
        supervised.start(name)
    until(lambda: {s["state"] for s in status(home)["services"]} == {"running"})
    before = status(home)["services"]
    os.kill(int((home.run / "supervisor.pid").read_text()), 9)
    until(lambda: not supervised.is_alive())
    found = status(home)
    assert not found["ready"]
    assert "postgres is orphaned, vault is orphaned" in found["lacks"]
    assert [(s["name"], s["state"]) for s in found["services"]] == [
        ("postgres", "orphaned"), ("vault", "orphaned"), ("of-another-version", "orphaned"),
    ]  # fmt: skip
    assert [s["pid"] for s in found["services"]] == [s["pid"] for s in before]


def test_down_ends_a_driver_that_a_retry_started_while_the_database_is_there(home, supervised):
    told, pid_file = home.root / "told", home.root / "database"
    database = f"import os,time;open({str(pid_file)!r},'w').write(str(os.getpid()));time.sleep(600)"
    driver = on_request_to_stop(
        f"pid=open({str(pid_file)!r}).read();"
        f"open({str(told)!r},'w').write('in time' if os.path.exists('/proc/'+pid) else 'too late')"
    )
    scheduler = on_request_to_stop(
        "p=subprocess.Popen([sys.executable,'-c',sys.argv[1]],start_new_session=True,"
        "stdout=subprocess.PIPE,env={**os.environ,'HARBOUR_SERVICE':'driver'});p.stdout.readline()"
    )
    supervised.configure(
        [
            python(database, name="postgres"),
            Service(name="scheduler", command=[sys.executable, "-c", scheduler, driver]),
        ]
    )
    supervised.ensure_running()
    for name in ("postgres", "scheduler"):
        supervised.start(name)
    until(lambda: pid_file.exists() and pid_file.read_text())
    until(lambda: "up" in (home.logs / "scheduler.log").read_text())
    down(home, Report(stream=io.StringIO(), live=False))
    assert told.read_text() == "in time"


def on_request_to_stop(code: str) -> str:
    """A program that runs `code` when it is asked to stop."""
    return (
        "import os,signal,subprocess,sys,time\n"
        f"def end(*_):\n {code}\n os._exit(0)\n"
        "signal.signal(signal.SIGTERM,end)\nprint('up',flush=True)\ntime.sleep(600)\n"
    )


def test_a_process_that_ignores_the_request_to_stop_is_killed():
    code = (
        "import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);"
        "print('x',flush=True);time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    launch.stop_all([process.pid], grace_s=0.3)
    assert process.wait(5) == -9
    process.stdout.close()


def test_processes_of_another_platform_are_left_alone(home):
    environment = {**os.environ, launch.PLATFORM_MARK: "/somewhere/else", launch.SERVICE_MARK: "x"}
    process = subprocess.Popen(
        [sys.executable, "-c", "import time;time.sleep(60)"], env=environment
    )
    try:
        assert process.pid not in launch.marked(str(home.root))
        assert process.pid in launch.marked("/somewhere/else")
    finally:
        process.kill()
        process.wait()


def test_the_configuration_is_private_and_says_when_it_changed(home):
    supervisor = Supervisor(home)
    assert supervisor.configure([python("pass", name="a")])
    assert not supervisor.configure([python("pass", name="a")])
    assert supervisor.configure([python("pass", name="b")])
    assert supervisor.config_file.stat().st_mode & 0o777 == 0o600


def test_drivers_carry_the_marks_that_the_platform_looks_for():
    from dataharbour.jobs.backends import start

    assert (start._PLATFORM, start._SERVICE) == (launch.PLATFORM_MARK, launch.SERVICE_MARK)


def test_a_running_supervisor_takes_a_service_in_and_lets_it_go(home, supervised):
    sleeper = "import time; time.sleep(60)"
    one, more = python(sleeper, name="one"), python(sleeper, name="more")
    supervised.configure([one])
    supervised.ensure_running()
    supervised.include("more", wanted=False)  # nothing to do
    supervised.start("one")
    until(lambda: state_of(supervised, "one").state == "running")
    pid = state_of(supervised, "one").pid
    supervised.configure([one, more])
    for _ in range(2):
        supervised.include("more", wanted=True)
    supervised.start("more")
    until(lambda: state_of(supervised, "more").state == "running")
    supervised.configure([one])
    supervised.include("more", wanted=False)
    assert [state.name for state in supervised.states()] == ["one"]
    assert state_of(supervised, "one").pid == pid
