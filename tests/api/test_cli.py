"""`harbour job …` against the API: what a person types, what a script reads, the exit codes."""

from __future__ import annotations

import io
import json
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from dataharbour.cli import client
from dataharbour.cli.client import Client
from dataharbour.cli.exits import Exit
from dataharbour.cli.main import app
from dataharbour.cli.tour import follow
from dataharbour.errors import JobFailed, NotAuthenticated, NotFound, Unavailable
from dataharbour.jobs.model import Detail, Failure, FailureClass
from dataharbour.jobs.queueing import Facts, Slots
from dataharbour.platform.report import Report


@pytest.fixture
def harbour(server, monkeypatch):
    """Runs a verb as some role; gives exit code, stdout and stderr."""
    monkeypatch.setattr(client, "RETRIES_S", (0.05, 0.05))

    def run(*arguments: str, role: str = "admin"):
        monkeypatch.setenv("DATAHARBOUR_URL", server.url)
        monkeypatch.setenv("DATAHARBOUR_TOKEN", role)
        return CliRunner().invoke(app, ["job", *arguments])

    return run


@pytest.fixture
def worker(server, driver_database, monkeypatch):
    """What Airflow and a driver do once a run was triggered: write `lines`, end as `detail`."""
    threads: list[threading.Thread] = []
    plan: dict = {"lines": ["hello", "world"], "detail": Detail.SUCCEEDED, "failure": None}
    trigger = server.airflow.trigger

    def work(dag_id: str, dag_run_id: str) -> None:
        time.sleep(0.2)
        runs, now = server.services.runs, datetime.now(UTC)
        run = runs.find(dag_id=dag_id, dag_run_id=dag_run_id)
        grant = runs.start_attempt(run.id, backend="local", now=now)
        with psycopg.connect(driver_database, autocommit=True) as driver:
            identity = [grant.attempt_id, grant.token]
            driver.execute("select driver.claim(%s, %s, 'test')", identity)
            for number, line in enumerate(plan["lines"], start=1):
                payload = Jsonb([[time.time(), "stdout", line]])
                driver.execute("select driver.log(%s, %s, %s, %s)", [*identity, number, payload])
        if plan["detail"] is Detail.SUCCEEDED:
            runs.finalizing(run.id, now)
        runs.finish(run.id, detail=plan["detail"], failure=plan["failure"], now=now)

    def trigger_and_work(dag_id, body, credential):
        answer = trigger(dag_id, body, credential)
        threads.append(threading.Thread(target=work, args=[dag_id, body["dag_run_id"]]))
        threads[-1].start()
        return answer

    monkeypatch.setattr(server.airflow, "trigger", trigger_and_work)
    yield plan
    for thread in threads:
        thread.join()


def test_submit_prints_the_id_and_nothing_else_for_scripts(harbour, server):
    done = harbour("submit", "hello", "--param", "who=ada", "--label", "day=monday")
    assert done.exit_code == 0, done.stderr
    run = server.services.runs.get(UUID(done.stdout.strip()))
    assert run.params == {"who": "ada"}
    assert run.labels == {"team": "greeting", "day": "monday"}
    assert "job logs" in done.stderr


