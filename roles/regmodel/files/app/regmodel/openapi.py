"""The OpenAPI description: /predict's body is described from the model that is served when it is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from regmodel.model import Model

JSON_TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "description": "ISO 8601, without a time zone"},
}

_MODEL = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "run_id": {"type": ["string", "null"]},
    },
}
_PROBLEM = {
    "type": "object",
    "properties": {
        "row": {"type": ["integer", "null"]},
        "field": {"type": ["string", "null"]},
        "type": {"type": "string"},
        "msg": {"type": "string"},
    },
}


def _answer(description: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_DETAIL = {"type": "string"}
PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _answer("One prediction a row", predictions={"type": "array", "items": {}}, model=_MODEL),
    401: _answer("No API key, or a wrong one", detail=_DETAIL),
    408: _answer("The body came too slowly", detail=_DETAIL),
    413: _answer("The body is larger than the rows of one request can need", detail=_DETAIL),
    415: _answer("The body is compressed", detail=_DETAIL),
    422: _answer(
        "The body does not fit the model's signature",
        detail={"type": "array", "items": _PROBLEM},
        count={"type": "integer"},
    ),
    500: _answer("The model itself failed", detail=_DETAIL, model=_MODEL),
    503: _answer("No model is served, or too many large bodies came at once; the reason is said", detail=_DETAIL),
}


def describe(app: FastAPI, served: Callable[[], Model | None], *, protected: bool) -> None:
    """Make `app.openapi()` describe the body of /predict, and the API key where one is asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
        document = copy.deepcopy(app.openapi_schema)
        predict = document["paths"]["/predict"]["post"]
        # Where a key is asked for, the model's fields are not told without it: /model tells them.
        predict["requestBody"] = _request_body(None if protected else served())
        if protected:
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            schemes["bearer"] = {"type": "http", "scheme": "bearer"}
            for operation in (predict, document["paths"]["/model"]["get"]):
                operation["security"] = [{"key": []}, {"bearer": []}]
                operation["responses"]["401"] = PREDICT_RESPONSES[401]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _request_body(model: Model | None) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "object"}
    content: dict[str, Any] = {}
    if model is not None:
        fields = model.schema.fields
        row["properties"] = {field.name: JSON_TYPES[field.type] for field in fields}
        row["required"] = [field.name for field in fields if field.required]
        row["additionalProperties"] = False
        if model.example:
            content["example"] = {"inputs": model.example[:1]}
    rows = {"type": "array", "items": row, "minItems": 1}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": {"type": "array", "items": {}}},
        },
        "required": ["columns", "data"],
    }
    forms = {"inputs": rows, "dataframe_records": rows, "dataframe_split": split}
    content["schema"] = {
        "oneOf": [
            {"type": "object", "properties": {name: form}, "required": [name], "additionalProperties": False}
            for name, form in forms.items()
        ]
    }
    return {"required": True, "content": {"application/json": content}}
