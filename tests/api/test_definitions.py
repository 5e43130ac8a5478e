"""Jobs stored over REST: PUT, DELETE, what GET tells of them, and the file that mirrors each."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
import yaml

from dataharbour.jobs.declared import load_jobs
from dataharbour.jobs.mirror import MARK
from dataharbour.jobs.model import Detail

JOB = {
    "description": "Greets.",
    "application": "hello.py",
    "args": ["--to", "{params.who}"],
    "params": {"who": {"type": "string", "default": "you"}, "a": {"type": "integer", "default": 1}},
    "backend": "local",
    "labels": {"team": "ops"},
}
PATH = "/api/v1/jobs/greet"


@pytest.fixture
def folder(settings):
    return settings.stored_jobs


@pytest.fixture
def greet(admin):
    """A stored job."""
    return admin.put(PATH, json=JOB)


def events(database: str) -> list[tuple]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "select kind, old, new, actor, data ->> 'job' from public.event "
            "where kind like 'job.%' order by id"
        ).fetchall()


def change(**fields):
    return {**JOB, **fields}


# --- storing ---------------------------------------------------------------------------------


def test_a_stored_job_is_there_at_once(admin, greet, folder):
    assert greet.status_code == 201
    assert greet.headers["location"] == "/dataharbour/api/v1/jobs/greet"
    assert greet.headers["etag"] == '"1"'
    job = admin.get(PATH)
    assert job.json() == greet.json()
    assert job.headers["etag"] == '"1"'
    assert job.json()["definition"] == JOB
    assert list(job.json()["definition"]["params"]) == ["who", "a"], "the order of the form"
    told = {name: job.json()[name] for name in ("source", "version", "etag", "changed_by")}
    assert told == {"source": "api", "version": 1, "etag": '"1"', "changed_by": "admin"}
    assert load_jobs(folder).jobs["greet"].labels == {"team": "ops"}


def test_a_stored_job_can_be_run(server, admin, greet):
    server.airflow.dags.add("job__greet")
    answer = admin.post(f"{PATH}/runs", json={"params": {"who": "ada"}})
    assert answer.status_code == 202, answer.text
    assert server.services.runs.get(answer.json()["id"]).args == ("--to", "{params.who}")


def test_the_mirror_says_what_it_is_and_is_for_the_folders_readers_alone(greet, folder):
    file = folder / "greet.yaml"
    assert file.read_text().startswith(MARK)
    assert yaml.safe_load(file.read_text()) == JOB
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir()] == ["greet.yaml"]


@pytest.mark.parametrize("kind", ["application/yaml", "text/yaml; charset=utf-8"])
def test_a_job_file_can_be_sent_as_it_is(admin, kind):
    text = yaml.safe_dump(JOB, sort_keys=False)
    answer = admin.put(PATH, content=text, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["definition"]) == (201, JOB)


def test_a_change_needs_the_etag(admin, greet, database):
    changed = change(description="Greets louder.")
    blind = admin.put(PATH, json=changed)
    stale = admin.put(PATH, json=changed, headers={"If-Match": '"7"'})
    create = admin.put(PATH, json=changed, headers={"If-None-Match": "*"})
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition-required")
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    assert (create.status_code, create.json()["code"]) == (412, "stale")
    done = admin.put(PATH, json=changed, headers={"If-Match": greet.headers["etag"]})
    assert (done.status_code, done.headers["etag"]) == (200, '"2"')
    assert "location" not in done.headers
    assert admin.get(PATH).json()["description"] == "Greets louder."
    assert events(database) == [
        ("job.changed", None, "1", "user:admin", "greet"),
        ("job.changed", "1", "2", "user:admin", "greet"),
    ]


@pytest.mark.parametrize("value", ["*", '"1"', '"x", "1"'])
def test_if_match_may_be_written_in_several_ways(admin, greet, value):
    assert admin.put(PATH, json=change(retries=1), headers={"If-Match": value}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"If-Match": "1"}, {"If-Match": '""""'}, {"If-None-Match": '"1"'}]
)
def test_a_precondition_that_is_none_is_refused(admin, greet, headers):
    assert admin.put(PATH, json=JOB, headers=headers).status_code == 422


@pytest.mark.parametrize("value", ["*", '"1"'])
def test_what_is_not_there_matches_no_etag(admin, value):
    assert admin.put(PATH, json=JOB, headers={"If-Match": value}).status_code == 412


def test_to_store_the_same_again_changes_nothing(admin, greet, database):
    again = admin.put(PATH, json=JOB, headers={"If-Match": '"1"'})
    assert (again.status_code, again.headers["etag"]) == (200, '"1"')
    assert len(events(database)) == 1


