from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from dataharbour.jobs.backends.start import CHILD
from dataharbour.jobs.driver.reporter import MAX_LOG_BYTES, MAX_WAITING_LINES
from dataharbour.jobs.model import Detail, FailureClass
from dataharbour.jobs.store import RunStore

SLEEPER = """
    import os, time
    print("pid", os.getpid(), flush=True)
    time.sleep(60)
"""


def until(condition, seconds: float = 10):
    """The first true answer of `condition`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def pid_of_child(driver) -> int:
    words = until(lambda: [line.split() for line in driver.lines() if line.startswith("pid")])
    return int(words[0][1])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] in "ZX"
    except FileNotFoundError:
        return True


def test_an_application_that_ends_well_succeeds(launch):
    driver = launch(
        "import sys; print('hello', *sys.argv[1:]); print('oops', file=sys.stderr)", "a b"
    )
    state = driver.end()
    assert (state.observed, state.exit_code, state.failure) == (Detail.SUCCEEDED, 0, None)
    assert driver.lines("stdout") == ["hello a b"]
    assert driver.lines("stderr") == ["oops"]


def test_an_exit_code_is_passed_on(launch):
    state = launch("raise SystemExit(7)").end()
    assert (state.observed, state.exit_code) == (Detail.FAILED, 7)
    assert state.failure.failure_class is FailureClass.USER_ERROR
    assert state.failure.message.startswith("The application ended with exit code 7.")


def test_an_exception_is_reported_by_its_root_cause(launch):
    driver = launch("""
        def parse(row):
            return int(row)
        try:
            parse("seven")
        except ValueError as error:
            raise RuntimeError("row 3 is bad") from error
    """)
    state = driver.end()
    first, second, *rest = state.failure.message.splitlines()
    assert first == "ValueError: invalid literal for int() with base 10: 'seven'"
    assert second == "raised as: RuntimeError: row 3 is bad"
    assert any('job.py", line 3, in parse' in line for line in rest)
    assert not any("child.py" in line for line in [*rest, *driver.lines("stderr")])


def test_an_application_that_is_no_python_is_shown_without_our_frames(launch):
    driver = launch("print('never'\nx = (")
    state = driver.end()
    assert state.failure.failure_class is FailureClass.USER_ERROR
    assert state.failure.message.startswith("SyntaxError: ")
    assert "job.py" in state.failure.message
    assert "child.py" not in "".join([state.failure.message, *driver.lines("stderr")])


def test_an_exception_that_no_database_could_keep_is_reported(launch):
    state = launch(r"raise ValueError('nul \0, half \ud800, end')").end()
    assert (state.observed, state.exit_code) == (Detail.FAILED, 1)
    assert state.failure.failure_class is FailureClass.USER_ERROR
    assert state.failure.message.startswith("ValueError: nul , half , end\n")


def test_what_the_database_refuses_is_left_out_and_the_rest_is_told(launch, database):
    with psycopg.connect(database) as admin:
        admin.execute("alter table attempt add check (failure_message not like '%boom%')")
        admin.execute("alter table log_chunk add check (lines::text not like '%boom%')")
    driver = launch("""
        import time
        print("boom", flush=True)
        time.sleep(1.5)
        print("fine", flush=True)
        time.sleep(1)
        raise ValueError("boom")
    """)
    state = driver.end()
    assert state.observed is Detail.FAILED
    assert state.failure.message == "The cause could not be stored (CheckViolation)."
    assert driver.process.wait(5) == 0
    assert driver.lines() == ["fine"]
    assert driver.lines("harbour")[0].startswith("(1 lines were dropped")


def test_a_database_that_cannot_take_the_end_is_asked_again(launch, database):
    with psycopg.connect(database) as admin:
        admin.execute("alter function driver.finish rename to finish_of_later")
    driver = launch("print('done')")
    until(lambda: "UndefinedFunction" in driver.log())
    with psycopg.connect(database) as admin:
        admin.execute("alter function driver.finish_of_later rename to finish")
    assert driver.end().observed is Detail.SUCCEEDED
    assert driver.process.wait(5) == 0


def test_a_made_up_failure_class_is_not_believed(launch):
    state = launch("""
        import json
        said = {"kind": "failure", "failure_class": "MINE", "message": "x"}
        with open("../control", "w") as control:
            print(json.dumps(said), file=control)
        raise SystemExit(1)
    """).end()
    assert (state.failure.failure_class, state.failure.message) == (FailureClass.USER_ERROR, "x")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        pytest.param(["/no/such/python", "a.py"], "No such file", id="no-program"),
        pytest.param(
            [sys.executable, "-c", "pass", "x" * 200_000], "list too long", id="arguments"
        ),
    ],
)
def test_a_program_that_cannot_be_started_is_reported(launch, command, why):
    driver = launch("", command=command)
    state = driver.end()
    assert state.observed is Detail.FAILED
    assert state.failure.failure_class is FailureClass.CONFIG
    assert state.failure.message.startswith("The driver's program could not be started: ")
    assert why in state.failure.message
    assert driver.process.wait(5) == 0


def test_a_folder_that_cannot_be_used_is_reported(launch, tmp_path):
    (tmp_path / "own" / "work").mkdir(parents=True)
    (tmp_path / "own" / "control").touch()
    state = launch("", folder=str(tmp_path / "own")).end()
    assert state.failure.failure_class is FailureClass.INFRA
    assert "could not be supervised: FileExistsError" in state.failure.message


def test_an_error_of_the_supervisor_ends_the_application_before_it_is_reported(launch):
    driver = launch(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        + SLEEPER.replace("    ", ""),
        timeout_s=0.5,
        grace_s=None,
    )
    state = driver.end()
    assert state.failure.failure_class is FailureClass.INFRA
    assert "could not be supervised: TypeError" in state.failure.message
    assert is_gone(pid_of_child(driver))
    assert "Traceback" in driver.log()


def test_a_signal_is_shown_as_shells_do(launch):
    state = launch("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").end()
    assert state.exit_code == 139
    assert state.failure.message.startswith("The driver died of signal 11.")


def test_user_code_that_closes_everything_cannot_hide_its_exit(launch):
    state = launch("import os; os.closerange(0, 100); os._exit(3)").end()
    assert (state.observed, state.exit_code) == (Detail.FAILED, 3)


def test_a_run_that_takes_too_long_is_ended(launch):
    driver = launch(SLEEPER, timeout_s=1.0)
    state = driver.end()
    assert state.observed is Detail.TIMED_OUT
    assert state.failure.failure_class is FailureClass.TIMEOUT
    assert state.failure.message == "The run did not end within 1 s."
    assert is_gone(pid_of_child(driver))


def test_an_application_that_ignores_sigterm_is_killed(launch):
    driver = launch(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        + SLEEPER.replace("    ", ""),
        timeout_s=0.5,
        grace_s=0.5,
    )
    state = driver.end()
    assert (state.observed, state.exit_code) == (Detail.TIMED_OUT, 137)


def test_cancelling_ends_the_driver_at_once(launch, store: RunStore):
    driver = launch(SLEEPER)
    child = pid_of_child(driver)
    asked = time.monotonic()
    run = store.cancel(driver.grant.run_id, now=store.get(driver.grant.run_id).created_at)
    assert run.detail is Detail.CANCELLING
    state = driver.end()
    assert state.observed is Detail.CANCELLED
    assert time.monotonic() - asked < 8, "sooner than the next renewal"
    assert is_gone(child)


def test_the_application_may_clean_up_when_it_is_cancelled(launch, store: RunStore):
    driver = launch("""
        import time
        try:
            print("pid 0", flush=True)
            time.sleep(60)
        finally:
            print("cleaned up")
    """)
    pid_of_child(driver)
    store.cancel(driver.grant.run_id, now=store.get(driver.grant.run_id).created_at)
    driver.end()
    assert "cleaned up" in driver.lines()


STUBBORN = """
    import os, signal, time
    signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
    print("pid", os.getpid(), flush=True)
    for _ in range(100):
        time.sleep(0.2)
