"""Read the tables that a job has staged and evaluate a suite on them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataharbour.errors import QualityUnchecked
from dataharbour.quality.report import QualityReport, RuleResult, Verdict
from dataharbour.quality.rules import check_rules, evaluate_rules
from dataharbour.quality.suites import Rule, Suite, TableRules
from dataharbour.quality.tables import open_table, read_columns

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


def evaluate_suite(suite: Suite, root: str, *, environ: Mapping[str, str]) -> QualityReport:
    """Evaluate every rule of `suite` on the tables below `root`.

    Args:
        suite: what must hold.
        root: URI of the output root, ``s3a://…`` or ``file://…``.
        environ: where the S3 access comes from, under AWS's own names.

    Raises:
        ConfigError: the suite holds a rule that cannot be evaluated on any data.
    """
    started = time.monotonic()
    for table in suite.tables:
        check_rules(table)
    results = [result for table in suite.tables for result in _evaluate_table(table, root, environ)]
    return QualityReport(suite.name, root, tuple(results), round(time.monotonic() - started, 3))


def _evaluate_table(
    table: TableRules, root: str, environ: Mapping[str, str]
) -> tuple[RuleResult, ...]:
    try:
        staged = open_table(root, table.table, environ=environ)
        return _evaluate_opened(table, staged)
    except QualityUnchecked as error:
        return tuple(_unchecked(table.table, rule, error.problem) for rule in table.rules)


def _evaluate_opened(table: TableRules, staged: Dataset) -> tuple[RuleResult, ...]:
    there = set(staged.schema.names)
    missing = {
        rule.id: _unchecked(table.table, rule, f"no column {', '.join(absent)}")
        for rule in table.rules
        if (absent := [name for name in rule.columns if name not in there])
        and not rule.needs_every_column
    }
    checkable = tuple(rule for rule in table.rules if rule.id not in missing)
    if not checkable:
        return tuple(missing.values())
    frame = read_columns(staged, columns_needed(checkable, table.keys, there))
    reduced = TableRules(table.table, table.keys, checkable)
    found = {result.rule: result for result in evaluate_rules(reduced, frame)} | missing
    return tuple(found[rule.id] for rule in table.rules)


def columns_needed(
    rules: tuple[Rule, ...], keys: tuple[str, ...], there: set[str]
) -> list[str] | None:
    """The columns to read for `rules` and for samples; None when a rule needs all of them."""
    if any(rule.needs_every_column for rule in rules):
        return None
    named = [column for rule in rules for column in rule.columns]
    return [column for column in dict.fromkeys([*named, *keys]) if column in there]


def _unchecked(table: str, rule: Rule, reason: str) -> RuleResult:
    return RuleResult(table, rule.id, rule.type, rule.columns, Verdict.UNCHECKED, error=reason)
