"""Let nobody through without a user: outermost ASGI layer of the API, closed by default.

Every path is guarded (routes, mounts, docs, paths that do not exist), except
the few that are named open. Proves identity and origin; rights are the routes'.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from dataharbour.api.access import STATE_KEY, Access, Caller
from dataharbour.api.problems import problem_response
from dataharbour.errors import DataHarbourError, Forbidden

# Below the mount, compared exactly. Sign-in checks its own ticket, and answers 401 without one.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/sign-in"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Wraps the API.

    Args:
        app: what is guarded.
        access: who knows the users.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its `Caller`, or answer 401 or 403."""
        if scope["type"] == "websocket":  # the API has none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and _path_below_mount(scope) not in OPEN_PATHS:
            try:
                await self._identify(Request(scope))
            except DataHarbourError as error:
                await problem_response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _identify(self, request: Request) -> None:
        user = await self.access.authenticate(request)
        _refuse_cross_site(request)
        caller = Caller(
            user=user,
            name=await run_in_threadpool(self.access.name, user),
            credential=self.access.credential(request),
            access=self.access,
        )
        request.scope.setdefault("state", {})[STATE_KEY] = caller


def _path_below_mount(scope: Scope) -> str:
    path: str = scope["path"]
    mount: str = scope.get("root_path", "")
    return path.removeprefix(mount) if path.startswith(f"{mount}/") else path


def _refuse_cross_site(request: Request) -> None:
    """Refuse a change that another site made the browser send with the login cookie.

    A bearer token is no ambient credential and needs no check. Browsers say
    where a request comes from (Sec-Fetch-Site, else Origin); other clients
    that hold the cookie say neither.

    Raises:
        Forbidden: the request comes from elsewhere.
    """
    headers = request.headers
    if request.method in SAFE_METHODS or headers.get("authorization", "").lower().startswith(
        "bearer "
    ):
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        allowed = site in {"same-origin", "none"}
    else:
        allowed = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not allowed:
        raise Forbidden(
            f"This {request.method} was sent from another site ({origin or site}).",
            "Send it from a page of this server, or with the header Authorization: Bearer TOKEN.",
        )
