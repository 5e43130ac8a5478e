"""What a report says."""

import pytest

from dataharbour.errors import QualityFailed
from dataharbour.quality.report import QualityReport, RuleResult, Verdict


def result(rule, verdict, *, table="t", **facts):
    return RuleResult(table, rule, f"expect_{rule}", ("c",), verdict, **facts)


def broken(rule, unexpected=2):
    rows = ({"c": -1, "id": 7}, {"c": -2, "id": 8})
    return result(rule, Verdict.FAILED, checked=1234, unexpected=unexpected, sample=rows)


def unchecked(rule, table="t"):
    return result(rule, Verdict.UNCHECKED, table=table, error=f"{table} is gone")


def report(*rules):
    return QualityReport("s", "file:///x", rules, 0.1)


def test_failures_come_first_and_unchecked_rules_of_a_table_share_a_line():
    message = report(unchecked("a", "t1"), unchecked("b", "t1"), broken("c")).message
    assert message.splitlines() == [
        "Suite s, 3 rules: 1 broken, 2 could not be checked.",
        "t: c: 2 of 1,234 rows, for example c=-1, id=7; c=-2, id=8",
        "t1: 2 rules could not be checked: t1 is gone",
    ]


def test_a_long_list_is_cut_and_says_so():
    lines = report(*(broken(f"r{number}") for number in range(8))).message.splitlines()
    assert len(lines) == 7
    assert lines[-1] == "and 3 more"


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ((), "passed"),
        ((result("a", Verdict.PASSED),), "passed"),
        ((result("a", Verdict.PASSED), unchecked("b")), "unchecked"),
        ((unchecked("b"), broken("c")), "failed"),
    ],
)
def test_the_worst_rule_decides_and_bad_data_is_worse_than_no_verdict(rules, verdict):
    assert report(*rules).verdict == verdict
    assert report(*rules).ok is (verdict == "passed")


def test_the_error_of_bad_data_says_that_the_published_tables_stay():
    with pytest.raises(QualityFailed) as caught:
        report(broken("c")).raise_unless_ok()
    assert "the published tables stay as they were" in caught.value.remedy
