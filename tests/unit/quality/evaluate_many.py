"""Evaluate many suites in one process: a list of requests on stdin, of answers on stdout.

Tests do not evaluate in their own process, where the lean import would hide Spark and
SQLAlchemy from the tests that follow.
"""

import json
import os
import sys
from pathlib import Path

from dataharbour.errors import DataHarbourError
from dataharbour.quality.evaluate import evaluate_suite
from dataharbour.quality.suites import load_suite


def answer(request):
    try:
        suite = load_suite(request["suite"], include_dir=Path(request["include_dir"]))
        return evaluate_suite(suite, request["root"], environ=os.environ).to_json()
    except DataHarbourError as error:
        return {"error": type(error).__name__, "problem": error.problem, "remedy": error.remedy}


if __name__ == "__main__":
    to_caller = os.dup(1)
    os.dup2(2, 1)
    answers = [answer(request) for request in json.load(sys.stdin)]
    heavy = sorted({"pyspark", "sqlalchemy", "boto3", "botocore"} & set(sys.modules))
    with open(to_caller, "w") as stream:
        json.dump({"answers": answers, "heavy": heavy}, stream)
