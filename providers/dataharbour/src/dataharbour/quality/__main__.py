"""The quality process: load Great Expectations, wait for one request, answer it, end.

    python -m dataharbour.quality REQUEST.json
    python -m dataharbour.quality < REQUEST.json

The request is `{"suite": NAME, "include_dir": PATH, "root": URI}`; S3 access comes by the
environment. The answer on standard output is `{"report": …}` or `{"error": …}`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from dataharbour import errors
from dataharbour.quality.evaluate import evaluate_suite
from dataharbour.quality.lean_import import great_expectations
from dataharbour.quality.suites import load_suite


def main(argv: list[str]) -> None:
    """Answer one request and leave at once."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what a library prints is not the answer
    great_expectations()  # before reading: the caller's job runs meanwhile
    text = Path(argv[0]).read_text(encoding="utf-8") if argv else sys.stdin.read()
    if text:  # none: the caller is gone
        answer = _answer(json.loads(text))
        with open(answer_to, "w", encoding="utf-8") as stream:
            json.dump(answer, stream)
    sys.stderr.flush()
    os._exit(0)  # nothing to tidy: taking the modules apart would cost 0.2 s


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        suite = load_suite(request["suite"], include_dir=Path(request["include_dir"]))
        report = evaluate_suite(suite, request["root"], environ=os.environ)
    except errors.DataHarbourError as error:
        kind = type(error).__name__
        return {"error": {"type": kind, "problem": error.problem, "remedy": error.remedy}}
    return {"report": report.to_json()}


if __name__ == "__main__":
    main(sys.argv[1:])
