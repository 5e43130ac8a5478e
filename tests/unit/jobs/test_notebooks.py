from __future__ import annotations

import pytest

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.names import BackendName
from dataharbour.jobs.notebooks import BACKENDS, check_notebook, is_code, parameters


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("month=7", 7),
        ('month="7"', "7"),
        ("month=007", "007"),
        ("rate=1.5", 1.5),
        ("full=true", True),
        ("full=True", "True"),
        ("day=null", None),
        ("cities=[1, 2]", [1, 2]),
        ("city=New York", "New York"),
        ("expression=a=b", "a=b"),
        ("empty=", ""),
        ("rate=NaN", "NaN"),
    ],
)
def test_an_argument_has_the_type_of_its_json_else_it_is_text(given, value):
    name = given.partition("=")[0]
    assert parameters([given], {}) == {name: value}


def test_the_runs_parameters_keep_their_types_and_an_argument_holds_against_them():
    params = {"month": 7, "city": "Oslo"}
    assert parameters(["city=Bergen"], params) == {"month": 7, "city": "Bergen"}


@pytest.mark.parametrize("name", ["a b", "1st", "class", "x\nimport os\ny", "", "a.b", "None"])
def test_a_name_that_would_be_code_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be a notebook's parameter"):
        parameters([f"{name}=1"], {})
    with pytest.raises(ConfigError, match="cannot be a notebook's parameter"):
        parameters([], {name: 1})


def test_an_argument_without_a_name_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="Argument 2 of a notebook") as caught:
        parameters(["a=1", "--password-of-mine"], {})
    assert "password-of-mine" not in str(caught.value)


def test_a_notebook_runs_only_where_its_kernel_is_beside_its_driver():
    for backend in BACKENDS:
        check_notebook("a.ipynb", backend=backend, args=["x=1"])
    with pytest.raises(ConfigError, match="The backend standalone runs no notebooks"):
        check_notebook("a.ipynb", backend="standalone", args=[])
    assert set(BACKENDS) <= set(BackendName)


def test_other_applications_take_any_arguments():
    check_notebook("a.py", backend="standalone", args=["--anything"])


def test_only_cells_with_code_are_counted():
    assert is_code({"cell_type": "code", "source": ["x = 1"]})
    assert not is_code({"cell_type": "code", "source": " \n"})
    assert not is_code({"cell_type": "markdown", "source": "x = 1"})
