from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException
from airflow.sdk.execution_time import task_runner

from dataharbour.errors import ConfigError
from dataharbour.jobs.caller import Caller
from dataharbour.jobs.model import Detail, FailureClass, RunRequest
from dataharbour.jobs.outcomes import Outcome
from dataharbour.operators.spark_job import SparkJobOperator
from dataharbour.testing.plain_backend import PlainBackend
from dataharbour.testing.runs import sales, sales_request, starts
from dataharbour.triggers.task_state import task_state

LINE = re.compile(r"\S+ \[\w+ +\] (.*)\[airflow\.task\.operators\S*SparkJobOperator\].*")

FAILS_ONCE = """
    import pathlib, sys
    mark = pathlib.Path(sys.argv[1])
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time")
"""


@pytest.fixture
def task_log(capfd):
    """The lines that the operator wrote into the task log."""

    def lines() -> list[str]:
        out, _ = capfd.readouterr()
        written = (LINE.fullmatch(line) for line in out.splitlines())
        return [match[1].rstrip() for match in written if match]

    return lines


def only_run(installation):
    [run] = installation.store().list(limit=10).items
    return run


def declare_sales(installation, **fields):
    """The job `sales`, which writes the table gold/sales."""
    request = sales_request(installation, count=3)
    installation.job(
        "sales",
        application=request.application,
        args=list(request.args),
        outputs=[{"table": "gold/sales"}],
        **fields,
    )


def test_a_one_off_application_runs(installation, run_dag, task_log):
    app = installation.application("import sys; print('given', *sys.argv[1:])")
    done = run_dag("spark_job", application=app, args=["a b", "{lake}"], backend="local")
    run = only_run(installation)
    assert done.state == "success"
    assert (run.state, run.principal, run.attempt) == ("SUCCEEDED", "dag_test", 1)
    assert done.pool == "dags_test", "where no scheduler takes it"
    assert (run.dag_id, run.task_id, run.map_index) == ("spark_job", "run", -1)
    assert f"given a b {installation.lake.as_uri()}" in task_log()


def test_it_tells_what_became_of_the_run(installation, run_dag):
    app = installation.application("")
    done = run_dag("spark_job", application=app, backend="local")
    run = only_run(installation)
    assert done.xcom == {
        "run_id": str(run.id),
        "state": "SUCCEEDED",
        "attempt": 1,
        "duration_s": run.duration_s,
        "result": {"tables": {}, "quality": None},
    }
    assert done.links == {
        "_link_RunLink": f"/dataharbour/api/v1/runs/{run.id}",
        "_link_RunLogLink": f"/dataharbour/api/v1/runs/{run.id}/logs",
        "_link_SparkUiLink": "",  # plain Python has no such pages
        "_link_SparkHistoryLink": "",
    }


def test_a_run_links_to_sparks_own_pages_where_its_backend_has_some(
    installation, run_dag, monkeypatch
):
    page = "http://127.0.0.1:14040"
    monkeypatch.setattr(PlainBackend, "ui_url", lambda self, external_id: page)
    app = installation.application("")
    done = run_dag("spark_job", application=app, backend="local")
    assert done.state == "success"
    assert done.links["_link_SparkUiLink"] == page
    [attempt] = installation.store().attempts(only_run(installation).id)
    assert installation.store().attempt_state(attempt.attempt_id).ui_url == page


def test_a_run_whose_event_log_is_kept_links_to_sparks_history(installation, run_dag):
    # What a driver tells of itself, without a Spark.
    app = installation.application("""
        import json, time
        with open("../control", "w") as control:
            for told in ({"kind": "application", "id": "local-1795583056123"},
                         {"kind": "progress", "stages": 1}):
                control.write(json.dumps(told) + "\\n")
        time.sleep(1)
    """)
    (installation.root / "home/spark/events/eventlog_v2_local-1795583056123").mkdir(parents=True)
    done = run_dag("spark_job", application=app, backend="local")
    run = only_run(installation)
    assert done.links["_link_SparkHistoryLink"] == (
        f"/dataharbour/api/v1/runs/{run.id}/spark/history/local-1795583056123/jobs/"
    )


