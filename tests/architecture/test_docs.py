"""The documentation says what the code does: generated pages, verbs, settings, links."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from dataharbour.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(p for p in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


def test_the_generated_pages_are_as_the_code_says():
    done = subprocess.run(
        [sys.executable, ROOT / "docs/reference/generate.py", "--check"], check=False
    )
    assert done.returncode == 0, "run: python docs/reference/generate.py"


def test_every_verb_is_documented():
    from dataharbour.cli.main import app

    page = (ROOT / "docs/reference/cli.md").read_text()
    verbs = {c.name or c.callback.__name__ for c in app.registered_commands}
    jobs = app.registered_groups[0].typer_instance.registered_commands
    verbs |= {f"job {c.name or c.callback.__name__}" for c in jobs}
    missing = [verb for verb in sorted(verbs) if not re.search(rf"\| `{verb}[ `]", page)]
    assert missing == []


def test_every_setting_is_documented():
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert [f.name for f in fields(Settings) if f"| `{f.name}` |" not in page] == []


def test_every_address_and_every_error_code_of_the_api_is_documented():
    from types import SimpleNamespace

    from dataharbour.api.answers import public_problems
    from dataharbour.api.app import create_app

    page = (ROOT / "docs/reference/api.md").read_text()
    app = create_app(SimpleNamespace(access=None))
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    addresses = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert [a for a in addresses if f"`{a.replace(':path}', '}')}`" not in page] == []
    document = app.openapi()
    codes = {kind.code for kind in public_problems()}
    assert [code for code in codes if f"| `{code}` |" not in page] == []
    answers = [
        answer
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
    ]
    of_the_router = {"not-found", "route-not-found", "method-not-allowed"}
    assert codes == {code for a in answers for code in a.get("x-codes", ())} | of_the_router
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"\n## {method.upper()} {path}\n" in page
            if path.startswith("/api/v1/"):
                assert "x-codes" in operation["responses"]["default"]
            for answer in operation["responses"].values():
                named = answer.get("x-codes", ())
                assert [code for code in named if f"`{code}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_a_page_lead_to_a_heading(page):
    links = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text())
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]
    pages = [(target, anchor) for target, anchor in targets if target.suffix == ".md"]
    assert [(str(p), anchor) for p, anchor in pages if anchor not in anchors(p)] == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them: the second of a name gets -1."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    found: Counter[str] = Counter()
    named = set()
    for heading in re.findall(r"(?m)^#+ (.+?)\s*$", text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
        named.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return named


@pytest.mark.parametrize("dag_file", sorted((ROOT / "dags").glob("*.py")), ids=lambda f: f.name)
def test_every_dag_file_has_a_runbook(dag_file):
    assert (ROOT / "docs/runbooks" / f"{dag_file.stem}.md").exists()
