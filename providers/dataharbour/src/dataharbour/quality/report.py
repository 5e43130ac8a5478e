"""What an evaluated suite says: a verdict per rule, in plain JSON values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from dataharbour.errors import QualityFailed, QualityUnchecked

_SHOWN = 5
_SHOWN_ROWS = 3


class Verdict(StrEnum):
    """What became of a rule, or of a whole suite."""

    PASSED = "passed"
    FAILED = "failed"  # the data is bad
    UNCHECKED = "unchecked"  # a missing column, an unreadable table: nothing is known


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The verdict on one rule of one table.

    Attributes:
        table: path below the output root.
        rule: the rule's id.
        type: the expectation's name in Great Expectations.
        columns: those that the rule names.
        verdict: passed, failed or unchecked.
        checked: rows that were looked at; None for a rule about the table as a whole.
        unexpected: rows that broke the rule; None likewise. May be above 0 in a rule that
            passed, when the rule asks for `mostly`.
        observed: what a rule about the table found instead, e.g. a sum.
        expected: the rule's arguments besides its columns.
        sample: up to five bad rows, with the table's key columns.
        error: why the rule could not be checked.
    """

    table: str
    rule: str
    type: str
    columns: tuple[str, ...]
    verdict: Verdict
    checked: int | None = None
    unexpected: int | None = None
    observed: Any = None
    expected: Mapping[str, Any] | None = None
    sample: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None

    @property
    def message(self) -> str:
        """One line: the rule, how many rows, a sample."""
        subject = f"{self.table}: {self.rule}"
        if self.verdict is Verdict.UNCHECKED:
            return f"{subject} could not be checked: {self.error}"
        if self.unexpected is None:
            return f"{subject}: observed {self.observed}, expected {_words(self.expected)}"
        rows = f"{self.unexpected:,} of {self.checked:,} rows"
        shown = "; ".join(_words(row) for row in self.sample[:_SHOWN_ROWS])
        return f"{subject}: {rows}" + (f", for example {shown}" if shown else "")


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The verdict on a suite.

    Attributes:
        suite: its name.
        root: URI of the output root that was looked at.
        rules: in the order of the suite.
        duration_s: reading and evaluating, without the start of the process.
    """

    suite: str
    root: str
    rules: tuple[RuleResult, ...]
    duration_s: float

    @property
    def verdict(self) -> Verdict:
        """Failed when any rule failed, else unchecked when any was not checked, else passed."""
        found = {result.verdict for result in self.rules}
        for verdict in (Verdict.FAILED, Verdict.UNCHECKED):
            if verdict in found:
                return verdict
        return Verdict.PASSED

    @property
    def ok(self) -> bool:
        """Whether every rule was checked and kept."""
        return self.verdict is Verdict.PASSED

    @property
    def message(self) -> str:
        """What was not kept or not checked, a line each, failures first; or that all is well."""
        failed = [rule.message for rule in self.rules if rule.verdict is Verdict.FAILED]
        reasons = Counter(
            (rule.table, rule.error) for rule in self.rules if rule.verdict is Verdict.UNCHECKED
        )
        if not failed and not reasons:
            return f"Suite {self.suite}: all {len(self.rules)} rules are kept."
        counts = [f"{len(failed)} broken"] if failed else []
        counts += [f"{reasons.total()} could not be checked"] if reasons else []
        lines = failed + [
            f"{table}: {count} rule{'s' if count > 1 else ''} could not be checked: {error}"
            for (table, error), count in reasons.items()
        ]
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        head = f"Suite {self.suite}, {len(self.rules)} rules: {', '.join(counts)}."
        return "\n".join([head, *lines[:_SHOWN], *more])

    def raise_unless_ok(self) -> None:
        """Turn a bad verdict into the error that the run ends with.

        Raises:
            QualityFailed: the data broke a rule.
            QualityUnchecked: a rule could not be checked, and none was broken.
        """
        if self.verdict is Verdict.FAILED:
            raise QualityFailed(
                self.message,
                "Correct the data or the job; the published tables stay as they were. "
                f"The rules are in include/expectations/{self.suite}.yaml.",
            )
        if self.verdict is Verdict.UNCHECKED:
            raise QualityUnchecked(
                self.message,
                "See that the job writes these tables and columns, and that "
                f"include/expectations/{self.suite}.yaml names them as they are.",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: for the process pipe, the run's row and the asset's metadata."""
        return {"verdict": self.verdict.value, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The report that `to_json` gave."""
        return cls(
            suite=document["suite"],
            root=document["root"],
            rules=tuple(_rule_result(rule) for rule in document["rules"]),
            duration_s=document["duration_s"],
        )


def _rule_result(document: Mapping[str, Any]) -> RuleResult:
    return RuleResult(
        **{
            **document,
            "columns": tuple(document["columns"]),
            "verdict": Verdict(document["verdict"]),
            "sample": tuple(document["sample"]),
        }
    )


def _words(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (values or {}).items())