"""


@pytest.mark.parametrize(("grace_s", "at_least_s", "at_most_s"), [(0, 0, 3), (4, 4, 8)])
def test_a_cancelled_application_has_as_long_as_the_caller_says(
    launch, store: RunStore, grace_s, at_least_s, at_most_s
):
    driver = launch(STUBBORN)
    child = pid_of_child(driver)
    now = store.get(driver.grant.run_id).created_at
    asked = time.monotonic()
    store.cancel(driver.grant.run_id, grace_s=grace_s, now=now)
    assert driver.end().observed is Detail.CANCELLED
    assert at_least_s <= time.monotonic() - asked < at_most_s
    assert is_gone(child)


def test_a_supervisor_that_is_told_to_stop_says_so(launch):
    driver = launch(SLEEPER)
    child = pid_of_child(driver)
    driver.process.terminate()
    state = driver.end()
    assert state.observed is Detail.FAILED
    assert state.failure.failure_class is FailureClass.INFRA
    assert is_gone(child)


def test_a_killed_supervisor_takes_its_child_along(launch):
    driver = launch(SLEEPER)
    child = pid_of_child(driver)
    driver.process.send_signal(signal.SIGKILL)
    until(lambda: is_gone(child))


def test_so_it_does_with_a_child_that_is_no_python(launch):
    """As spark-submit's JVM, which arms nothing itself."""
    driver = launch("", command=["/bin/sleep", "60"])
    children = Path(f"/proc/{driver.process.pid}/task/{driver.process.pid}/children")
    child = int(until(children.read_text))
    until(lambda: "sleep" in Path(f"/proc/{child}/cmdline").read_text())
    driver.process.send_signal(signal.SIGKILL)
    until(lambda: is_gone(child))