def test_empty_fields_of_the_form_are_no_values(installation, run_dag):
    app = installation.application("import sys; assert not sys.argv[1:]")
    empty = dict.fromkeys(("args", "conf", "labels", "timeout_s"))
    done = run_dag("spark_job", application=app, backend="local", **empty)
    assert done.state == "success"


def test_what_a_user_gives_is_never_a_template(installation, run_dag, task_log):
    app = installation.application("import sys; print('given', *sys.argv[1:])")
    args = ["{{{{ 6 * 7 }}}}", "{{% if %}}"]  # doubled: braces of ours
    assert run_dag("spark_job", application=app, args=args, backend="local").state == "success"
    assert "given {{ 6 * 7 }} {% if %}" in task_log()


def test_a_declared_job_runs_with_its_params_and_publishes(installation, run_dag):
    declare_sales(installation, params={"day": {"type": "string", "default": "monday"}})
    done = run_dag("job__sales", day="friday")
    run = only_run(installation)
    assert done.state == "success"
    assert (run.job, run.params) == ("sales", {"day": "friday"})
    assert sales(installation) == [0, 1, 2]


def test_each_published_table_is_an_asset_event_with_its_facts(installation, run_dag, task_log):
    suite = installation.sales_suite(at_most=10)
    declare_sales(installation, expectations=suite)
    done = run_dag("job__sales")
    [(uri, extra)] = done.assets.items()
    assert uri == "dataharbour://table/gold/sales"
    assert extra["run_id"] == str(only_run(installation).id)
    assert (extra["rows"], extra["files"]) == (3, 1)
    assert extra["bytes"] > 0
    quality = extra["quality"]
    assert (quality["suite"], quality["verdict"], quality["rules"]) == ("sales", "passed", 1)
    assert task_log()[-2:] == [
        "Suite sales: passed, 1 rules",
        "Published gold/sales: 3 rows, 1 files",
    ]


def test_a_broken_rule_fails_the_task_once_and_publishes_nothing(installation, run_dag, task_log):
    suite = installation.sales_suite(at_most=1)
    declare_sales(installation, expectations=suite, retries=3)
    done = run_dag("job__sales")
    run = only_run(installation)
    assert (done.state, done.tries, done.assets) == ("failed", 1, {})
    assert run.failure is not None
    assert run.failure.failure_class is FailureClass.QUALITY
    assert sales(installation) == []
    assert "gold/sales" in run.failure.message
    assert task_log()[-1].endswith(f"is FAILED (QUALITY): {run.failure.message.splitlines()[0]}")


def test_a_failing_application_fails_the_task_once(installation, run_dag, task_log):
    app = installation.application("raise ValueError('no such day')")
    done = run_dag("spark_job", application=app, backend="local")
    run = only_run(installation)
    assert (done.state, done.tries) == ("failed", 1)
    assert (run.detail, run.attempt) == (Detail.FAILED, 1)
    assert task_log()[-1] == (f"Run {run.id} is FAILED (USER_ERROR): ValueError: no such day")


def test_a_retry_of_the_job_is_a_retry_of_the_task(installation, run_dag):
    app = installation.application(FAILS_ONCE)
    mark = str(installation.root / "mark")
    installation.job(
        "flaky",
        application=app,
        args=[mark],
        retries=1,
        retry_on=["USER_ERROR"],
        retry_delay_s={"USER_ERROR": 0},  # the others wait for a minute: Airflow goes by the class
    )
    done = run_dag("job__flaky")
    run = only_run(installation)
    assert (done.state, done.tries) == ("success", 2)
    assert (run.detail, run.attempt) == (Detail.SUCCEEDED, 2)


