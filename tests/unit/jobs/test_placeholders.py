from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataharbour.errors import ConfigError
from dataharbour.jobs.placeholders import MAX_ARGS_BYTES, output_root, resolve_args


def resolve(*args: str, **params: object) -> tuple[str, ...]:
    return resolve_args(args, lake="s3a://lake", output="s3a://lake/.attempts/7", params=params)


def test_placeholders_are_filled():
    filled = resolve(
        "--raw={lake}/raw", "{output}", "{params.days}", "{params.who}", days=3, who="a b"
    )
    assert filled == ("--raw=s3a://lake/raw", "s3a://lake/.attempts/7", "3", "a b")


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
