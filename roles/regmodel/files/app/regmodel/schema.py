"""Rows of a request, checked against the inputs of a model's MLflow signature."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

# MLflow's scalar types (https://mlflow.org/docs/latest/ml/model/signatures) and the numpy type that its
# schema enforcement wants in the frame.
DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "datetime": "datetime64[ns]",
}
_BITS = {"integer": 31, "long": 63}
_FLOAT32_MAX = 3.4028234663852886e38
_NO_NULL = ("boolean", "integer", "long")
# How many problems of a request are told, and how many are counted before the rest is not looked at.
_LISTED = 50
_COUNTED = 1000
_SHOWN = 100
_ENCODER = json.JSONEncoder(ensure_ascii=False)


class UnusableSignature(ValueError):
    """The model's signature is missing, or says something a JSON row cannot hold."""


class InvalidInput(ValueError):
    """The request does not fit the signature.

    problems: up to 50 of {"row": int or None, "field": str or None, "type": str, "msg": str}.
    count: how many there are; at 1000 the rest of the request was not looked at.
    """

    def __init__(self, problems: list[dict[str, Any]], count: int | None = None) -> None:
        self.problems = problems
        self.count = len(problems) if count is None else count
        super().__init__("; ".join(problem["msg"] for problem in problems[:3]))


class _Wrong(Exception):
    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


def short(text: str) -> str:
    """The beginning of a text of somebody else's, as UTF-8 can hold it: JSON can escape half a character."""
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def problem(kind: str, msg: str, row: int | None = None, field: str | None = None) -> dict[str, Any]:
    """One entry of a 422 answer."""
    return {"row": row, "field": None if field is None else short(field), "type": kind, "msg": msg}


class Problems:
    """What is wrong with a request; raises InvalidInput when it is enough."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: list[dict[str, Any]] = []

    def add(self, kind: str, msg: str, row: int | None = None, field: str | None = None) -> None:
        """Take one more."""
        self.count += 1
        if self.count <= _LISTED:
            self._listed.append(problem(kind, msg, row, field))
        if self.count == _COUNTED:
            self.check()

    def check(self) -> None:
        """Raise InvalidInput if there is any."""
        if self.count:
            raise InvalidInput(self._listed, self.count)


@dataclass(frozen=True)
class Field:
    """One input column: its name, its MLflow type (a key of DTYPES), and whether a row must have it."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True)
class Schema:
    """The inputs of a model, in the signature's order."""

    fields: tuple[Field, ...]

    @classmethod
    def from_signature(cls, signature: Any) -> Schema:
        """Take the inputs of a mlflow.models.ModelSignature. Raises UnusableSignature."""
        if signature is None or signature.inputs is None:
            raise UnusableSignature("it has no signature: log it with signature=infer_signature(X, y)")
        inputs = signature.inputs
        if inputs.is_tensor_spec() or not inputs.has_input_names():
            raise UnusableSignature("its signature has no named columns: log it with a DataFrame as input")
        fields = []
        for column in inputs.inputs:
            kind = getattr(column.type, "name", str(column.type))
            if kind not in DTYPES:
                raise UnusableSignature(f"column {column.name!r} is of type {kind}; usable are {', '.join(DTYPES)}")
            fields.append(Field(column.name, kind, column.required))
        return cls(tuple(fields))

    def columns(self, rows: Iterable[Any]) -> dict[str, list[Any]]:
        """Turn rows into columns of Python values, all of the signature's types.

        An optional field that no row has is left out. Raises InvalidInput with the problems of all rows.
        """
        problems = Problems()

        def report(kind: str, row: int, field: str | None, text: str) -> None:
            place = f"row {row}" if field is None else f"row {row}, field {short(field)!r}"
            problems.add(kind, f"{place}: {text}", row, field)

        known = {field.name for field in self.fields}
        columns: dict[str, list[Any]] = {field.name: [] for field in self.fields}
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                report("wrong_type", index, None, f"an object with one value a field is wanted, not {_shown(row)}")
                continue
            for name in row:
                if name not in known:
                    report("unknown_field", index, name, "the model has no such field")
            for field in self.fields:
                value = None
                try:
                    value = _value(field, row)
                except _Wrong as wrong:
                    report(wrong.kind, index, field.name, str(wrong))
                columns[field.name].append(value)
        problems.check()
        for field in self.fields:
            values = columns[field.name]
            if not field.required and all(value is None for value in values):
                del columns[field.name]
            elif field.type in _NO_NULL:
                for index, value in enumerate(values):
                    if value is None:
                        report("missing", index, field.name, f"null or absent here, but a {field.type} in other rows")
        problems.check()
        return columns

    def frame(self, columns: dict[str, list[Any]]) -> pandas.DataFrame:
        """Build the DataFrame that the model gets from what `columns` returned."""
        import pandas  # slow, and not needed to answer /health

        types = {field.name: DTYPES[field.type] for field in self.fields}
        return pandas.DataFrame({name: pandas.Series(values, dtype=types[name]) for name, values in columns.items()})


def _value(field: Field, row: dict[str, Any]) -> Any:
    if field.name not in row:
        if field.required:
            raise _Wrong("missing", f"missing, a {field.type} is wanted")
        return None
    value = row[field.name]
    if value is None:
        if field.required:
            raise _Wrong("missing", f"null, a {field.type} is wanted")
        return None
    if field.type in ("float", "double"):
        return _real(field.type, value)
    if field.type in ("integer", "long"):
        return _whole(field.type, value)
    if field.type == "datetime":
        return _moment(value)
    wanted = bool if field.type == "boolean" else str
    if not isinstance(value, wanted):
        raise _Wrong("wrong_type", f"{_shown(value)} is not a {field.type}")
    if field.type == "string":
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Wrong("wrong_type", f"{_shown(value)} has half a character, which UTF-8 cannot hold") from None
    return value


def _real(kind: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("wrong_type", f"{_shown(value)} is not a number ({kind})")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise _Wrong("not_finite", "NaN is not accepted")
    if math.isinf(number):
        raise _Wrong("not_finite", "infinite, or too large for a double")
    if kind == "float" and abs(number) > _FLOAT32_MAX:
        raise _Wrong("out_of_range", "too large for a float (32 bits)")
    return number


def _whole(kind: str, value: Any) -> int:
    # JSON does not tell 5 from 5.0, and some clients write the latter.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong("wrong_type", f"{_shown(value)} is not a whole number ({kind})")
    if not -(2 ** _BITS[kind]) <= value < 2 ** _BITS[kind]:
        raise _Wrong("out_of_range", f"outside the range of {kind} ({_BITS[kind] + 1} bits)")
    return value


def _moment(value: Any) -> datetime:
    text = _shown(value)
    if not isinstance(value, str):
        raise _Wrong("wrong_type", f"{text} is not a date and time (a string in ISO 8601)")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Wrong("wrong_type", f"{text} is not a date and time in ISO 8601") from None
    if moment.tzinfo is not None:
        raise _Wrong("wrong_type", f"{text} has a time zone; the model's times have none")
    if not 1678 <= moment.year <= 2261:  # datetime64[ns]
        raise _Wrong("out_of_range", f"{text} is outside the years 1678 to 2261")
    return moment


def _shown(value: Any) -> str:
    text = ""
    # Piece by piece: what is shown is short, and what was sent need not be.
    for piece in _ENCODER.iterencode(value[:40] if isinstance(value, str) else value):
        text += piece
        if len(text) > 40:
            break
    return short(text if len(text) <= 40 else text[:37] + "...")