def test_eight_racing_drivers_run_the_application_once(launch, store, new_run, tmp_path):
    grant = store.start_attempt(
        new_run().id, backend="plain", now=store.get(new_run().id).created_at
    )
    source = f"""
        import os, time
        os.open({str(tmp_path / "ran")!r} + str(os.getpid()), os.O_CREAT)
        time.sleep(1)
    """
    drivers = [launch(source, grant=grant) for _ in range(8)]
    assert drivers[0].end().observed is Detail.SUCCEEDED
    for driver in drivers:
        assert driver.process.wait(10) == 0
    assert len(list(tmp_path.glob("ran*"))) == 1
    assert sum("not claimed" in driver.log() for driver in drivers) == 7


def test_a_driver_whose_attempt_was_overtaken_is_killed(launch, database):
    driver = launch(SLEEPER, renew_every_s=0.3)
    child = pid_of_child(driver)
    with psycopg.connect(database) as admin:
        admin.execute("update run set fence = fence + 1 where id = %s", [driver.grant.run_id])
    until(lambda: is_gone(child))
    assert driver.process.wait(5) == 75
    assert driver.store.attempt_state(driver.grant.attempt_id).observed is Detail.RUNNING


def test_a_driver_that_cannot_renew_kills_itself_before_the_lease_ends(launch, database):
    driver = launch(SLEEPER, renew_every_s=0.3, fence_after_s=1.5)
    child = pid_of_child(driver)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("alter role harbour_driver nologin")
        try:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'dataharbour driver'"
            )
            cut = time.monotonic()
            until(lambda: is_gone(child))
            assert time.monotonic() - cut > 1.0, "it should have tried until then"
        finally:
            admin.execute("alter role harbour_driver login")
    state = driver.end()  # the database is back, and no newer attempt exists
    assert state.failure.failure_class is FailureClass.INFRA


def test_a_frozen_database_does_not_stop_the_fence(launch, database):
    """The reporter hangs in a call; the main thread must not."""
    driver = launch(SLEEPER, renew_every_s=0.2, fence_after_s=1.0)
    child = pid_of_child(driver)
    with psycopg.connect(database) as admin:  # a lock that every call waits for
        admin.execute("lock table run in access exclusive mode")
        until(lambda: is_gone(child))


def test_a_line_outlives_the_whole_driver_that_printed_it(launch):
    """Nobody has the time to say a last word: supervisor and application are killed at once."""
    driver = launch("""
        import os, time
        print("pid", os.getpid(), flush=True)
        time.sleep(2)
        print("written down", flush=True)
        time.sleep(60)
    """)
    child = pid_of_child(driver)
    copy = driver.folder / "driver.log"
    until(lambda: "written down" in copy.read_text())
    time.sleep(1.0)  # what a reader is promised
    os.kill(driver.process.pid, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    until(lambda: is_gone(child))
    assert driver.lines() == [f"pid {child}", "written down"]
    assert copy.read_text().splitlines() == [f"pid {child}", "written down"]


def test_log_lines_survive_a_database_that_was_away(launch, database):
    driver = launch("""
        import time
        for i in range(40):
            print("line", i, flush=True)
            time.sleep(0.05)
    """)
    until(lambda: driver.lines())
    for _ in range(3):
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'dataharbour driver'"
            )
        time.sleep(0.3)
    assert driver.end().observed is Detail.SUCCEEDED
    assert driver.lines() == [f"line {i}" for i in range(40)]


