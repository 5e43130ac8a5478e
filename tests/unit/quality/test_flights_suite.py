"""The shipped suite of the flights: kept by the real data, and broken by each planted fault."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataharbour.quality.suites import load_suite


def first_rows(table, count, column, value):
    """`column` set to `value` in the first `count` rows."""
    old = table[column]
    planted = pa.array([value] * count, old.type)
    new = pa.chunked_array([planted, *old.slice(count).chunks], old.type)
    return table.set_column(table.column_names.index(column), column, new)


def too_many(rows, kwargs):
    """The smallest number of bad rows that `mostly` does not forgive."""
    return math.floor((1 - kwargs.get("mostly", 1)) * rows) + 1


def nulls(table, kwargs):
    return first_rows(table, too_many(len(table), kwargs), kwargs["column"], None)


def out_of_range(table, kwargs):
    column = kwargs["column"]
    value = kwargs["max_value"] + 1 if "max_value" in kwargs else kwargs["min_value"] - 1
    values = len(table) - table[column].null_count
    table = table.sort_by(column)  # nulls last: the faults go into values
    return first_rows(table, too_many(values, kwargs), column, value)


def one(value_of):
    """The first value of the rule's column is replaced."""
    return lambda table, kwargs: first_rows(
        table, 1, kwargs["column"], value_of(table[kwargs["column"]].slice(0, 2).to_pylist())
    )


def first_row_twice(table, _):
    return pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)])


FAULTS = {  # type of expectation -> what breaks it
    "expect_table_row_count_to_equal": lambda table, _: table.slice(1),
    "expect_table_columns_to_match_ordered_list": lambda table, _: table.select(
        table.column_names[::-1]
    ),
    "expect_compound_columns_to_be_unique": first_row_twice,
    "expect_column_values_to_be_unique": first_row_twice,
    "expect_column_values_to_not_be_null": nulls,
    "expect_column_values_to_be_between": out_of_range,
    "expect_column_values_to_be_in_set": one(lambda _: "?"),
    "expect_column_distinct_values_to_equal_set": one(lambda values: values[1]),
    "expect_column_unique_value_count_to_be_between": one(lambda _: "?"),
    "expect_column_value_lengths_to_equal": one(lambda values: values[0] + "?"),
    "expect_column_sum_to_be_between": one(lambda values: values[0] + 1),
    "expect_column_pair_values_a_to_be_greater_than_b": lambda table, kwargs: first_rows(
        table, 1, kwargs["column_B"], table[kwargs["column_A"]][0].as_py() + 1
    ),
}


@pytest.fixture(scope="module")
def suite(include):
    return load_suite("flights", include_dir=include)


@pytest.fixture(scope="module")
def reports(suite, flights_tables, include, evaluate_all, tmp_path_factory):
    """The report on the good tables, then one for each rule, on a table that breaks it."""
    good = tmp_path_factory.mktemp("good")
    for table, frame in flights_tables.items():
        partitions = ["month"] if table == "silver/flights" else None
        pq.write_to_dataset(as_arrow(frame), good / table, partition_cols=partitions)
    tables = {table: as_arrow(frame) for table, frame in flights_tables.items()}
    roots = [good]
    for table in suite.tables:
        for rule in table.rules:
            roots.append(tmp_path_factory.mktemp("bad"))
            broken = FAULTS[rule.type](needed(tables[table.table], rule), rule.kwargs)
            (roots[-1] / table.table).mkdir(parents=True)
            pq.write_table(broken, roots[-1] / table.table / "part-0.parquet")
    request = {"suite": "flights", "include_dir": str(include)}
    return evaluate_all([request | {"root": root.as_uri()} for root in roots]).answers


def needed(table, rule):
    """Only what the rule looks at: its other rules are then unchecked, which costs nothing."""
    names = table.column_names
    return table if rule.needs_every_column else table.select(list(rule.columns) or names[:1])


def as_arrow(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


def test_the_real_tables_keep_every_rule(reports, suite):
    good, *_ = reports
    assert good.ok, good.message
    assert len(good.rules) == sum(len(table.rules) for table in suite.tables)


def test_every_rule_is_broken_by_its_fault(reports, suite):
    wanted = [(table.table, rule.id) for table in suite.tables for rule in table.rules]
    not_caught = [
        subject
        for subject, report in zip(wanted, reports[1:], strict=True)
        if subject not in {(r.table, r.rule) for r in report.rules if r.verdict == "failed"}
    ]
    assert not_caught == []
