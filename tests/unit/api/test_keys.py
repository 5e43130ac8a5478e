import re

from hypothesis import given
from hypothesis import strategies as st

from dataharbour.api.keys import dag_run_id, fingerprint

texts = st.text(min_size=1)


def test_the_same_request_names_the_same_airflow_run():
    first = dag_run_id(principal="ada", subject="flights", key="k1")
    assert first == dag_run_id(principal="ada", subject="flights", key="k1")
    assert re.fullmatch(r"api__[0-9a-f]{32}", first)


@given(texts, texts, texts, texts, texts, texts)
def test_another_caller_job_or_key_is_another_run(a, b, c, d, e, f):
    one = dag_run_id(principal=a, subject=b, key=c)
    other = dag_run_id(principal=d, subject=e, key=f)
    assert (one == other) == ((a, b, c) == (d, e, f))


def test_the_order_of_fields_does_not_change_the_fingerprint():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})


def test_any_other_value_changes_the_fingerprint():
    assert len({fingerprint(v) for v in ({"a": 1}, {"a": "1"}, {"a": 1.5}, {"b": 1}, [1])}) == 5
