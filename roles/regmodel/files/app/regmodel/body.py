"""The three forms of a /predict body, turned into rows."""

from __future__ import annotations

import json
from typing import Any

from regmodel.schema import InvalidInput, problem

# `inputs` is ours; the other two are those of MLflow's scoring server, so that its clients work unchanged.
FORMS = ("inputs", "dataframe_records", "dataframe_split")


def rows_from_body(raw: bytes, max_rows: int) -> list[Any]:
    """Parse a body and return its rows (not yet checked against a signature).

    Raises InvalidInput: not JSON, not exactly one of FORMS, no row, or more than max_rows.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput([problem("json_invalid", f"the body is not JSON: {error}")]) from None
    if not isinstance(body, dict):
        raise InvalidInput([problem("wrong_type", 'the body must be an object: {"inputs": [{...}]}')])
    unknown = sorted(body.keys() - set(FORMS))
    given = [form for form in FORMS if form in body]
    problems = [problem("unknown_key", f"{key!r}: the body has no such key", field=key) for key in unknown]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        problems.append(problem("missing", f"the body must have exactly one of {', '.join(FORMS)}; it has {found}"))
    if problems:
        raise InvalidInput(problems)
    form = given[0]
    rows = _split(body[form]) if form == "dataframe_split" else body[form]
    if not isinstance(rows, list):
        raise InvalidInput([problem("wrong_type", f"{form} must be a list of rows", field=form)])
    if not rows:
        raise InvalidInput([problem("empty", f"{form} has no rows", field=form)])
    if len(rows) > max_rows:
        text = f"{len(rows)} rows, but one request may have {max_rows}"
        raise InvalidInput([problem("too_many_rows", text, field=form)])
    return rows


def _split(frame: Any) -> list[Any]:
    """Rows of a frame in pandas' `split` orientation: {"columns": [...], "data": [[...], ...]}."""
    name = "dataframe_split"
    if not isinstance(frame, dict) or not frame.keys() <= {"columns", "data", "index"}:
        raise InvalidInput([problem("wrong_type", f'{name} must be {{"columns": [...], "data": [[...]]}}', field=name)])
    columns, data = frame.get("columns"), frame.get("data")
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise InvalidInput([problem("wrong_type", f"{name}.columns must be a list of names", field=name)])
    if len(set(columns)) != len(columns):
        raise InvalidInput([problem("duplicate", f"{name}.columns has a name twice", field=name)])
    if not isinstance(data, list):
        raise InvalidInput([problem("wrong_type", f"{name}.data must be a list of lists", field=name)])
    problems = []
    for index, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(columns):
            problems.append(problem("wrong_type", f"row {index}: a list of {len(columns)} values is wanted", index))
    if problems:
        raise InvalidInput(problems[:50], len(problems))
    return [dict(zip(columns, values, strict=True)) for values in data]