@pytest.mark.parametrize("text", [None, "description: ["], ids=["gone", "broken"])
def test_a_later_try_takes_the_run_up_without_the_jobs_file(installation, run_dag, text):
    file = installation.root / "include/jobs/flaky.yaml"
    spoil = f"file.write_text({text!r})" if text else "file.unlink()"
    app = installation.application(f"""
        import pathlib
        file, mark = pathlib.Path({str(file)!r}), pathlib.Path({str(installation.root / "mark")!r})
        if not mark.exists():
            mark.touch()
            {spoil}
            raise MemoryError
    """)
    installation.job("flaky", application=app, retries=1, retry_delay_s=0)
    done = run_dag("job__flaky")
    run = only_run(installation)
    assert (done.state, done.tries) == ("success", 2)
    assert (run.detail, run.attempt) == (Detail.SUCCEEDED, 2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"retry_on": ["USER_ERROR", "OOM"]}, "retry_on=.*OOM"),
        ({"retry_on": ["CONFIG"]}, "retry_on=.*CONFIG"),
        ({"retry_on": "USER_ERROR"}, "retry_on='USER_ERROR'"),
        ({"retry_delays": {"NETWORK": 5}}, "retry_delays=.*NETWORK"),
        ({"retry_delays": {"INFRA": "5"}}, "'5', of INFRA"),
        ({"retry_delays": {"INFRA": -5}}, "-5, of INFRA"),
    ],
)
def test_a_class_of_failures_that_does_not_exist_is_refused_where_it_is_written(arguments, named):
    with pytest.raises(ConfigError, match=named) as caught:
        SparkJobOperator(task_id="t", application="a.py", **arguments)
    if "of INFRA" not in named:
        assert "USER_ERROR, OUT_OF_MEMORY, TIMEOUT, INFRA" in caught.value.remedy


def test_an_error_of_the_application_is_not_tried_again(installation, run_dag, capfd):
    app = installation.application("raise ValueError('no such day')")
    installation.job("strict", application=app, retries=3, retry_delay_s=0)
    done = run_dag("job__strict")
    run = only_run(installation)
    assert (done.state, done.tries) == ("failed", 1)
    assert (run.detail, run.attempt) == (Detail.FAILED, 1)


def test_running_out_of_memory_is_tried_again(installation, run_dag):
    app = installation.application("raise MemoryError")
    installation.job("large", application=app, retries=2, retry_delay_s=0)
    done = run_dag("job__large")
    run = only_run(installation)
    assert (done.state, done.tries, run.attempt) == ("failed", 3, 3)
    assert run.failure.failure_class is FailureClass.OUT_OF_MEMORY


def test_the_application_is_told_what_the_run_is_for(installation, run_dag, task_log):
    app = installation.application("import sys; print('given', *sys.argv[1:])")
    args = ["{logical_date:%Y-%m-%d %z}", "{data_interval_end}", "{partition_key|none}"]
    installation.job(
        "daily",
        application=app,
        args=args,
        timezone="Asia/Kolkata",
        schedule={"cron": "0 6 * * *", "data_interval": True},
    )
    done = run_dag("job__daily", logical_date=datetime(2026, 1, 31, 0, 30, tzinfo=UTC))
    assert done.state == "success"
    assert "given 2026-01-31 +0530 2026-01-31T00:30:00+00:00 none" in task_log()
    assert only_run(installation).occasion.timezone == "Asia/Kolkata"


