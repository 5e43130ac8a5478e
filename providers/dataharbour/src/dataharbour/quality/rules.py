"""Evaluate the rules of one table with Great Expectations, over a pandas frame.

The one module that uses Great Expectations. It is imported inside, so that importing this
module costs nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataharbour.errors import ConfigError
from dataharbour.quality.lean_import import great_expectations
from dataharbour.quality.report import RuleResult, Verdict
from dataharbour.quality.suites import Rule, TableRules

if TYPE_CHECKING:
    import pandas

SAMPLE_ROWS = 5
# Places of bad rows in the frame. Great Expectations can look up their key columns itself, one
# row at a time and for all bad rows: 27 s when 300,000 are bad, against 0.2 s.
_RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE_ROWS}


def check_rules(table: TableRules) -> None:
    """See that Great Expectations knows each rule and accepts its arguments.

    Raises:
        ConfigError: it does not. Left to itself it would log that, drop the rule and pass.
    """
    for index, rule in enumerate(table.rules):
        _expectation(table.table, rule, index)


def evaluate_rules(table: TableRules, frame: pandas.DataFrame) -> tuple[RuleResult, ...]:
    """The verdict on every rule of `table`; `frame` holds the columns that they name."""
    found = _validate(table, frame)
    return tuple(
        _result(table, rule, found[index], frame) for index, rule in enumerate(table.rules)
    )


def _validate(table: TableRules, frame: pandas.DataFrame) -> dict[int, dict[str, Any]]:
    """Great Expectations' own result of each rule, by the rule's index."""
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    expectations = [_expectation(table.table, rule, i) for i, rule in enumerate(table.rules)]
    suite = gx.ExpectationSuite(name=table.table, expectations=expectations)
    outcome = batch.validate(suite, result_format=_RESULT_FORMAT)
    return evaluated_as_declared(table, [result.to_json_dict() for result in outcome.results])


def evaluated_as_declared(
    table: TableRules, results: Iterable[dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    """`results` by the index of their rule, when there is exactly one for each rule.

    Raises:
        ConfigError: a rule was dropped on the way.
    """
    found = {result["expectation_config"]["meta"]["rule"]: result for result in results}
    if sorted(found) != list(range(len(table.rules))):
        raise ConfigError(
            f"{table.table}: Great Expectations ran {len(found)} of {len(table.rules)} rules.",
            "Look in the log for the rule that it left out.",
        )
    return found


def _expectation(table: str, rule: Rule, index: int) -> Any:
    great_expectations()
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import get_expectation_impl

    try:
        return get_expectation_impl(rule.type)(**rule.kwargs, meta={"rule": index})
    except ExpectationNotFoundError:
        raise ConfigError(
            f"{table}: Great Expectations has no expectation {rule.type!r}.",
            "Take one of https://greatexpectations.io/expectations, spelled as there.",
        ) from None
    except (TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        arguments = " ".join(str(error).split())
        raise ConfigError(
            f"{table}: the arguments of {rule.id} do not fit: {arguments}",
            f"Correct `kwargs`; they are those of Great Expectations' {rule.type}.",
        ) from error


def _exception(result: Mapping[str, Any]) -> str | None:
    """Why the rule could not be evaluated; flat, or nested by metric, as the library likes."""
    info = result.get("exception_info") or {}
    for part in (info, *(value for value in info.values() if isinstance(value, Mapping))):
        if part.get("raised_exception"):
            return " ".join(str(part.get("exception_message")).split())
    return None


def _result(
    table: TableRules, rule: Rule, result: Mapping[str, Any], frame: pandas.DataFrame
) -> RuleResult:
    detail = result.get("result") or {}
    error = _exception(result)
    named = {"column", "column_A", "column_B", "column_list"}
    return RuleResult(
        table=table.table,
        rule=rule.id,
        type=rule.type,
        columns=rule.columns,
        verdict=_verdict(result, error),
        checked=detail.get("element_count"),
        unexpected=detail.get("unexpected_count"),
        observed=_plain(detail.get("observed_value")),
        expected={name: value for name, value in rule.kwargs.items() if name not in named},
        sample=_sample(frame, detail.get("partial_unexpected_index_list"), rule, table.keys),
        error=error,
    )


def _sample(
    frame: pandas.DataFrame, places: Sequence[int] | None, rule: Rule, keys: Sequence[str]
) -> tuple[Mapping[str, Any], ...]:
    """The rows at `places` of `frame`: the rule's columns, then the keys."""
    columns = [name for name in dict.fromkeys((*rule.columns, *keys)) if name in frame.columns]
    rows = frame.loc[list(places or ()), columns].to_dict("records")
    return tuple(_plain(row) for row in rows)


def _verdict(result: Mapping[str, Any], error: str | None) -> Verdict:
    if error:
        return Verdict.UNCHECKED
    return Verdict.PASSED if result["success"] else Verdict.FAILED


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: NaN becomes null, what JSON does not know becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return json.loads(json.dumps(value, default=str))