def test_a_job_that_another_deletes_at_once_is_answered_as_it_was_stored(
    server, admin, monkeypatch
):
    store = server.services.definitions
    put = store.put

    def put_and_deleted(name, *args, **options):
        made = put(name, *args, **options)
        store.delete(name, judge=lambda _: None, user="somebody", now=server.services.now())
        return made

    monkeypatch.setattr(store, "put", put_and_deleted)
    answer = admin.put(PATH, json=JOB)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.json()["definition"] == JOB
    assert admin.get(PATH).status_code == 404


def test_of_many_changes_of_one_version_one_is_made(server, admin, greet):
    def put(number: int) -> int:
        with server.client() as client:
            body = change(description=f"Number {number}.")
            return client.put(PATH, json=body, headers={"If-Match": '"1"'}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(put, range(16))) == [200] + [412] * 15
    assert admin.get(PATH).json()["version"] == 2


# --- what is refused -------------------------------------------------------------------------


WRONG = [
    (change(color="red"), "invalid-request", "#"),
    ({"description": "x"}, "invalid-request", "#"),
    (change(retries="many-hunter2"), "invalid-request", "#/retries"),
    (change(outputs=[{"table": "Hunter2"}]), "invalid-request", "#/outputs/0/table"),
    (change(labels={"Bad Name": "hunter2"}), "invalid-request", "#/labels"),
    (change(params={"x": {"type": 3}}, args=[]), "job-invalid", None),
    ([JOB], "invalid-request", "#"),
    ("hunter2", "invalid-request", "#"),
    (change(timezone="Mars/Base"), "job-invalid", None),
    (change(schedule="99 * * * *"), "job-invalid", None),
    (change(name="other"), "job-invalid", None),
    (change(conf={"spark.jars": "x.jar"}), "conf-not-allowed", None),
    (change(application="nowhere.py"), "application-not-found", None),
    (change(application="../outside.py"), "application-not-allowed", None),
    (change(application="http://x/a.py"), "application-not-allowed", None),
    (change(args=["{lakes}"]), "config", None),
    (change(args=["--password=hunter2"]), "secret-in-request", None),
    (change(description="x\0"), "invalid-request", None),
]


def test_a_document_that_is_no_job_is_refused_and_leaves_nothing(admin, database, folder):
    for document, code, pointer in WRONG:
        answer = admin.put(PATH, json=document)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, code), problem
        assert problem["remedy"]
        assert "hunter2" not in answer.text.lower()
        if pointer:
            assert problem["errors"][0]["pointer"] == pointer
    assert events(database) == []
    assert admin.get(PATH).status_code == 404
    assert not folder.exists() or list(folder.iterdir()) == []


ALIAS = b"description: &d Greets.\napplication: hello.py\nargs: [*d]\nbackend: local\n"


UNREADABLE = [
    (b"{", "application/json", 422),
    (b"", "application/json", 422),
    (b"[" * 100_000, "application/json", 422),
    (b'{"timeout_s": NaN}', "application/json", 422),
    (b'{"x": 1' + b"0" * 5_000 + b"}", "application/json", 422),
    (b"\xff\xfe", "application/json", 422),
    (b"a: [", "application/yaml", 422),
    (b"[" * 100_000, "application/yaml", 422),
    (ALIAS, "application/yaml", 422),
    (b"description: !!python/object/apply:os.system [id]", "application/yaml", 422),
    (b"description: 2026-01-01\napplication: x.py", "application/yaml", 422),
    (b"a: 1\n---\nb: 2", "application/yaml", 422),
    (b"\xff", "application/yaml", 422),
    (b"1: x", "application/yaml", 422),
    (b"description=x", "application/x-www-form-urlencoded", 415),
    (b"{}", "text/plain", 415),
]