def test_a_run_that_finds_its_job_busy_is_skipped_and_so_is_its_task(installation, run_dag):
    app = installation.application("")
    installation.job("busy", application=app, on_busy="skip", outputs=[{"table": "gold/sales"}])
    store = installation.store()
    active = store.open_run(
        RunRequest(application=app, job="busy"),
        application_sha256="",
        dag_id="job__busy",
        dag_run_id="manual__other",
        task_id="run",
        principal="ana",
        now=datetime.now(UTC),
    )
    store.start_attempt(active.id, backend="local", now=datetime.now(UTC))
    done = run_dag("job__busy")
    [run, _] = store.list(limit=10).items
    assert (done.state, done.tries, done.assets) == ("success", 1, {})
    assert (run.detail, run.state, run.attempt) == (Detail.SKIPPED, "CANCELLED", 0)
    assert str(active.id) in run.failure.message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"application": "none.py"}, "no application 'none.py'", id="unknown"),
        pytest.param({"application": "/etc/passwd"}, "not allowed", id="outside"),
        pytest.param({"conf": {"spark.jars": "x.jar"}}, "'spark.jars' may not be set", id="conf"),
        pytest.param({"args": ["{nothing}"]}, "'{nothing}', which is no placeholder", id="args"),
    ],
)
def test_a_wrong_request_fails_at_once_and_says_why(installation, run_dag, params, message):
    app = installation.application("")
    done = run_dag("spark_job", **{"application": app, "backend": "local", **params})
    run = only_run(installation)
    assert (done.state, done.tries) == ("failed", 1)
    assert run.detail is Detail.FAILED
    assert run.failure is not None
    assert run.failure.failure_class is FailureClass.CONFIG
    assert message in run.failure.message


def test_a_long_job_is_waited_for_in_the_triggerer(installation, run_dag, task_log):
    app = installation.application("""
        import time
        print("early", flush=True)
        time.sleep(2)
        print("late")
    """)
    done = run_dag("spark_job", task={"in_place_s": 0.8}, application=app, backend="local")
    assert done.state == "success"
    lines = task_log()
    assert [line for line in lines if line in ("early", "late")] == ["early", "late"]
    assert "::group::Driver log, continued" in lines
    assert only_run(installation).attempt == 1


def test_a_failure_in_the_triggerer_reads_the_same(installation, run_dag, task_log):
    app = installation.application("import time; time.sleep(1); raise ValueError('late')")
    done = run_dag("spark_job", task={"in_place_s": 0}, application=app, backend="local")
    assert (done.state, done.tries) == ("failed", 1)
    assert task_log()[-1].endswith("is FAILED (USER_ERROR): ValueError: late")


def test_a_driver_that_came_late_is_waited_for_in_the_triggerer(installation, run_dag, monkeypatch):
    def given_up_too_early(attempt, **_):
        return Outcome.UNCLAIMED if attempt.observed is Detail.RUNNING else None

    monkeypatch.setattr("dataharbour.jobs.follow.outcome", given_up_too_early)
    app = installation.application("import time; time.sleep(2)")
    done = run_dag("spark_job", application=app, backend="local")
    assert (done.state, done.tries) == ("success", 1)
    assert only_run(installation).attempt == 1


def kill_when_it_runs(installation, told):
    """Calls `on_kill`, as Airflow does from a signal handler, once the driver has begun."""

    def kill() -> None:
        while not (runs := installation.store().list(limit=1).items) or runs[0].started_at is None:
            time.sleep(0.1)
        [run] = runs
        task = SparkJobOperator(task_id="run")
        task.run_id = str(run.id)
        task._caller = Caller(run.dag_id, run.dag_run_id, "run", -1, principal=run.principal)
        try:
            task.on_kill()
        except AirflowException as error:
            told.append(str(error))

    killer = threading.Thread(target=kill)
    killer.start()
    return killer


def airflow_says(monkeypatch, state):
    monkeypatch.setattr(
        task_runner.RuntimeTaskInstance,
        "get_task_states",
        lambda *, run_ids, task_ids, **_: {run_ids[0]: {task_ids[0]: state}},
    )


@pytest.mark.parametrize("state", ["failed", "success", "restarting"])
def test_a_task_that_somebody_marked_or_cleared_stops_its_driver(
    installation, run_dag, monkeypatch, state
):
    airflow_says(monkeypatch, state)
    app = installation.application("import time; time.sleep(60)")
    killer = kill_when_it_runs(installation, told := [])
    done = run_dag("spark_job", application=app, backend="local")
    killer.join()
    run = only_run(installation)
    assert (done.state, told) == ("failed", [])
    assert run.detail is Detail.CANCELLED
    assert [e.actor for e in installation.store().events(run.id) if e.new == "CANCELLING"] == [
        "airflow"
    ]


