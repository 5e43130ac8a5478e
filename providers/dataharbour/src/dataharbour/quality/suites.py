"""Read the expectations suites of `include/expectations` and check their shape.

Knows nothing of Great Expectations, which takes seconds to import: whether a rule's type and
arguments exist is checked when the suite is evaluated (`rules`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from dataharbour.errors import ConfigError
from dataharbour.packaged import read_packaged

_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")
_COLUMN_LIST_ARGUMENTS = ("column_list", "column_set")


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation.

    Attributes:
        id: what reports call it; unique in its table.
        type: the expectation's name in Great Expectations.
        kwargs: its arguments, JSON values.
    """

    id: str
    type: str
    kwargs: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the arguments name."""
        return _columns_of(self.kwargs)

    @property
    def needs_every_column(self) -> bool:
        """Whether the verdict could change when columns that it does not name are left out."""
        return self.type.startswith("expect_table_column") or "row_condition" in self.kwargs


@dataclass(frozen=True, slots=True)
class TableRules:
    """The rules of one table.

    Attributes:
        table: its path below the output root, e.g. ``gold/delays_by_carrier``.
        keys: columns that identify a row in a sample.
        rules: in the order of the file.
    """

    table: str
    keys: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """The rules of all tables of a job."""

    name: str
    tables: tuple[TableRules, ...]


def load_suite(name: str, *, include_dir: Path) -> Suite:
    """Read `include_dir`/expectations/`name`.yaml.

    Raises:
        ConfigError: no such file, not YAML, or not of the schema's shape.
    """
    path = include_dir / "expectations" / f"{name}.yaml"
    schema = json.loads(read_packaged("schemas/expectations.schema.json"))
    document = _parsed(path)
    problem = best_match(Draft202012Validator(schema).iter_errors(document))
    if problem is not None:
        place = problem.json_path.removeprefix("$.").removeprefix("$") or "the file"
        raise ConfigError(
            f"{path}: {place}: {problem.message}",
            "Correct it; the shape is described in include/schemas/expectations.schema.json.",
        )
    if document["name"] != name:
        raise ConfigError(
            f"{path}: the suite is named {document['name']!r}.",
            f"Give it the name of its file: `name: {name}`.",
        )
    return Suite(
        name, tuple(_table(path, table, body) for table, body in document["tables"].items())
    )


def _parsed(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(
            f"There is no expectations suite {path.stem!r}: {path} does not exist.",
            f"Write it, or name one that exists ({there}).",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", "Correct the file.") from error


def _table(path: Path, table: str, body: Mapping[str, Any]) -> TableRules:
    rules: dict[str, Rule] = {}
    for declared in body["expectations"]:
        kwargs = declared.get("kwargs", {})
        expectation = declared["type"]
        rule = Rule(declared.get("id") or _default_id(expectation, kwargs), expectation, kwargs)
        if rule.id in rules:
            raise ConfigError(
                f"{path}: {table} has two rules {rule.id}.",
                "Remove one, or give each an `id` of its own.",
            )
        rules[rule.id] = rule
    return TableRules(table, tuple(body.get("keys", ())), tuple(rules.values()))


def _default_id(expectation: str, kwargs: Mapping[str, Any]) -> str:
    columns = ", ".join(_columns_of(kwargs))
    return f"{expectation}({columns})" if columns else expectation


def _columns_of(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    single = [kwargs[name] for name in _COLUMN_ARGUMENTS if kwargs.get(name)]
    several = [column for name in _COLUMN_LIST_ARGUMENTS for column in kwargs.get(name) or ()]
    return tuple(dict.fromkeys(single + several))
