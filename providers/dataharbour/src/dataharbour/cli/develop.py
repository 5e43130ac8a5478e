"""Run the project's own checks, tests and benchmarks: what `harbour check|test|bench` do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_QUICK = "not integration and not spark and not browser and not service"


def run_tests(root: Path, arguments: list[str]) -> int:
    """All tests, by pytest. Returns its exit code."""
    return _run(root, [sys.executable, "-m", "pytest", *arguments])


def run_checks(root: Path) -> int:
    """Everything that needs no service. Returns 0, or the first failure's exit code."""
    python = sys.executable
    bin_dir = str(Path(python).parent)
    commands = [
        [python, "-m", "ruff", "check", "."],
        [python, "-m", "ruff", "format", "--check", "."],
        [f"{bin_dir}/uv", "lock", "--check", "--offline", "--quiet"],
        [f"{bin_dir}/lint-imports", "--no-logo"],
        [python, "-m", "mypy"],
        [python, "-m", "pytest", "-q", "-n", "2", "-m", _QUICK],
    ]
    for command in commands:
        began = time.monotonic()
        code = _run(root, command)
        shown = " ".join(Path(part).name if part.startswith("/") else part for part in command)
        print(f"[{time.monotonic() - began:5.1f} s] {shown}: exit code {code}", file=sys.stderr)  # noqa: T201
        if code:
            return code
    return 0


def run_benchmarks(root: Path, arguments: list[str]) -> int:
    """The benchmarks below tests/benchmarks. Returns their exit code."""
    return _run(root, [sys.executable, "tests/benchmarks/run.py", *arguments])


def _run(root: Path, command: list[str]) -> int:
    return subprocess.run(command, cwd=root, check=False).returncode
