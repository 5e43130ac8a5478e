"""Take the ticket of `harbour open`: exchange it for Airflow's login cookie, once."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import RedirectResponse, Response

from dataharbour import tickets
from dataharbour.api.services import ServicesDep

PATH = "/sign-in"
COOKIE = "_token"  # the name of Airflow's login cookie; a contract test compares it

router = APIRouter()


@router.get(PATH, include_in_schema=False)
def sign_in(services: ServicesDep, ticket: Annotated[str, Query()] = "") -> Response:
    """Open to everybody who brings a ticket; everybody else is told to sign in (401)."""
    folder = services.settings.home / "run" / "tickets"
    token = tickets.redeem(folder, ticket, now=time.time())
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="lax", path="/")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
