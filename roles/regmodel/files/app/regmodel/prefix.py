"""Behind a proxy under a path: requests are the same with that path and without it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Tells the application its path at the proxy, so that links it makes are right there.

    Starlette wants the path to be in each request; a proxy may have stripped it, and a probe on the host never sends it.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path != self._path and not path.startswith(self._path + "/"):
                path = self._path + path
            scope = {**scope, "path": path, "root_path": self._path}
        await self._app(scope, receive, send)