def test_submit_starts_any_application(harbour, server):
    done = harbour(
        "submit", "--application", "hello.py", "--arg", "-v", "--arg", "x", "--backend", "local",
        "--conf", "spark.sql.ansi.enabled=true", "--timeout", "60", "-o", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    run = server.services.runs.get(UUID(json.loads(done.stdout)["id"]))
    assert (run.args, run.backend, run.timeout_s) == (("-v", "x"), "local", 60)
    assert run.conf == {"spark.sql.ansi.enabled": "true"}


def test_submit_and_follow_prints_the_log_and_how_it_ended(harbour, worker):
    done = harbour("submit", "hello", "--follow")
    assert (done.exit_code, done.stdout) == (0, "hello\nworld\n")
    assert done.stderr.count("-- succeeded") == 1
    assert "succeeded after" in done.stderr


def test_submit_and_follow_with_json_prints_the_ended_run_alone(harbour, worker):
    done = harbour("submit", "hello", "--follow", "-o", "json")
    assert json.loads(done.stdout)["state"] == "SUCCEEDED"
    assert "hello\nworld" in done.stderr


def test_a_followed_run_that_fails_has_its_own_exit_code(harbour, worker):
    worker["detail"] = Detail.FAILED
    worker["failure"] = Failure(FailureClass.USER_ERROR, "ValueError: boom")
    done = harbour("submit", "hello", "--follow")
    assert done.exit_code == Exit.RUN_FAILED == 4
    assert "USER_ERROR ValueError: boom" in done.stderr


def test_what_the_checks_found_is_shown_whole(harbour, worker):
    """The log does not have it: the application was over by then."""
    worker["detail"] = Detail.FAILED
    worker["failure"] = Failure(FailureClass.QUALITY, "Suite busy: 1 broken.\n  rule x, row 7")
    done = harbour("submit", "hello", "--follow")
    assert "QUALITY Suite busy: 1 broken.\n  rule x, row 7" in done.stderr
    assert "harbour job show" in done.stderr


def test_submit_is_repeated_with_its_key_while_airflow_is_away(harbour, server, monkeypatch):
    trigger, calls = server.airflow.trigger, []

    def away_once(*arguments):
        calls.append(arguments)
        server.airflow.fail_with = 503 if len(calls) == 1 else None
        return trigger(*arguments)

    monkeypatch.setattr(server.airflow, "trigger", away_once)
    done = harbour("submit", "hello")
    assert done.exit_code == 0, done.stderr
    assert len(calls) == 2
    assert len(server.airflow.runs) == 1


def test_who_waits_for_airflow_to_read_a_new_job_is_told_so_once(harbour, server, monkeypatch):
    trigger, calls = server.airflow.trigger, []

    def read_at_last(dag_id, *arguments):
        calls.append(dag_id)
        server.airflow.dags = {dag_id} if len(calls) == 3 else set()
        return trigger(dag_id, *arguments)

    monkeypatch.setattr(server.airflow, "trigger", read_at_last)
    done = harbour("submit", "hello")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("Airflow does not know the DAG 'job__hello' (yet).") == 1


def test_who_follows_a_run_is_told_why_it_waits(harbour, server, worker):
    full = Facts(
        dag_paused=False,
        dag_run="running",
        task="scheduled",
        pool="small",
        pool_slots=Slots(2, 2),
        tasks_before=2,
    )
    full_pool = SimpleNamespace(facts=lambda keys: dict.fromkeys(keys, full))
    object.__setattr__(server.services, "queues", full_pool)
    done = harbour("submit", "hello", "--follow")
    said = "-- waiting: the pool small: 2 of 2 slots in use (number 3)"
    assert done.stderr.count(said) == 1
    shown = harbour("show", str(server.services.runs.list(limit=1).items[0].id))
    assert "queue" not in shown.stdout, "it does not wait any more"


def test_the_same_key_gives_the_same_run(harbour):
    first, again = (harbour("submit", "hello", "--key", "nightly") for _ in range(2))
    assert first.stdout == again.stdout != ""


def test_list_shows_runs_newest_first(harbour):
    ids = [harbour("submit", "hello").stdout.strip() for _ in range(3)]
    listed = json.loads(harbour("list", "-o", "json").stdout)
    assert [run["id"] for run in listed] == ids[::-1]
    two = json.loads(harbour("list", "-n", "2", "-o", "json").stdout)
    assert [run["id"] for run in two] == ids[:0:-1]
    assert json.loads(harbour("list", "--state", "failed", "-o", "json").stdout) == []
    text = harbour("list").stdout.splitlines()
    assert text[0].split() == ["RUN", "JOB", "STATE", "CREATED", "SECONDS"]
    assert text[1].split()[:3] == [ids[2], "hello", "QUEUED"]


def test_list_goes_through_the_pages(harbour, server, monkeypatch):
    ids = [harbour("submit", "hello").stdout.strip() for _ in range(5)]
    real = client.Client.get

    def small_pages(self, path, **params):
        return real(self, path, **(params | {"limit": min(params.get("limit", 2), 2)}))

    monkeypatch.setattr(client.Client, "get", small_pages)
    listed = json.loads(harbour("list", "-n", "5", "-o", "json").stdout)
    assert [run["id"] for run in listed] == ids[::-1]


def test_list_shows_jobs_and_what_is_broken(harbour, settings):
    (settings.include_dir / "jobs" / "broken.yaml").write_text("application: [")
    text = harbour("list", "--jobs").stdout
    assert "hello   local" in text
    assert "broken  BROKEN" in text
    assert [job["name"] for job in json.loads(harbour("list", "--jobs", "-o", "json").stdout)] == [
        "broken",
        "hello",
    ]


def test_an_empty_list_is_an_empty_array(harbour):
    assert json.loads(harbour("list", "-o", "json").stdout) == []
    empty = harbour("list")
    assert empty.stdout == ""
    assert "job submit" in empty.stderr


def test_show_prints_a_run_or_a_job(harbour):
    run_id = harbour("submit", "hello").stdout.strip()
    assert json.loads(harbour("show", run_id, "-o", "json").stdout)["id"] == run_id
    assert f"id            {run_id}" in harbour("show", run_id).stdout
    assert json.loads(harbour("show", "hello", "-o", "json").stdout)["name"] == "hello"


def test_logs_prints_all_lines(harbour, worker, monkeypatch):
    worker["lines"] = [f"line {n}" for n in range(30)]
    run_id = harbour("submit", "hello").stdout.strip()
    followed = harbour("logs", run_id, "--follow")
    assert followed.stdout.splitlines() == worker["lines"]
    assert harbour("logs", run_id).stdout == followed.stdout
    as_array = json.loads(harbour("logs", run_id, "-o", "json").stdout)
    assert [line["line"] for line in as_array] == worker["lines"]
    as_lines = harbour("logs", run_id, "-f", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["line"] for line in as_lines] == worker["lines"]


@pytest.mark.parametrize(
    ("arguments", "role", "code", "says"),
    [
        (["submit", "nowhere"], "admin", Exit.NOT_FOUND, "There is no job 'nowhere'"),
        (["show", "nowhere"], "admin", Exit.NOT_FOUND, "There is no job 'nowhere'"),
        (["logs", "nonsense"], "admin", Exit.NOT_FOUND, "There is no run 'nonsense'"),
        (["logs", "../jobs", "-f"], "admin", Exit.NOT_FOUND, "/logs"),
        (["submit", "hello"], "viewer", Exit.NOT_ALLOWED, "may not start runs"),
        (["submit", "-a", "hello.py"], "user", Exit.NOT_ALLOWED, "role op"),
        (["list"], "nobody", Exit.NOT_ALLOWED, "signed-in user"),
        (["submit", "hello", "-p", "x=1"], "admin", Exit.FAILED, "no parameter 'x'"),
        (["submit", "-a", "/etc/passwd"], "admin", Exit.FAILED, "/etc/passwd"),
        (["submit", "-a", "hello.py", "--timeout", "0"], "admin", Exit.FAILED, "#/timeout_s"),
        (["list", "--state", "asleep"], "admin", Exit.FAILED, "'QUEUED'"),
    ],
)
def test_each_failure_has_one_message_a_remedy_and_a_code(harbour, arguments, role, code, says):
    done = harbour(*arguments, role=role)
    assert done.exit_code == code, done.stderr
    assert says in done.stderr
    assert "remedy: " in done.stderr
    assert done.stdout == ""


def started(server) -> tuple[Client, str]:
    admin = Client(server.url, "admin")
    return admin, admin.start("jobs/hello/runs", {}, key="first")["id"]


def test_the_first_run_is_followed_to_its_end(server, worker):
    stream = io.StringIO()
    follow(*started(server), Report(stream=stream, live=False), timeout_s=30)
    assert "flights_delays: " in stream.getvalue()


def test_a_first_run_that_fails_is_told_with_its_reason(server, worker):
    worker["detail"] = Detail.FAILED
    worker["failure"] = Failure(FailureClass.USER_ERROR, "ValueError: boom")
    with pytest.raises(JobFailed, match="FAILED: ValueError: boom") as caught:
        follow(*started(server), Report(stream=io.StringIO()), timeout_s=30)
    assert "job logs" in caught.value.remedy


def test_a_first_run_that_outlasts_the_patience_goes_on(server):
    with pytest.raises(Unavailable, match="has not ended within 0 s") as caught:
        follow(*started(server), Report(stream=io.StringIO()), timeout_s=0)
    assert "goes on" in caught.value.remedy


@pytest.mark.parametrize(
    ("role", "run", "error"),
    [("nobody", None, NotAuthenticated), ("admin", "nonsense", NotFound)],
)
def test_an_api_that_refuses_in_between_is_told_in_words(server, role, run, error):
    _, run_id = started(server)
    with pytest.raises(error) as caught:
        follow(Client(server.url, role), run or run_id, Report(stream=io.StringIO()), timeout_s=30)
    assert "goes on; to follow it: ./harbour job logs" in caught.value.remedy


def test_repair_prints_the_run_that_takes_the_place(harbour, server):
    run_id = harbour("submit", "hello").stdout.strip()
    harbour("cancel", run_id)
    run = json.loads(harbour("show", run_id, "-o", "json").stdout)
    refused = harbour("repair", run_id)
    assert refused.exit_code != 0
    server.airflow.failed["job__hello", run["dag_run_id"]] = {("run", -1)}
    repaired = harbour("repair", run_id)
    assert repaired.exit_code == 0, repaired.stderr
    again = json.loads(harbour("show", repaired.stdout.strip(), "-o", "json").stdout)
    assert again["dag_run_id"] == run["dag_run_id"]


def test_show_lists_the_attempts_of_a_run_and_its_progress(harbour, driver):
    driver.progress(stages_done=1, stages=4)
    text = harbour("show", driver.run_id).stdout
    assert 'progress      {"stages": 4, "stages_done": 1}' in text
    [head, row] = text.splitlines()[-2:]
    assert head.split() == ["ATTEMPT", "STATE", "STARTED", "ENDED", "WHERE"]
    assert row.split()[:2] == ["1", "RUNNING"]


def test_cancel_and_retry(harbour, server):
    run_id = harbour("submit", "hello", "--param", "who=ada").stdout.strip()
    cancelled = harbour("cancel", run_id)
    assert (cancelled.exit_code, cancelled.stderr.strip()) == (0, "The run is CANCELLED.")
    again = harbour("retry", run_id)
    assert again.exit_code == 0, again.stderr
    run = server.services.runs.get(UUID(again.stdout.strip()))
    assert (run.params, str(run.retry_of)) == ({"who": "ada"}, run_id)


def test_what_cannot_be_cancelled_is_told(harbour, worker):
    run_id = harbour("submit", "hello", "--follow", "-o", "json")
    ended = json.loads(run_id.stdout)
    done = harbour("cancel", ended["id"])
    assert done.exit_code == Exit.FAILED
    assert "has ended" in done.stderr


JOB_FILE = "description: Greets.\napplication: hello.py\nbackend: local\n"


def test_apply_stores_changes_and_deletes_a_job(harbour, server, tmp_path):
    file = tmp_path / "greet.yaml"
    file.write_text(JOB_FILE)
    stored = harbour("apply", str(file))
    assert (stored.exit_code, stored.stdout) == (0, ""), stored.stderr
    assert "is stored (version 1)" in stored.stderr
    assert "is unchanged (version 1)" in harbour("apply", str(file)).stderr
    file.write_text(JOB_FILE + "retries: 2\n")
    changed = json.loads(harbour("apply", str(file), "-o", "json").stdout)
    assert (changed["version"], changed["retries"]) == (2, 2)
    assert json.loads(harbour("show", "greet", "-o", "json").stdout) == changed
    assert "greet" in harbour("list", "--jobs").stdout
    deleted = harbour("delete", "greet")
    assert (deleted.exit_code, deleted.stderr.strip()) == (0, "The job greet is deleted.")
    assert harbour("delete", "greet").exit_code == Exit.NOT_FOUND


def test_apply_takes_the_document_that_show_prints(harbour, tmp_path):
    (tmp_path / "a.yaml").write_text(JOB_FILE)
    shown = json.loads(harbour("apply", str(tmp_path / "a.yaml"), "-o", "json").stdout)
    (tmp_path / "b.json").write_text(json.dumps(shown["definition"]))
    assert harbour("apply", str(tmp_path / "b.json"), "--name", "c").exit_code == 0
    assert json.loads(harbour("show", "c", "-o", "json").stdout)["description"] == "Greets."


@pytest.mark.parametrize(
    ("text", "says"),
    [("application: [", "not valid YAML"), ("description: x\ncolor: y", "color"), (None, "read")],
)
def test_apply_says_what_is_wrong_with_the_file(harbour, tmp_path, text, says):
    file = tmp_path / "greet.yaml"
    if text is not None:
        file.write_text(text)
    done = harbour("apply", str(file))
    assert done.exit_code == (Exit.FAILED if text else Exit.USAGE)
    assert says in done.stderr


def test_a_job_under_version_control_is_neither_applied_nor_deleted(harbour, settings):
    file = settings.include_dir / "jobs" / "hello.yaml"
    for done in (harbour("apply", str(file)), harbour("delete", "hello")):
        assert done.exit_code == Exit.FAILED
        assert f"under version control: {file}" in done.stderr