def test_secrets_stand_neither_in_the_log_nor_in_arguments_nor_in_files(launch):
    driver = launch(
        """
        import os, time
        print("the key is", os.environ["LAKE_KEY"], flush=True)
        time.sleep(1)
        raise RuntimeError(os.environ)
        """,
        environment={"PATH": os.environ["PATH"], "LAKE_KEY": "k3y-of-lake"},
        secrets=["k3y-of-lake"],
    )
    until(driver.lines)
    assert not (driver.folder / "spec.json").exists()
    command_line = Path(f"/proc/{driver.process.pid}/cmdline").read_text()
    state = driver.end()
    assert driver.lines() == ["the key is ***"]
    assert state.failure.message.startswith("RuntimeError: environ({")
    assert "'LAKE_KEY': '***'" in state.failure.message
    assert driver.process.wait(5) == 0
    files = [path for path in driver.folder.iterdir() if path.is_file()]
    assert driver.folder / "driver.log" in files
    texts = [
        command_line,
        state.failure.message,
        *driver.lines("stderr"),
        *driver.lines("harbour"),
        *(str(event.data) for event in driver.store.events(driver.grant.run_id)),
        *(path.read_text() for path in files),
    ]
    for secret in ("k3y-of-lake", driver.grant.token, "driver-password-of-the-tests"):
        assert not any(secret in text for text in texts)


def test_a_secret_at_the_end_of_a_long_failure_is_not_cut_in_half(launch):
    # The 12,000th character stands in one of the keys.
    source = """
        class Long(Exception):
            def __str__(self):
                return "".join("k3y-of-lake" + "x" * 8 for _ in range(2000))
        raise Long
    """
    message = launch(source, secrets=["k3y-of-lake"]).end().failure.message
    assert len(message) == 12_000
    assert "k3y" not in message


def test_what_the_application_leaves_behind_is_ended(launch):
    driver = launch("""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                                 start_new_session=True)
        print("pid", child.pid, flush=True)
        sys.stdout.flush(); sys.stderr.flush()
        import os; os._exit(0)
    """)
    state = driver.end()
    assert state.observed is Detail.SUCCEEDED
    assert is_gone(pid_of_child(driver))


def test_so_are_the_children_of_what_it_leaves_behind(launch):
    """As a daemon of pyspark and its workers."""
    driver = launch("""
        import os, subprocess, sys
        worker = [sys.executable, "-c", "import time; time.sleep(60)"]
        daemon = ("import subprocess, time; w = subprocess.Popen(%r, start_new_session=True);"
                  "print('pid', w.pid, flush=True); time.sleep(60)" % worker)
        started = subprocess.Popen([sys.executable, "-c", daemon], start_new_session=True,
                                   stdout=subprocess.PIPE)
        print(started.stdout.readline().decode(), flush=True)
        os._exit(0)
    """)
    assert driver.end().observed is Detail.SUCCEEDED
    assert is_gone(pid_of_child(driver))


def test_an_application_that_changed_since_it_was_submitted_is_not_run(launch, tmp_path):
    driver = launch("print('ran')", sha256="0" * 64)
    state = driver.end()
    assert state.observed is Detail.FAILED
    assert state.failure.failure_class is FailureClass.CONFIG
    assert "was changed after the run was submitted" in state.failure.message
    assert driver.lines() == []


def test_what_runs_is_what_was_hashed(launch, tmp_path):
    """The application is read once: as a pipe can be."""
    source = b"print('read once')"
    application = tmp_path / "once.py"
    os.mkfifo(application)
    threading.Thread(target=application.write_bytes, args=[source], daemon=True).start()
    folder = tmp_path / "own"
    (folder / "work").mkdir(parents=True)
    sha256 = hashlib.sha256(source).hexdigest()
    driver = launch(
        "",
        folder=str(folder),
        command=[sys.executable, str(CHILD), str(folder), sha256, str(application)],
        timeout_s=5,
    )
    assert driver.end().observed is Detail.SUCCEEDED
    assert driver.lines() == ["read once"]


def test_the_application_is_a_main_module_as_any_other(launch):
    driver = launch("""
        import inspect, os, pickle, sys
        class Row:
            pass
        def double(x: int):
            return 2 * x
        print(__name__, __file__ == sys.argv[0], os.path.dirname(__file__) == sys.path[0])
        print(double.__annotations__ == {"x": int}, inspect.getsource(double).splitlines()[0])
        print(type(pickle.loads(pickle.dumps(Row()))) is Row)
    """)
    assert driver.end().observed is Detail.SUCCEEDED, driver.lines("stderr")
    assert driver.lines() == ["__main__ True True", "True def double(x: int):", "True"]


