from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from dataharbour.api.schemas.requests import StartRun
from dataharbour.errors import ConfigError, ConfNotAllowed, JobInvalid
from dataharbour.jobs.declared import load_jobs
from dataharbour.jobs.model import TABLE, Output
from dataharbour.jobs.placeholders import MAX_ARGS_BYTES

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "include" / "schemas" / "job.schema.json"

GOOD = """
    description: |
      Delays by carrier.
      More words.
    application: delays.py
    args: ["--output", "{output}", "--days", "{params.days}"]
    params:
      days: {type: integer, minimum: 1, default: 7}
      city: {type: string, default: Bern}
    conf: {spark.sql.shuffle.partitions: 4, spark.sql.adaptive.enabled: true}
    schedule: "0 2 * * *"
    timezone: Europe/Zurich
    timeout_s: 600
    outputs:
      - {table: gold/delays, partitioned_by: [month]}
    expectations: delays
    labels: {team: ops}
"""


@pytest.fixture
def include(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    return tmp_path


def declare(include: Path, text: str, name: str = "delays") -> Path:
    path = include / "jobs" / f"{name}.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def problem_of(include: Path, text: str) -> str:
    declare(include, text)
    declared = load_jobs(include / "jobs")
    assert not declared.jobs
    error = declared.errors["delays"]
    assert error.remedy
    return error.problem


def test_a_job_file_becomes_a_spec(include):
    path = declare(include, GOOD)
    spec = load_jobs(include / "jobs").jobs["delays"]
    assert (spec.name, spec.path, spec.backend, spec.retries) == ("delays", path, "connect", 0)
    assert spec.conf == {"spark.sql.shuffle.partitions": "4", "spark.sql.adaptive.enabled": "true"}
    assert spec.outputs == (Output("gold/delays", ("month",)),)
    assert (spec.schedule, spec.timezone, spec.pool) == (
        "0 2 * * *",
        "Europe/Zurich",
        "spark_drivers",
    )


def test_the_jobs_of_this_repository_are_valid():
    declared = load_jobs(ROOT / "include" / "jobs")
    assert declared.errors == {}
    assert "flights_delays" in declared.jobs


def test_a_run_takes_defaults_and_given_values(include):
    declare(include, GOOD)
    request = load_jobs(include / "jobs").jobs["delays"].request({"city": "Chur"}, {"why": "test"})
    assert request.params == {"days": 7, "city": "Chur"}
    assert request.labels == {"team": "ops", "why": "test"}
    assert (request.job, request.timeout_s, request.expectations) == ("delays", 600, "delays")


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"city": "Bern", "town": 1}, "has no parameter 'town'"),
        ({"city": "Bern", "days": 0}, "'days' of the job delays breaks its rule minimum: 1"),
        ({"city": 3}, "'city' of the job delays breaks its rule type: \"string\""),
    ],
)
def test_a_wrong_parameter_is_refused(include, params, problem):
    declare(include, GOOD)
    with pytest.raises(JobInvalid, match=problem):
        load_jobs(include / "jobs").jobs["delays"].request(params)


@pytest.mark.parametrize("value", ["hunter2", {"deep": ["hunter2"]}, ["x" * 100_000, 1]])
@pytest.mark.parametrize(
    "schema",
    [
        "{type: integer}",
        "{enum: [1, 2026-01-01]}",
        "{not: {type: string}, items: {type: integer}, properties: {deep: {maxItems: 0}}}",
    ],
)
def test_a_wrong_value_is_not_repeated_for_it_may_be_a_secret(include, schema, value):
    declare(include, f"description: x\napplication: x.py\nparams: {{key: {schema}}}")
    with pytest.raises(JobInvalid, match="'key'") as caught:
        load_jobs(include / "jobs").jobs["delays"].request({"key": value})
    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_values_that_make_the_arguments_too_long_are_refused_with_the_request(include):
    text = "description: x\napplication: x.py\nparams: {p: {}}\nargs: ['{params.p}']"
    declare(include, text)
    with pytest.raises(ConfigError, match="at most 65,536 can be given"):
        load_jobs(include / "jobs").jobs["delays"].request({"p": "x" * (MAX_ARGS_BYTES + 1)})