@pytest.mark.parametrize(
    "state", ["running", "up_for_retry", "scheduled", "queued", "deferred", None]
)
def test_a_worker_that_is_stopped_or_was_taken_for_dead_leaves_the_driver_to_the_next_try(
    installation, run_dag, monkeypatch, state
):
    airflow_says(monkeypatch, state)
    app = installation.application("import time; time.sleep(4)")
    killer = kill_when_it_runs(installation, told := [])
    done = run_dag("spark_job", application=app, backend="local")
    killer.join()
    assert "the next try" in told[0]
    assert done.state == "success"
    assert only_run(installation).detail is Detail.SUCCEEDED


def test_a_signal_amid_another_question_to_airflow_does_not_wait_for_itself(monkeypatch):
    comms = SimpleNamespace(_thread_lock=threading.Lock())
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    comms._thread_lock.acquire()
    assert task_state(dag_id="d", dag_run_id="r", task_id="t", map_index=-1) is None


def test_airflows_time_limit_ends_the_run_and_no_try_starts_it_again(installation, run_dag):
    starts_file = installation.root / "starts"
    app = installation.application(
        f"import time; open({str(starts_file)!r}, 'a').write('x'); time.sleep(60)"
    )
    limits = {
        "execution_timeout": timedelta(seconds=6),
        "attempts": 3,
        "retries": 3,
        "retry_delay": timedelta(0),
    }
    done = run_dag("spark_job", task=limits, application=app, backend="local")
    run = only_run(installation)
    assert done.state == "failed"
    assert run.detail is Detail.TIMED_OUT
    assert run.failure.failure_class is FailureClass.TIMEOUT
    assert starts_file.read_text() == "x"


def test_airflows_time_limit_holds_while_the_task_is_deferred(installation, run_dag, monkeypatch):
    monkeypatch.setattr("dataharbour.jobs.watch._LOOK_EVERY_S", 0.2)
    told = installation.root / "pid"
    app = installation.application(
        f"import os, time; open({str(told)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    )
    limits = {"execution_timeout": timedelta(seconds=6), "in_place_s": 0, "attempts": 3}
    began = time.monotonic()
    done = run_dag("spark_job", task=limits, application=app, backend="local")
    assert time.monotonic() - began < 40
    run = only_run(installation)
    assert (done.state, done.tries) == ("failed", 1)
    assert (run.detail, run.failure.failure_class) == (Detail.TIMED_OUT, FailureClass.TIMEOUT)
    assert "execution_timeout" in run.failure.message
    [pid] = told.read_text().split()
    assert not Path(f"/proc/{pid}").exists()


def test_the_last_try_that_fails_on_its_own_ends_the_run(installation, run_dag, monkeypatch):
    app = installation.application("")
    monkeypatch.setattr(SparkJobOperator, "_wait", _no_disk)
    done = run_dag("spark_job", task={"retries": 0}, application=app, backend="local")
    run = only_run(installation)
    assert done.state == "failed"
    assert (run.detail, run.failure.failure_class) == (Detail.FAILED, FailureClass.INFRA)
    assert "No space left" in run.failure.message


def _no_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_time_limit_ends_the_run_as_timed_out(installation, run_dag):
    app = installation.application("import time; time.sleep(60)")
    done = run_dag("spark_job", application=app, backend="local", timeout_s=1)
    run = only_run(installation)
    assert done.state == "failed"
    assert run.detail is Detail.TIMED_OUT


def test_starts_are_counted(installation, run_dag):
    declare_sales(installation)
    run_dag("job__sales")
    run_dag("job__sales")
    assert starts(installation) == 2
    assert [run.attempt for run in installation.store().list(limit=9).items] == [1, 1]
