"""What becomes of each argument of the provider's SparkSubmitOperator."""

from __future__ import annotations

import inspect

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from dataharbour.errors import ConfigError
from dataharbour.jobs.conf import ALLOWED
from dataharbour.operators.spark_job import SparkJobOperator
from dataharbour.operators.submit_arguments import (
    DECISIONS,
    MORE,
    Fate,
    literal_args,
    take_submit_arguments,
)

REFUSED = [name for name, made in DECISIONS.items() if made.fate is Fate.REFUSED]
IGNORED = [name for name, made in DECISIONS.items() if made.fate is Fate.IGNORED]


def parameters(operator: type) -> list[str]:
    named = inspect.signature(operator.__init__).parameters.values()
    return [p.name for p in named if p.kind is p.KEYWORD_ONLY]


def test_the_providers_arguments_are_decided_on_one_by_one():
    """Red when a new version of the provider brings an argument, or drops one."""
    assert list(DECISIONS) == parameters(SparkSubmitOperator)


def test_ours_takes_each_of_them():
    assert set(DECISIONS) <= set(parameters(SparkJobOperator))


def test_what_the_provider_templates_is_templated_here_or_not_taken():
    taken = {
        n for n in SparkSubmitOperator.template_fields if DECISIONS[n].fate is not Fate.REFUSED
    }
    assert taken <= set(SparkJobOperator.template_fields)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_argument_is_named_with_why_and_a_remedy(name):
    with pytest.raises(ConfigError, match=rf"does not take {name}: \w+") as caught:
        SparkJobOperator(task_id="t", application="a.py", **{name: "x"})
    assert len(caught.value.remedy) > 20
    assert "from-spark-submit-operator.md" in caught.value.remedy


@pytest.mark.parametrize("nothing", [None, "", [], {}, False], ids=repr)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_argument_that_says_nothing_is_no_error(name, nothing):
    taken = take_submit_arguments(given := {name: nothing})
    assert given == {}
    assert taken.conn_id is None


@pytest.mark.parametrize("name", IGNORED)
def test_an_ignored_argument_is_told(name):
    [note] = take_submit_arguments({name: "x"}).notes()
    assert note.startswith(f"{name} has no effect here: ")


def test_memory_and_cores_are_settings_that_runs_may_have():
    taken = take_submit_arguments(
        {
            "driver_memory": "2G",
            "executor_memory": "1000M",
            "executor_cores": 2,
            "num_executors": 3,
            "total_executor_cores": 6,
        }
    )
    assert taken.conf == {
        "spark.driver.memory": "2G",
        "spark.executor.memory": "1000M",
        "spark.executor.cores": "2",
        "spark.executor.instances": "3",
        "spark.cores.max": "6",
    }
    assert [k for k, v in taken.conf.items() if not ALLOWED[k].accepts(v)] == []


def test_arguments_win_over_settings_as_with_spark_submit():
    task = SparkJobOperator(
        task_id="t", application="a.py", conf={"spark.driver.memory": "1g"}, driver_memory="2g"
    )
    assert task.conf == {"spark.driver.memory": "2g"}


def test_braces_in_the_applications_arguments_are_just_braces():
    assert literal_args(['{"a": {}}', 7]) == ('{{"a": {{}}}}', "7")


def test_only_a_dag_of_the_provider_asks_a_connection_for_its_backend():
    assert take_submit_arguments({}).conn_id is None
    assert take_submit_arguments({"name": "x"}).conn_id == "spark_default"
    assert take_submit_arguments({"conn_id": "prod"}).conn_id == "prod"


def test_what_nobody_knows_is_an_error_as_ever():
    with pytest.raises(TypeError, match="nonsense"):
        SparkJobOperator(task_id="t", application="a.py", nonsense=1)


def test_a_task_may_be_mapped_over_the_providers_arguments():
    from airflow.sdk import DAG

    with DAG("d", schedule=None):
        SparkJobOperator.partial(task_id="t", application="a.py", conn_id="x").expand(
            application_args=[["1"], ["2"]]
        )
    with pytest.raises(TypeError, match="nonsense"):
        SparkJobOperator.partial(task_id="t", nonsense=1)


def test_the_list_of_further_arguments_leaves_out_what_is_ours():
    assert "application" not in MORE
    assert "conf" not in MORE
