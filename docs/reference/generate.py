"""Write the reference pages that come from the code: python docs/reference/generate.py [--check].

`job-files.md` comes from include/schemas/job.schema.json and the list of Spark settings a job may
set, `api.md` from the API's OpenAPI document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from api_page import api

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def job_files() -> str:
    """The page about include/jobs/*.yaml."""
    from dataharbour.jobs.conf import ALLOWED

    schema = json.loads((ROOT / "include/schemas/job.schema.json").read_text())
    lines = ["# Job files", "", schema["description"], ""]
    lines += _fields(schema)
    for name, part in schema.get("$defs", {}).items():
        if part.get("properties"):
            lines += ["", f"## `{name}`", "", part.get("description", ""), "", *_fields(part)]
    lines += ["", "## Spark settings that a job may set", "", "| key | values |", "|---|---|"]
    for key, rule in sorted(ALLOWED.items()):
        where = "; not on the backend `connect`" if rule.own_spark else ""
        lines.append(f"| `{key}` | {rule.says}{where} |")
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", []))
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else f"`{json.dumps(field.get('default'))}`"
        values = f" One of {', '.join(f'`{v}`' for v in field['enum'])}." if "enum" in field else ""
        text = field.get("description", "").replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {text}{values} |")
    return lines


PAGES = {"job-files.md": job_files, "api.md": api}


def main() -> int:
    """Write the pages, or with --check say which are not as the code says."""
    stale = []
    for name, make in PAGES.items():
        file, text = HERE / name, make()
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                file.write_text(text)
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
