"""Reading suites: what is refused, and what a rule needs to see."""

import pytest

from dataharbour.errors import ConfigError
from dataharbour.quality.evaluate import columns_needed
from dataharbour.quality.rules import evaluated_as_declared
from dataharbour.quality.suites import Rule, TableRules, load_suite

GOOD = """
name: s
tables:
  gold/t:
    keys: [k]
    expectations:
      - {type: expect_column_sum_to_be_between, kwargs: {column: n, min_value: 1}}
      - {id: pairs, type: expect_compound_columns_to_be_unique, kwargs: {column_list: [k, n]}}
"""


@pytest.fixture
def include_dir(tmp_path):
    (tmp_path / "expectations").mkdir()
    return tmp_path


def write(include_dir, text):
    (include_dir / "expectations" / "s.yaml").write_text(text)


def test_a_suite_becomes_rules_with_ids(include_dir):
    write(include_dir, GOOD)
    [table] = load_suite("s", include_dir=include_dir).tables
    assert (table.table, table.keys) == ("gold/t", ("k",))
    assert [rule.id for rule in table.rules] == ["expect_column_sum_to_be_between(n)", "pairs"]
    assert table.rules[1].columns == ("k", "n")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(("keys:", "kees:"), r"tables.*kees", id="unknown-field"),
        pytest.param(("type: expect_column", "type: column"), "not match", id="no-expectation"),
        pytest.param(("name: s", "name: other"), "suite is named 'other'", id="other-name"),
        pytest.param(("gold/t", "../t"), "does not match", id="path-out-of-the-root"),
        pytest.param(("[k]", "[k"), "is not YAML", id="broken-yaml"),
        pytest.param((GOOD, "name: s\ntables: {}"), "non-empty|properties", id="no-tables"),
        pytest.param((GOOD, ""), "not of type 'object'", id="empty-file"),
        pytest.param(
            ("id: pairs, type: expect_compound_columns_to_be_unique, kwargs: {column_list: [k, n]}",
             "type: expect_column_sum_to_be_between, kwargs: {column: n}"),
            r"two rules expect_column_sum_to_be_between\(n\)",
            id="same-id-twice",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name(include_dir, fault, message):
    assert fault[0] in GOOD
    write(include_dir, GOOD.replace(*fault))
    with pytest.raises(ConfigError, match=message) as caught:
        load_suite("s", include_dir=include_dir)
    assert "s.yaml" in caught.value.problem


def test_a_missing_suite_names_those_that_exist(include_dir):
    write(include_dir, GOOD)
    with pytest.raises(ConfigError, match="no expectations suite 'flihgts'") as caught:
        load_suite("flihgts", include_dir=include_dir)
    assert "(s)" in caught.value.remedy


def test_only_the_columns_of_rules_and_keys_are_read(include_dir):
    write(include_dir, GOOD)
    [table] = load_suite("s", include_dir=include_dir).tables
    assert columns_needed(table.rules, ("k", "gone"), {"k", "n", "other"}) == ["n", "k"]


@pytest.mark.parametrize(
    "rule",
    [
        Rule("r", "expect_table_columns_to_match_set", {"column_set": ["k"]}),
        Rule("r", "expect_column_max_to_be_between", {"column": "k", "row_condition": "n > 1"}),
    ],
    ids=["about-all-columns", "row-condition"],
)
def test_all_columns_are_read_for_a_rule_that_may_look_at_them(rule):
    assert columns_needed((rule,), (), {"k", "n"}) is None


def result(index):
    return {"expectation_config": {"meta": {"rule": index}}}


def test_a_rule_that_was_dropped_is_noticed():
    rule = Rule("r", "expect_column_to_exist", {"column": "k"})
    table = TableRules("t", (), (rule, rule))
    assert evaluated_as_declared(table, [result(1), result(0)]).keys() == {0, 1}
    with pytest.raises(ConfigError, match="t: Great Expectations ran 1 of 2 rules"):
        evaluated_as_declared(table, [result(0)])