def test_a_body_that_cannot_be_read_is_refused(admin):
    for content, kind, status in UNREADABLE:
        answer = admin.put(PATH, content=content, headers={"Content-Type": kind})
        assert answer.status_code == status, (content[:60], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_name_that_is_none_makes_no_file(admin, settings):
    before = sorted(settings.home.rglob("*"))
    for name in ("Greet", "1x", "a-b", "..%2Fx", "%2e%2e", "a%00", "a" * 101, "ä"):
        assert admin.put(f"/api/v1/jobs/{name}", json=JOB).status_code in (404, 405, 422), name
    assert sorted(settings.home.rglob("*")) == before


@pytest.mark.parametrize("role", ["viewer", "user"])
def test_below_op_nobody_changes_jobs(server, greet, role):
    with server.client(role) as client:
        for answer in (client.put(PATH, json=JOB), client.delete(PATH)):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_job_that_the_caller_may_not_see_does_not_exist(server, greet):
    server.roles.hidden.add("job__greet")
    with server.client("op") as client:
        known, unknown = client.put(PATH, json=JOB), client.delete(PATH)
        assert (known.status_code, unknown.status_code) == (404, 404)


def test_a_job_under_version_control_is_changed_there(admin, settings):
    for answer in (
        admin.put("/api/v1/jobs/hello", json=JOB, headers={"If-Match": "*"}),
        admin.delete("/api/v1/jobs/hello", headers={"If-Match": "*"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "declared-elsewhere")
        assert str(settings.include_dir / "jobs" / "hello.yaml") in answer.json()["detail"]


def test_a_hand_made_file_is_not_written_over(admin, folder):
    folder.mkdir()
    text = yaml.safe_dump(JOB)
    (folder / "greet.yaml").write_text(text)
    for answer in (admin.put(PATH, json=JOB), admin.delete(PATH, headers={"If-Match": "*"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "declared-elsewhere")
        assert str(folder / "greet.yaml") in answer.json()["detail"]
    assert (folder / "greet.yaml").read_text() == text


@pytest.mark.parametrize("table", ["gold/a", "gold/a/b", "gold"])
def test_a_table_belongs_to_one_job(admin, table):
    first = change(outputs=[{"table": "gold/a"}])
    assert admin.put("/api/v1/jobs/first", json=first).status_code == 201
    answer = admin.put(PATH, json=change(outputs=[{"table": table}]))
    expected = 422 if "/" not in table else 409  # a table has two parts
    assert answer.status_code == expected
    assert expected == 422 or "first" in answer.json()["detail"]


def test_a_table_that_two_files_declare_is_nobodys_to_take(admin, folder):
    folder.mkdir()
    for name in ("one", "other"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(change(outputs=[{"table": "gold/a"}])))
    answer = admin.put(PATH, json=change(outputs=[{"table": "gold/a"}]))
    assert answer.status_code == 409
    assert "gold/a" in answer.json()["detail"]


def test_a_suite_that_does_not_exist_is_told_at_once(admin):
    document = change(outputs=[{"table": "gold/a"}], expectations="nosuite")
    answer = admin.put(PATH, json=document)
    assert (answer.status_code, answer.json()["code"]) == (422, "config")
    assert "no expectations suite 'nosuite'" in answer.json()["detail"]


# --- deleting --------------------------------------------------------------------------------


def test_a_deleted_job_is_gone_with_its_file(admin, greet, folder, database):
    stale = admin.delete(PATH, headers={"If-Match": '"9"'})
    blind = admin.delete(PATH)
    assert (stale.status_code, blind.status_code) == (412, 428)
    answer = admin.delete(PATH, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.content) == (204, b"")
    assert admin.get(PATH).status_code == admin.delete(PATH).status_code == 404
    assert list(folder.iterdir()) == []
    assert events(database)[-1] == ("job.deleted", "1", None, "user:admin", "greet")


def test_the_file_of_a_deleted_job_goes_whoever_wrote_into_it(server, greet, folder):
    (folder / "greet.yaml").write_text(yaml.safe_dump(JOB))
    store, now = server.services.definitions, datetime.now(UTC)
    store.delete("greet", judge=lambda current: None, user="ada", now=now)
    assert list(folder.iterdir()) == []


def test_a_job_of_the_same_name_is_another_version(admin, greet):
    admin.delete(PATH, headers={"If-Match": '"1"'})
    again = admin.put(PATH, json=JOB)
    assert (again.status_code, again.headers["etag"]) == (201, '"3"')
    assert admin.put(PATH, json=change(retries=1), headers={"If-Match": '"1"'}).status_code == 412


def test_a_job_with_active_runs_stays(server, admin, greet):
    server.airflow.dags.add("job__greet")
    run = admin.post(f"{PATH}/runs", json={}).json()
    answer = admin.delete(PATH, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert run["id"] in answer.json()["detail"]
    assert admin.get(PATH).status_code == 200
    admin.post(f"/api/v1/runs/{run['id']}:cancel")
    assert admin.delete(PATH, headers={"If-Match": "*"}).status_code == 204
    assert admin.get(f"/api/v1/runs/{run['id']}").json()["state"] == Detail.CANCELLED


# --- the list --------------------------------------------------------------------------------


def test_the_list_tells_where_each_job_comes_from(admin, greet, folder):
    (folder / "mine.yaml").write_text(yaml.safe_dump(JOB))
    (folder / "wrong.yaml").write_text("[")
    listed = admin.get("/api/v1/jobs").json()["items"]
    assert [(job["name"], job["source"], job["version"]) for job in listed] == [
        ("greet", "api", 1),
        ("hello", "git", None),
        ("mine", "local", None),
        ("wrong", "local", None),
    ]
    assert all(job["etag"] for job in listed)
    assert "definition" not in listed[0]


def test_jobs_are_listed_page_by_page(admin, settings):
    for name in ("a", "b", "c", "d"):
        assert admin.put(f"/api/v1/jobs/{name}", json=JOB).status_code == 201
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = admin.get("/api/v1/jobs", params=query).json()
        seen += [job["name"] for job in page["items"]]
        assert len(page["items"]) <= 2
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["a", "b", "c", "d", "hello"]


def test_the_definition_of_any_job_can_be_read(admin, settings):
    job = admin.get("/api/v1/jobs/hello")
    assert job.json()["definition"]["args"] == ["--to", "{params.who}"]
    assert job.headers["etag"] == job.json()["etag"]
    before = job.headers["etag"]
    (settings.include_dir / "jobs" / "hello.yaml").write_text("description: x\napplication: x.py\n")
    assert admin.get("/api/v1/jobs/hello").headers["etag"] != before


# --- the database is the truth ---------------------------------------------------------------


def wrong_file(folder):
    (folder / "greet.yaml").write_text(MARK + "\ndescription: else\napplication: hello.py\n")


def lost_file(folder):
    (folder / "greet.yaml").unlink()


def lost_folder(folder):
    lost_file(folder)
    folder.rmdir()


def half_written_file(folder):
    (folder / "greet.yaml").write_text(MARK)
    (folder / ".greet.abc.tmp").write_text("half")


@pytest.mark.parametrize("damage", [wrong_file, lost_file, lost_folder, half_written_file])
def test_a_mirror_that_is_wrong_is_mended(server, admin, greet, folder, damage):
    good = (folder / "greet.yaml").read_text()
    damage(folder)
    assert server.services.definitions.repair() == ["greet"]
    assert (folder / "greet.yaml").read_text() == good
    assert [path.name for path in folder.iterdir()] == ["greet.yaml"]
    assert server.services.definitions.repair() == []


@pytest.mark.parametrize("damage", [wrong_file, lost_file, lost_folder])
def test_whoever_looks_mends_it(admin, greet, folder, damage):
    damage(folder)
    assert admin.get(PATH).json() == greet.json()
    assert yaml.safe_load((folder / "greet.yaml").read_text()) == JOB


def test_a_job_whose_file_was_lost_is_started_all_the_same(server, admin, greet, folder):
    lost_folder(folder)
    server.airflow.dags.add("job__greet")
    assert admin.post(f"{PATH}/runs", json={}).status_code == 202


def test_the_api_mends_it_when_it_starts(serve, settings, database, greet, folder):
    good = (folder / "greet.yaml").read_text()
    lost_file(folder)
    with serve(settings, lambda: database):
        pass
    assert (folder / "greet.yaml").read_text() == good


def test_a_mirror_that_outlived_its_job_is_removed_and_a_file_made_since_stays(
    server, admin, greet, folder
):
    text = (folder / "greet.yaml").read_text()
    admin.delete(PATH, headers={"If-Match": "*"})
    (folder / "greet.yaml").write_text(text)
    (folder / "mine.yaml").write_text(text)
    assert server.services.definitions.repair() == ["greet"]
    assert [path.name for path in folder.iterdir()] == ["mine.yaml"], "of it nothing is known"
    (folder / "greet.yaml").write_text(yaml.safe_dump(JOB))
    assert server.services.definitions.repair() == []
    assert admin.get(PATH).json()["source"] == "local"


def test_without_room_for_the_file_nothing_is_changed(server, admin, greet, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = admin.put(PATH, json=change(retries=2), headers={"If-Match": '"1"'})
    new = admin.put("/api/v1/jobs/other", json=JOB)
    monkeypatch.undo()
    for refused in (answer, new):
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "No space left" in refused.json()["detail"]
    assert admin.get(PATH).json() == greet.json()
    assert [path.name for path in folder.iterdir()] == ["greet.yaml"]


def test_a_change_whose_commit_fails_leaves_the_old_file(server, admin, greet, folder, database):
    """The row is refused when the transaction ends, after the file was written."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "create function public.no() returns trigger language plpgsql as "
            "$$ begin raise exception 'planted' using errcode = '57014'; end $$"
        )
        connection.execute(
            "create constraint trigger no after update on public.job_definition "
            "deferrable initially deferred for each row execute function public.no()"
        )
    answer = admin.put(PATH, json=change(retries=2), headers={"If-Match": '"1"'})
    assert answer.status_code == 503
    assert yaml.safe_load((folder / "greet.yaml").read_text()) == JOB
    assert admin.get(PATH).json()["version"] == 1


def test_git_wins_over_the_database(admin, greet, settings):
    (settings.include_dir / "jobs" / "greet.yaml").write_text(json.dumps(change(retries=7)))
    job = admin.get(PATH).json()
    assert (job["source"], job["retries"], job["definition"]["retries"]) == ("git", 7, 7)


def test_a_stored_job_is_never_forgotten_by_the_table(database, greet):
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute("delete from public.job_definition")