def test_threads_of_the_application_may_finish(launch):
    driver = launch("""
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.5), print("done"))).start()
    """)
    assert driver.end().observed is Detail.SUCCEEDED
    assert driver.lines() == ["done"]


def test_a_text_as_exit_code_is_the_message(launch):
    state = launch("import sys; sys.exit('no input for today')").end()
    assert (state.exit_code, state.failure.message) == (1, "no input for today")


def test_the_application_finds_its_neighbours_and_its_folder(launch, tmp_path):
    (tmp_path / "neighbour.py").write_text("NAME = 'next door'")
    driver = launch("""
        import os, neighbour
        open("scratch", "w").close()
        print(neighbour.NAME, __name__, os.path.basename(os.getcwd()))
    """)
    assert driver.end().observed is Detail.SUCCEEDED, driver.lines("stderr")
    assert driver.lines() == ["next door __main__ work"]


@pytest.mark.parametrize("many", [20_000])
def test_a_flood_of_lines_arrives_complete_and_in_order(launch, many):
    driver = launch(f"for i in range({many}): print(i)")
    assert driver.end(40).observed is Detail.SUCCEEDED
    assert read_all(driver) == [str(i) for i in range(many)]


def test_long_lines_are_sent_in_calls_of_a_bearable_size(launch):
    driver = launch("for i in range(1500): print(i, chr(233) * 4000 + chr(34) * 4000)")
    assert driver.end(60).observed is Detail.SUCCEEDED
    page = driver.store.logs(driver.grant.run_id, limit=2_000)
    assert [int(line.line.split()[0]) for line in page.items] == list(range(1500))


def test_a_flood_while_the_database_is_held_loses_only_what_it_counts(launch, database):
    many = MAX_WAITING_LINES + 40_000
    driver = launch(f"""
        import time
        print("first", flush=True)
        time.sleep(1.5)
        for i in range({many}):
            print(i)
    """)
    until(driver.lines)
    with psycopg.connect(database) as admin:
        admin.execute("lock table run in access exclusive mode")
        copy = driver.folder / "driver.log"
        until(lambda: copy.read_text().endswith(f"\n{many - 1}\n"))
    assert driver.end(40).observed is Detail.SUCCEEDED
    lines = read_all(driver)
    notes = [int(found[1]) for line in lines if (found := re.match(r"\((\d+) lines", line))]
    numbers = [int(line) for line in lines if line.isdigit()]
    # Less than all that the memory cannot hold: some were on their way, and arrived.
    assert 0 < sum(notes) < many - MAX_WAITING_LINES
    assert len(numbers) + sum(notes) == many
    assert numbers == sorted(set(numbers))


def test_a_log_that_is_full_says_so_and_the_run_goes_on(launch):
    driver = launch("""
        for i in range(5000): print("x" * 16000)
        raise SystemExit(3)
    """)
    state = driver.end(90)
    assert state.exit_code == 3
    notes = [line for line in read_all(driver) if line.startswith("(")]
    assert len(notes) == 1
    assert "more lines: the log here is full" in notes[0]
    assert (driver.folder / "driver.log").stat().st_size <= MAX_LOG_BYTES + 16_384


def read_all(driver) -> list[str]:
    lines, cursor = [], None
    while (page := driver.store.logs(driver.grant.run_id, cursor=cursor)).items:
        lines += [line.line for line in page.items]
        cursor = page.next
    return lines


def test_a_query_that_is_under_way_holds_up_no_cancellation(launch, store):
    driver = launch("""
        import os, sys, threading, time, types
        free = threading.Event()

        class Context:
            def cancelAllJobs(self):
                print("jobs cancelled", flush=True)
                free.set()

        module = types.ModuleType("pyspark.core.context")
        module.SparkContext = types.SimpleNamespace(_active_spark_context=Context())
        sys.modules["pyspark.core.context"] = module
        print("pid", os.getpid(), flush=True)
        try:
            time.sleep(60)
        finally:
            free.wait()  # as pyspark does, over the connection that the query has
    """)
    pid_of_child(driver)
    asked = time.monotonic()
    store.cancel(driver.grant.run_id, now=datetime.now(UTC))
    assert driver.end().observed is Detail.CANCELLED
    assert "jobs cancelled" in driver.lines()
    assert time.monotonic() - asked < 4, "no need for SIGKILL"
