"""The form of `spark_job`: what Airflow's UI makes of the params, and what it accepts.

The rules of the form are those of Airflow 3.3: a string with `examples` is a text
field with suggestions, an array with `examples` a choice without free text, an
array of strings a text area (one a line), a field left empty is sent as null.
"""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from dataharbour.jobs.backends.names import BackendName


@pytest.fixture
def form(parse, settings, tmp_path):
    (tmp_path / "apps/team").mkdir(parents=True)
    for name in ("sales.py", "team/report.py", "_shared.py", "notes.txt"):
        (tmp_path / "apps" / name).touch()
    settings(applications=tmp_path / "apps")
    return parse().dags["spark_job"].params


def test_the_fields_are_those_of_the_api(form):
    assert list(form) == [
        "application",
        "args",
        "conf",
        "backend",
        "profile",
        "labels",
        "timeout_s",
    ]


def test_every_field_is_a_valid_schema_with_title_and_help(form):
    for name in form:
        param = form.get_param(name)
        Draft202012Validator.check_schema(param.schema)
        assert param.schema["title"], name
        assert param.description, name


def test_only_the_application_must_be_given(form):
    required = [name for name in form if not form.get_param(name).has_value]
    assert required == ["application", "timeout_s"]  # the latter's value is null
    assert "null" in form.get_param("timeout_s").schema["type"]
    assert form.get_param("application").schema["minLength"] == 1


def test_applications_are_suggested_and_others_may_be_typed(form):
    schema = form.get_param("application").schema
    assert schema["type"] == "string"
    assert "enum" not in schema
    assert schema["examples"] == ["sales.py", "team/report.py"]


def test_arguments_are_typed_one_a_line(form):
    schema = form.get_param("args").schema
    assert schema["items"] == {"type": "string"}
    assert "examples" not in schema


def test_the_backend_is_chosen(form):
    schema = form.get_param("backend").schema
    assert schema["enum"] == list(BackendName)
    assert schema["values_display"].keys() == set(schema["enum"])


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"application": "sales.py"}, id="least"),
        pytest.param(
            {
                "application": "sales.py",
                "args": None,
                "conf": None,
                "backend": "connect",
                "profile": "short",
                "labels": None,
                "timeout_s": None,
            },
            id="empty-fields",
        ),
        pytest.param(
            {
                "application": "/opt/apps/sales.py",
                "args": ["--day", "2026-01-01"],
                "conf": {"spark.sql.shuffle.partitions": 4, "spark.sql.ansi.enabled": True},
                "backend": "local",
                "profile": "standard",
                "labels": {"team": "ops"},
                "timeout_s": 60,
            },
            id="all-fields",
        ),
    ],
)
def test_what_the_form_and_the_api_send_is_accepted(form, given):
    for name, value in given.items():
        form[name] = value
    form.validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("application", ""),
        ("application", None),
        ("args", "one two"),
        ("args", [1]),
        ("conf", {"spark.x": ["a"]}),
        ("backend", "mainframe"),
        ("profile", "fastest"),
        ("labels", {"team": 1}),
        ("timeout_s", 0),
        ("timeout_s", "soon"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_starts(form, name, value):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        form.get_param(name).resolve(value)