def test_a_parameter_without_default_must_be_given(include):
    declare(include, GOOD.replace(", default: Bern", "").replace('schedule: "0 2 * * *"', ""))
    with pytest.raises(JobInvalid, match="needs the parameter 'city'"):
        load_jobs(include / "jobs").jobs["delays"].request({})


def test_nobody_gives_values_when_a_schedule_starts_a_run(include):
    problem = problem_of(include, GOOD.replace(", default: Bern", ""))
    assert "schedule: params without default: city" in problem


def test_another_backend_is_checked_again(include):
    declare(
        include, GOOD.replace("conf: {", "backend: local\n    conf: {spark.driver.memory: 1g, ")
    )
    spec = load_jobs(include / "jobs").jobs["delays"]
    assert spec.request({"city": "x"}).backend == "local"
    with pytest.raises(ConfNotAllowed):
        spec.request({"city": "x"}, backend="connect")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("application: delays.py", "application: delays.jar"), "application: 'delays.jar'"),
        (("timeout_s: 600", "timeout: 600"), "'timeout' was unexpected"),
        (("backend", "backend"), None),
        (("timezone: Europe/Zurich", "timezone: Swiss"), "timezone: 'Swiss' is no IANA"),
        (("timeout_s: 600", "timeout_s: 0"), "timeout_s: 0"),
        (("timeout_s: 600", "backend: mesos"), "backend: 'mesos'"),
        (("0 2 * * *", "0 2 * *"), "schedule: '0 2 * *'"),
        (("0 2 * * *", "0 25 * * *"), "'0 25 * * *' is no cron"),
        (("gold/delays,", "../gold,"), "outputs.0.table"),
        (("gold/delays,", ".attempts/x,"), "outputs.0.table"),
        (("{params.days}", "{params.day}"), "{params.day}"),
        (("default: 7", "default: 0"), "breaks its rule minimum: 1"),
        (("type: integer", "type: int"), "params.days is no JSON Schema"),
        (("spark.sql.adaptive.enabled", "spark.jars"), "spark.jars"),
        (("labels: {team: ops}", "name: other"), "name: 'other' is not the name of the file"),
        (("description: |", "description: ["), "line "),
        (("labels: {team: ops}", 'args: ["a", "b\\0"]'), "args[1]: holds the character NUL"),
        (
            ("labels: {team: ops}", 'labels: {team: "o\\0s"}'),
            "labels.team: holds",
        ),
    ],
)
def test_a_wrong_file_says_what_is_wrong(include, change, problem):
    if problem is not None:
        assert problem in problem_of(include, GOOD.replace(*change))


def test_tables_may_not_lie_inside_each_other(include):
    inside = GOOD.replace("      - {table", "      - {table: gold/delays/eu}\n      - {table")
    assert "inside 'gold/delays'" in problem_of(include, inside)


@pytest.mark.parametrize("table", ["gold/delays", "gold/delays/eu", "gold/delays/eu/x"])
@pytest.mark.parametrize("around", [False, True])
def test_a_table_is_one_jobs_alone(include, table, around):
    first, second = ("gold/delays", table)[:: -1 if around else 1]
    declare(include, GOOD.replace("gold/delays", first), "a")
    declare(include, GOOD.replace("gold/delays", second), "b")
    declare(include, GOOD.replace("gold/delays", "gold/delays_by_day"), "c")
    declared = load_jobs(include / "jobs")
    assert set(declared.jobs) == {"c"}, "neither of the two takes the other's table"
    assert set(declared.contested) == {"a", "b"}
    for mine, table, other in (("a", first, "b"), ("b", second, "a")):
        assert f"of the job {other}" in declared.errors[mine].problem
        assert repr(table) in declared.errors[mine].problem
    (include / "jobs/b.yaml").unlink()
    assert set(load_jobs(include / "jobs").jobs) == {"a", "c"}


