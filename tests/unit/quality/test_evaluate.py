"""Evaluating a suite: good data, bad data, and data of which nothing can be said."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dataharbour.errors import QualityFailed, QualityUnchecked
from dataharbour.quality.report import QualityReport, Verdict

GOOD = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int32()),
        "city": ["Oslo", "Lima", None, "Rome"],
        "amount": [1.0, 2.0, 3.0, 400.0],
    }
)


def rule(kind, **kwargs):
    return {"type": kind, "kwargs": kwargs}


NOT_NULL = rule("expect_column_values_to_not_be_null", column="city")
NO_SUCH_COLUMN = rule("expect_column_values_to_not_be_null", column="town")
FOUR_ROWS = rule("expect_table_row_count_to_equal", value=4)
UP_TO_100 = rule("expect_column_values_to_be_between", column="amount", max_value=100)

CASES = {  # name -> (rules, content of the table `t`)
    "good": ([FOUR_ROWS], GOOD),
    "null": ([NOT_NULL, FOUR_ROWS], GOOD),
    "sum": ([rule("expect_column_sum_to_be_between", column="id", max_value=5)], GOOD),
    "mostly": ([{**UP_TO_100, "kwargs": UP_TO_100["kwargs"] | {"mostly": 0.7}}], GOOD),
    "no key columns": ([UP_TO_100], GOOD.drop_columns(["id"])),
    "no column": ([NO_SUCH_COLUMN, NOT_NULL, FOUR_ROWS], GOOD),
    "nothing but the row count": ([FOUR_ROWS], GOOD.drop_columns(["id"])),
    "no columns at all": ([NO_SUCH_COLUMN], GOOD),
    "table columns": ([rule("expect_table_column_count_to_equal", value=3)], GOOD),
    "row condition": (
        [rule("expect_column_values_to_not_be_null", column="city", row_condition="amount > 100",
              condition_parser="pandas")],
        GOOD,
    ),
    "row condition broken": (
        [rule("expect_column_values_to_not_be_null", column="city", row_condition="amount > 1",
              condition_parser="pandas")],
        GOOD,
    ),
    "all rows bad": (
        [rule("expect_column_values_to_be_between", column="id", max_value=-1)],
        pa.table({"id": range(300_000)}),
    ),
    "text compared with a number": (
        [rule("expect_column_values_to_be_between", column="city", max_value=100)],
        GOOD,
    ),
    "lazy statistics": (
        [rule("expect_column_values_to_not_be_outliers", column="amount", method="iqr",
              multiplier=100)],
        GOOD,
    ),
    "corrupt": ([FOUR_ROWS], b"PAR1 this is no Parquet PAR1"),
    "cut short": ([NOT_NULL], "cut"),
    "no table": ([FOUR_ROWS, NOT_NULL], None),
    "no files": ([FOUR_ROWS], b""),
    "unknown type": ([rule("expect_column_values_to_be_lovely", column="city"), FOUR_ROWS], GOOD),
    "unknown argument": ([rule("expect_table_row_count_to_equal", valu=4)], GOOD),
    "unreadable scheme": ([FOUR_ROWS], GOOD),
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, evaluate_all):
    requests = [_request(tmp_path_factory.mktemp("case"), *case) for case in CASES.values()]
    requests[list(CASES).index("unreadable scheme")]["root"] = "hdfs://lake"
    return evaluate_all(requests)


@pytest.fixture(scope="module")
def answers(evaluated):
    return dict(zip(CASES, evaluated.answers, strict=True))


def _request(folder: Path, expectations, content):
    suite = {"name": "s", "tables": {"t": {"keys": ["id"], "expectations": expectations}}}
    (folder / "expectations").mkdir()
    (folder / "expectations" / "s.yaml").write_text(yaml.safe_dump(suite))
    root = folder / ".attempts" / "_1"  # as staged: such names are not skipped above the table
    if content is not None:
        (root / "t").mkdir(parents=True)
        _write(root / "t", content)
    return {"suite": "s", "include_dir": str(folder), "root": root.as_uri()}


def _write(table: Path, content):
    if isinstance(content, pa.Table):
        pq.write_table(content, table / "part-0.parquet")
        (table / "_SUCCESS").touch()
        (table / "part_$folder$").touch()
    elif content == "cut":  # the footer is whole, a page is not
        pq.write_table(GOOD, table / "part-0.parquet", compression="gzip")
        data = bytearray((table / "part-0.parquet").read_bytes())
        data[4:300] = bytes(296)
        (table / "part-0.parquet").write_bytes(data)
    elif content:
        (table / "part-0.parquet").write_bytes(content)


def verdicts(report: QualityReport):
    return [result.verdict.value for result in report.rules]


def test_kept_rules_pass(answers):
    report = answers["good"]
    assert report.ok
    assert report.message == "Suite s: all 1 rules are kept."
    report.raise_unless_ok()


def test_a_broken_rule_says_which_how_many_rows_and_a_sample(answers):
    report = answers["null"]
    assert verdicts(report) == ["failed", "passed"]
    broken = report.rules[0]
    assert (broken.table, broken.checked, broken.unexpected) == ("t", 4, 1)
    assert broken.sample == ({"city": None, "id": 3},)
    assert broken.message == (
        "t: expect_column_values_to_not_be_null(city): 1 of 4 rows, for example city=None, id=3"
    )
    with pytest.raises(QualityFailed, match="Suite s, 2 rules: 1 broken") as caught:
        report.raise_unless_ok()
    assert "include/expectations/s.yaml" in caught.value.remedy


def test_a_broken_rule_about_a_whole_column_says_what_was_found(answers):
    [broken] = answers["sum"].rules
    assert broken.message == (
        "t: expect_column_sum_to_be_between(id): observed 10, expected max_value=5"
    )


def test_mostly_passes_and_still_counts(answers):
    [result] = answers["mostly"].rules
    assert (result.verdict, result.checked, result.unexpected) == ("passed", 4, 1)


def test_without_key_columns_the_bad_value_is_still_shown(answers):
    [broken] = answers["no key columns"].rules
    assert (broken.verdict, broken.unexpected) == ("failed", 1)
    assert broken.sample == ({"amount": 400.0},)


def test_rows_are_counted_without_reading_a_column(answers):
    assert answers["nothing but the row count"].ok


def test_a_missing_column_is_not_bad_data_and_hides_no_other_rule(answers):
    report = answers["no column"]
    assert verdicts(report) == ["unchecked", "failed", "passed"]
    assert report.rules[0].error == "no column town"
    assert report.verdict is Verdict.FAILED  # the known evil is the verdict


def test_only_missing_columns_end_as_unchecked(answers):
    report = answers["no columns at all"]
    assert report.verdict is Verdict.UNCHECKED
    with pytest.raises(
        QualityUnchecked,
        match=r"1 could not be checked\.\nt: 1 rule could not be checked: no column town",
    ):
        report.raise_unless_ok()


def test_a_rule_about_all_columns_sees_all_columns(answers):
    assert answers["table columns"].ok


def test_a_row_condition_sees_the_column_it_names(answers):
    assert answers["row condition"].ok


def test_the_sample_under_a_row_condition_is_of_the_right_rows(answers):
    [broken] = answers["row condition broken"].rules
    assert (broken.unexpected, broken.sample) == (1, ({"city": None, "id": 3},))


def test_many_bad_rows_are_counted_and_not_looked_up_one_by_one(answers):
    report = answers["all rows bad"]
    assert report.rules[0].unexpected == 300_000
    assert len(report.rules[0].sample) == 5
    assert report.duration_s < 10  # 0.2 s; one by one 27 s


def test_a_rule_that_does_not_fit_the_column_is_unchecked(answers):
    [result] = answers["text compared with a number"].rules
    assert result.verdict is Verdict.UNCHECKED
    assert "same type" in result.error


def test_a_rule_that_needs_a_lazily_loaded_library_works(answers):
    assert answers["lazy statistics"].ok


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("corrupt", "cannot be read"),
        ("cut short", "cannot be read"),
        ("no table", "does not exist"),
        ("no files", "holds no file"),
        ("unreadable scheme", "'hdfs' cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_is_unchecked(answers, case, reason):
    report = answers[case]
    assert set(verdicts(report)) == {"unchecked"}
    assert all(reason in result.error for result in report.rules)


def test_an_unknown_expectation_is_refused(answers):
    answer = answers["unknown type"]
    assert answer["error"] == "ConfigError"
    assert "no expectation 'expect_column_values_to_be_lovely'" in answer["problem"]


def test_an_unknown_argument_is_refused(answers):
    assert answers["unknown argument"]["error"] == "ConfigError"
    assert "valu extra fields not permitted" in answers["unknown argument"]["problem"]


def test_reports_survive_json(answers):
    for answer in answers.values():
        if isinstance(answer, QualityReport):
            text = json.dumps(answer.to_json(), allow_nan=False)
            assert QualityReport.from_json(json.loads(text)) == answer


def test_spark_and_databases_are_not_imported(evaluated):
    assert evaluated.heavy == []
