"""What is asked for, what is locked and what is installed are the same."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import uv
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def direct() -> dict[str, Requirement]:
    """The lines of requirements.in."""
    text = (ROOT / "requirements.in").read_text()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    asked = [Requirement(line) for line in lines if line]
    return {re.sub(r"[-_.]+", "-", each.name).lower(): each for each in asked}


def run_uv(*arguments: str) -> str:
    """uv, without network."""
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments, "--offline"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "apache-airflow",
        "apache-airflow-providers-amazon",
        "apache-airflow-providers-apache-spark",
        "apache-airflow-providers-docker",
        "apache-airflow-providers-postgres",
        "great-expectations",
        "pytest",
    ],
)
def test_what_the_platform_is_built_on_is_asked_for_directly(name):
    assert name in direct()


def test_the_readable_list_and_the_project_ask_for_the_same():
    asked = [Requirement(each) for each in PYPROJECT["project"]["dependencies"]]
    assert {str(each) for each in asked} == {str(each) for each in direct().values()}


def test_the_local_package_asks_for_nothing_that_the_list_does_not():
    project = tomllib.loads((ROOT / "providers/dataharbour/pyproject.toml").read_text())["project"]
    platform = project["optional-dependencies"]["platform"]
    names = {Requirement(each).name.lower() for each in [*project["dependencies"], *platform]}
    assert names <= set(direct())


def test_uv_lock_is_in_step_with_the_project():
    run_uv("lock", "--check")


def test_requirements_txt_is_the_export_of_uv_lock():
    exported = run_uv(
        "export", "--quiet", "--frozen", "--no-emit-project", "--no-annotate", "--no-header"
    )
    remedy = "uv export --frozen --no-emit-project --no-annotate --no-header -o requirements.txt"
    assert (ROOT / "requirements.txt").read_text() == exported, f"now: {remedy}"


def test_the_list_of_the_notebooks_is_the_export_of_the_same_lock():
    options = ["--frozen", "--no-emit-project", "--no-annotate", "--no-header", "--only-group"]
    exported = run_uv("export", "--quiet", *options, "notebooks")
    remedy = f"uv export {' '.join(options)} notebooks -o requirements-notebooks.txt"
    assert (ROOT / "requirements-notebooks.txt").read_text() == exported, f"now: {remedy}"


def test_checkout_and_package_ask_for_the_same_notebooks():
    project = tomllib.loads((ROOT / "providers/dataharbour/pyproject.toml").read_text())["project"]
    asked = project["optional-dependencies"]["notebooks"]
    assert asked == PYPROJECT["dependency-groups"]["notebooks"]


def test_what_slows_every_process_down_is_not_installed():
    # With it, importing jsonschema takes 1.1 s of processor time in place of 0.1 s.
    assert "rfc3987-syntax" in PYPROJECT["tool"]["uv"]["exclude-dependencies"]
    assert "rfc3987-syntax" not in (ROOT / "requirements-notebooks.txt").read_text()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-notebooks.txt"])
def test_every_requirement_has_hashes(name):
    text = (ROOT / name).read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 100
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_pyspark_has_exactly_one_owner():
    assert "pyspark-client" in PYPROJECT["tool"]["uv"]["exclude-dependencies"]
    owners = {
        each.name
        for each in distributions()
        for file in each.files or ()
        if file.parts[0] == "pyspark"
    }
    assert owners == {"pyspark"}