def test_a_broken_file_takes_no_table(include):
    declare(include, GOOD.replace("600", "0"), "a")
    declare(include, GOOD, "b")
    assert set(load_jobs(include / "jobs").jobs) == {"b"}


@pytest.mark.parametrize(
    "table",
    ["gold", "", "/gold/x", "gold/x/", "gold//x", "gold/../x", "../x", ".attempts/x", "gold/.x",
     "gold/_x", "Gold/x", "gold/x y", "a/b/c/d/e/f/g", "s3a://lake/x"],
)  # fmt: skip
def test_what_names_no_table_is_refused_wherever_it_comes_from(include, table):
    with pytest.raises(ConfigError, match="no name of a table"):
        Output(table)
    assert "outputs.0.table" in problem_of(include, GOOD.replace("gold/delays", f"'{table}'"))


def test_a_gate_needs_something_to_check(include):
    text = "description: x\napplication: x.py\nexpectations: x"
    assert "no outputs" in problem_of(include, text)


@pytest.mark.parametrize("text", ["", "- a\n- b", "just text", "a: !!python/object:os.system x"])
def test_a_file_that_is_no_job_is_an_error_of_its_own(include, text):
    declare(include, GOOD, "good")
    declare(include, text, "bad")
    declared = load_jobs(include / "jobs")
    assert set(declared.jobs) == {"good"}
    assert set(declared.errors) == {"bad"}


@pytest.mark.parametrize("name", ["Upper", "9lives", "a-b", "a" * 101])
def test_a_file_name_that_cannot_name_a_dag_is_refused(include, name):
    declare(include, GOOD, name)
    assert "is no name of a job" in load_jobs(include / "jobs").errors[name].problem


def test_a_changed_file_is_read_again(include):
    path = declare(include, GOOD)
    assert load_jobs(include / "jobs").jobs["delays"] is load_jobs(include / "jobs").jobs["delays"]
    declare(include, GOOD.replace("600", "601"))
    os.utime(path, ns=(1, 1))
    assert load_jobs(include / "jobs").jobs["delays"].timeout_s == 601
    path.unlink()
    assert not load_jobs(include / "jobs").jobs


def test_a_folder_without_jobs_has_none(tmp_path):
    assert not load_jobs(tmp_path / "nothing").jobs


def test_every_schema_has_the_same_limit_of_an_argument():
    for schema in (json.loads(SCHEMA.read_text()), StartRun.model_json_schema()):
        args = schema["properties"]["args"]
        assert args["items"]["maxLength"] == MAX_ARGS_BYTES
        assert f"{MAX_ARGS_BYTES // 1024} KiB together" in args["description"]


def test_the_schema_describes_every_property():
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)

    def bare(node, path=""):
        for name, value in node.get("properties", {}).items():
            if "description" not in value and "$ref" not in value:
                yield f"{path}.{name}"
            yield from bare(value, f"{path}.{name}")

    undescribed = [*bare(schema), *(p for d in schema["$defs"].values() for p in bare(d))]
    assert undescribed == []
    assert schema["$defs"]["output"]["properties"]["table"]["pattern"] == f"^{TABLE}$"
    assert schema["additionalProperties"] is False


def test_a_file_of_the_first_folder_holds(include, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    text = "name: {}\ndescription: d\napplication: a.py\ntimeout_s: {}\n"
    (include / "jobs" / "twice.yaml").write_text(text.format("twice", 60))
    (mine / "twice.yaml").write_text(text.format("twice", 600))
    (mine / "once.yaml").write_text(text.format("once", 60))
    jobs = load_jobs(include / "jobs", mine).jobs
    assert jobs["twice"].timeout_s == 60
    assert jobs["once"].path == mine / "once.yaml"


def test_a_file_that_took_the_place_of_another_of_its_size_and_time_is_read(
    include,
):
    text = "description: {}\napplication: x.py"
    path = declare(include, text.format("one"))
    stat = path.stat()
    assert load_jobs(include / "jobs").jobs["delays"].description == "one"
    other = path.with_suffix(".tmp")
    other.write_text(text.format("two"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert load_jobs(include / "jobs").jobs["delays"].description == "two"
