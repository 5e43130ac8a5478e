"""Show the API: its OpenAPI schema, Swagger UI and ReDoc, from files of this machine."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

# Scripts and styles come from this server only. Both pages set style attributes from script,
# ReDoc also adds empty <style> elements; it searches in a worker.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def openapi(request: Request) -> dict[str, Any]:
    """The schema, with the address under which it was asked for."""
    return {**schema_of(request.app), "servers": [{"url": request.scope.get("root_path", "")}]}


@router.get("/docs")
def swagger_ui() -> HTMLResponse:
    """Swagger UI: read the API and try it."""
    return HTMLResponse(_page("swagger.html"), headers=PAGE_HEADERS)


@router.get("/redoc")
def redoc() -> HTMLResponse:
    """ReDoc: read the API."""
    return HTMLResponse(_page("redoc.html"), headers=PAGE_HEADERS)


def mount_assets(app: FastAPI) -> None:
    """Serve the pages' scripts and styles, behind the same guard as everything."""
    vendored = files("fastapi_offline").joinpath("static")
    app.mount("/docs-assets/vendor", StaticFiles(directory=str(vendored)), name="docs vendor")
    app.mount(
        "/docs-assets", StaticFiles(directory=str(_assets().joinpath("static"))), name="docs assets"
    )


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI schema; failures carry their own media type."""
    schema = app.openapi()
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                if status >= "4" and "application/json" in content:  # "default" as well
                    content["application/problem+json"] = content.pop("application/json")
    return schema


@cache
def _page(name: str) -> str:
    return _assets().joinpath(name).read_text()


def _assets() -> Traversable:
    return files("dataharbour.api").joinpath("assets")
