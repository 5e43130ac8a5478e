"""A process that evaluates many suites at once, and the folder of the shipped YAML files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dataharbour.quality.report import QualityReport


class Evaluated(NamedTuple):
    """What the process answered: a report each, or the error's document; and what it imported."""

    answers: list[Any]
    heavy: list[str]


@pytest.fixture(scope="session")
def include() -> Path:
    return Path(__file__).parents[3] / "include"


@pytest.fixture(scope="session")
def evaluate_all() -> Callable[[Sequence[dict[str, str]]], Evaluated]:
    """Requests in, answers out, by one process for all of them."""

    def evaluate(requests: Sequence[dict[str, str]]) -> Evaluated:
        script = Path(__file__).with_name("evaluate_many.py")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(script)],
            input=json.dumps(requests),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        answers = [
            answer if "error" in answer else QualityReport.from_json(answer)
            for answer in document["answers"]
        ]
        return Evaluated(answers, document["heavy"])

    return evaluate
