"""The HTTP side: routes, and the one place where what went wrong becomes a status code."""

from __future__ import annotations

import hmac
import logging
import math
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from regmodel import __version__
from regmodel.body import body_bytes, row_bytes, rows_from_body
from regmodel.follower import Follower, Status
from regmodel.intake import SMALL_BYTES, Intake, NotTaken
from regmodel.metrics import Metrics
from regmodel.model import Model
from regmodel.openapi import PREDICT_RESPONSES, describe
from regmodel.page import render
from regmodel.prefix import Prefix
from regmodel.registry import one_line
from regmodel.schema import InvalidInput
from regmodel.settings import Settings

log = logging.getLogger("regmodel.api")

# How many bodies that are not small are worked on at one time. Each may need some hundred megabytes.
LARGE_AT_ONCE = 1
# How long a thread that checks a body keeps the interpreter from the event loop, in seconds; Python's own 0.005 would add up.
SWITCH_SECONDS = 0.001


class Refused(Exception):
    """A request that gets no prediction: the status, the JSON body and the headers of the answer."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        super().__init__(body["detail"])


def create_app(settings: Settings, follower: Follower, metrics: Metrics) -> FastAPI:
    """Build the application. The follower is started and stopped with it."""

    intake = Intake()
    large = CapacityLimiter(LARGE_AT_ONCE)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_SECONDS)
        follower.start()
        yield
        follower.stop()

    app = FastAPIOffline(
        title="RegModel",
        version=__version__,
        summary=f"Serves the model that alias {settings.alias} of {settings.model_name} points to.",
        redoc_url=None,
        lifespan=lifespan,
    )
    describe(app, lambda: follower.status.model, protected=settings.api_key is not None)
    if settings.prefix:
        app.add_middleware(Prefix, path=settings.prefix)

    @app.exception_handler(Refused)
    async def refused(_request: Request, refused: Refused) -> Response:
        return JSONResponse(refused.body, refused.status, refused.headers)

    @app.get("/health", tags=["state"], summary="200 while the process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["state"], summary="200 if a model is loaded, else 503 with the reason")
    async def ready() -> Response:
        status = follower.status
        if status.model is None:
            return JSONResponse({"status": "no model", "detail": status.reason}, 503)
        return JSONResponse({"status": "ready", "model": status.model.version.public(), "problem": status.problem})

    @app.get("/model", tags=["state"], summary="What is served, and what it wants; 503 with the reason if nothing is")
    async def model(request: Request) -> Response:
        _authorize(settings, request)
        status = follower.status
        body = describe_model(settings, status)
        return JSONResponse(body, 200 if status.model else 503)

    @app.get("/metrics", tags=["state"], summary="Metrics in Prometheus' text format", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/predict", tags=["predict"], summary="Predict one value a row", responses=PREDICT_RESPONSES)
    async def predict(request: Request) -> Response:
        started = time.perf_counter()
        try:
            _authorize(settings, request)
            loaded = _model(follower.status)
            async with intake.body(request, body_bytes(loaded.schema, settings.max_rows)) as raw:
                lane = large if len(raw) > SMALL_BYTES else None
                answer = await to_thread.run_sync(_predict, loaded, raw, settings.max_rows, metrics, limiter=lane)
        except Refused as refused:
            answer = JSONResponse(refused.body, refused.status, refused.headers)
        except NotTaken as error:
            headers = {"Connection": "close"} | ({"Retry-After": "5"} if error.status == 503 else {})
            answer = JSONResponse({"detail": str(error)}, error.status, headers)
        metrics.requests.labels(str(answer.status_code)).inc()
        metrics.seconds.observe(time.perf_counter() - started)
        return answer

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        # Without the key it says no more than /ready: it asks for the key, and then for itself.
        shown = describe_model(settings, follower.status) if _is_authorized(settings, request) else None
        html = render(shown, nonce, prefix=settings.prefix)
        headers = {"Content-Security-Policy": _page_policy(nonce), "Cache-Control": "no-store"}
        return HTMLResponse(html, 200 if shown or not _given_key(request) else 401, headers)

    return app


def describe_model(settings: Settings, status: Status) -> dict[str, Any]:
    """The body of /model; `detail` is there only while no model is served."""
    polled = datetime.fromtimestamp(status.polled_at, UTC).isoformat(timespec="seconds") if status.polled_at else None
    following = {
        "name": settings.model_name,
        "alias": settings.alias,
        "alias_version": status.alias_version,
        "loading": status.loading,
        "problem": status.problem,
        "polled_at": polled,
    }
    model = status.model
    if model is None:
        return {"detail": status.reason, **following}
    inputs = [{"name": field.name, "type": field.type, "required": field.required} for field in model.schema.fields]
    return {
        **model.version.public(),
        **following,
        "loaded_at": model.loaded_at,
        "signature": {"inputs": inputs, "outputs": model.outputs},
        # JSON has no NaN and no infinity.
        "metrics": {name: value if math.isfinite(value) else None for name, value in model.metrics.items()},
        "metrics_not_finite": {name: str(value) for name, value in model.metrics.items() if not math.isfinite(value)},
        "example": {"inputs": model.example[:1]} if model.example else None,
    }


def _given_key(request: Request) -> str:
    given = request.headers.get("x-api-key", "")
    scheme, _blank, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if not given and scheme.lower() == "bearer" else given


def _is_authorized(settings: Settings, request: Request) -> bool:
    if settings.api_key is None:
        return True
    # Header bytes arrive decoded as Latin-1; a client that has a key beyond ASCII sends it in UTF-8.
    return hmac.compare_digest(_given_key(request).encode("latin-1"), settings.api_key.encode())


def _authorize(settings: Settings, request: Request) -> None:
    if not _is_authorized(settings, request):
        said = "wrong API key" if _given_key(request) else "an API key is needed"
        detail = f"{said}: send it as 'X-API-Key: ...' or 'Authorization: Bearer ...'"
        raise Refused(401, {"detail": detail}, {"WWW-Authenticate": "Bearer"})


def _model(status: Status) -> Model:
    if status.model is None:
        raise Refused(503, {"detail": status.reason}, {"Retry-After": "5"})
    return status.model


def _predict(model: Model, raw: bytearray, max_rows: int, metrics: Metrics) -> Response:
    """Check and predict, in a worker thread; the model is the one that was served when the request came.

    It raises nothing: a thread keeps what its last call raised, and with that the body.
    """
    try:
        columns = model.schema.columns(rows_from_body(raw, max_rows, row_bytes(model.schema)))
    except InvalidInput as error:
        return JSONResponse({"detail": error.problems, "count": error.count}, 422)
    try:
        predictions = model.predict(columns)
        answer = JSONResponse({"predictions": predictions, "model": model.version.public()})
    except Exception as error:  # a model is somebody's code: whatever it raises is an answer to this request only
        log.exception("version %s failed to predict", model.version.version)
        detail = f"the model failed to predict: {type(error).__name__}: {one_line(error)}"
        return JSONResponse({"detail": detail, "model": model.version.public()}, 500)
    metrics.rows.inc(len(predictions))
    return answer


def _page_policy(nonce: str) -> str:
    inline = f"'nonce-{nonce}'"
    return (
        f"default-src 'none'; script-src {inline}; style-src {inline}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
