from __future__ import annotations

import pytest

from dataharbour.platform.bootstrap.run import _wants_json, wants_notebooks


@pytest.mark.parametrize(
    ("options", "as_json"),
    [
        ([], False),
        (["-o", "json"], True),
        (["-ojson"], True),
        (["--output", "json"], True),
        (["--output=json"], True),
        (["--output=text"], False),
    ],
)
def test_doctor_takes_the_same_options_before_the_installation(options, as_json):
    assert _wants_json(options) is as_json


def test_doctor_refuses_an_unknown_form_before_the_installation(capsys):
    with pytest.raises(SystemExit) as left:
        _wants_json(["-o", "xml"])
    assert left.value.code == 2
    assert "invalid choice: 'xml'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ([], False),
        (["up"], False),
        (["up", "--no-tour", "--notebooks"], True),
        (["up", "--no-notebooks"], False),
        (["test", "-k", "x"], True),
        (["check"], False),
        (["open", "--notebooks"], False),
    ],
)
def test_jupyterlab_is_installed_for_these_calls(call, wanted):
    assert wants_notebooks(call) is wants_notebooks(tuple(call)) is wanted
