from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import Occasion
from dataharbour.jobs.placeholders import (
    MAX_ARGS_BYTES,
    output_root,
    placeholders,
    resolve_args,
)

NIGHT = datetime(2026, 2, 1, 1, 30, tzinfo=UTC)  # still January in New York
OCCASION = Occasion(
    logical_date=NIGHT,
    data_interval_start=NIGHT,
    data_interval_end=NIGHT.replace(day=2),
    partition_key="2026-01",
    timezone="America/New_York",
)


def resolve(*args: str, **params: object) -> tuple[str, ...]:
    return resolve_args(args, lake="s3a://lake", output="s3a://lake/.attempts/7", params=params)


def test_placeholders_are_filled():
    filled = resolve(
        "--raw={lake}/raw", "{output}", "{params.days}", "{params.who}", days=3, who="a b"
    )
    assert filled == ("--raw=s3a://lake/raw", "s3a://lake/.attempts/7", "3", "a b")


def resolve_for(occasion: Occasion, *args: str) -> tuple[str, ...]:
    return resolve_args(args, lake="", output="", params={}, occasion=occasion)


def test_dates_are_instants_or_what_the_jobs_zone_calls_them():
    assert resolve_for(
        OCCASION,
        "{logical_date}",
        "--day={logical_date:%Y-%m-%d}",
        "{data_interval_start:%d.%m. %H:%M}-{data_interval_end:%j}",
        "{partition_key}",
    ) == ("2026-02-01T01:30:00+00:00", "--day=2026-01-31", "31.01. 20:30-032", "2026-01")


def test_a_default_is_for_runs_that_have_no_date():
    args = ("{logical_date:%Y-%m-%d|2025-12-24}", "{partition_key|}")
    assert resolve_for(Occasion(), *args) == ("2025-12-24", "")
    assert resolve_for(OCCASION, *args) == ("2026-01-31", "2026-01")


@pytest.mark.parametrize("name", ["logical_date", "data_interval_end", "partition_key"])
def test_a_date_that_the_run_has_not_is_refused_with_the_way_out(name):
    with pytest.raises(ConfigError, match="Argument 2 holds") as caught:
        resolve_for(Occasion(), "x", f"{{{name}}}")
    assert f"this run has no {name.replace('_', ' ')}" in caught.value.problem
    assert f"{{{name}|VALUE}}" in caught.value.remedy


@pytest.mark.parametrize("arg", ["{logical_date:%Q}", "{logical_date:%}", "{partition_key:%Y}"])
def test_a_form_that_no_date_has_is_refused(arg):
    with pytest.raises(ConfigError, match="in a form that cannot be given"):
        resolve_for(OCCASION, arg)


def test_it_is_known_which_dates_must_be_there():
    args = ("{{logical_date}}", "{logical_date|x}", "{data_interval_end:%Y}", "{lake}{params.a}")
    assert placeholders(args) == {"data_interval_end"}


def test_values_that_are_no_text_become_json():
    assert resolve("{params.a}{params.b}{params.c}", a=True, b=None, c=[1, "x"]) == (
        'truenull[1, "x"]',
    )


@pytest.mark.parametrize("arg", ["{params.days}", "{nothing}", "{}", "{lake", "lake}", "{ lake }"])
def test_an_unknown_placeholder_is_an_error(arg):
    with pytest.raises(ConfigError, match="no placeholder of this run") as caught:
        resolve(arg, other=1)
    assert "{params.other}" in caught.value.remedy


@pytest.mark.parametrize("arg", ['{"password": "hunter2"}', "key=hunter2{x}", "{hunter2-hunter2}"])
def test_an_argument_is_not_repeated_for_it_may_hold_a_secret(arg):
    with pytest.raises(ConfigError, match="Argument 2 holds") as caught:
        resolve("{lake}", arg)
    assert "hunter2" not in str(caught.value)


def test_arguments_that_linux_would_not_take_are_refused():
    fits = "é" * (MAX_ARGS_BYTES // 2)
    assert resolve(fits) == (fits,)
    assert resolve("{params.x}", x=fits) == (fits,)
    for args in ([fits, "x"], ["x{params.x}"]):
        with pytest.raises(ConfigError, match="65,537 bytes; at most 65,536"):
            resolve(*args, x=fits)


def test_doubled_braces_are_plain():
    assert resolve('{{"lake": "{lake}"}}') == ('{"lake": "s3a://lake"}',)


@given(st.text())
def test_a_value_is_never_read_as_a_placeholder(value):
    assert resolve("<{params.x}>", x=value) == (f"<{value}>",)


def test_the_staging_root_is_below_the_lake():
    assert output_root("s3a://lake", "7") == "s3a://lake/.attempts/7"
