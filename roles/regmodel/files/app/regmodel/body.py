"""The three forms of a /predict body, turned into rows.

A body is read value by value: one row is in memory at a time, no call of the parser is long (each keeps the interpreter to itself), and
reading ends with what makes the rest pointless.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from regmodel.schema import InvalidInput, Problems, Schema, problem, short

# `inputs` is ours; the other two are those of MLflow's scoring server, so that its clients work unchanged.
FORMS = ("inputs", "dataframe_records", "dataframe_split")
_SPLIT = "dataframe_split"

MAX_BODY_BYTES = 16 * 1024 * 1024
# What any body may have: a few rows may be written with much white space.
MIN_BODY_BYTES = 64 * 1024
# What a value may take in JSON, on average over a body: a number has 24 characters at most, a date and time 28.
_VALUE_BYTES = 64
_STRING_BYTES = 1024
# What one row, or another value that is parsed at once, may have beyond what a row needs; and what most have.
_MORE = 256 * 1024
_WINDOW = 4096

_BLANK = re.compile(r"[ \t\n\r]{0,65536}")
_DECODER = json.JSONDecoder()


def row_bytes(schema: Schema) -> int:
    """What a row of a model can need in JSON."""
    values = (_STRING_BYTES if field.type == "string" else _VALUE_BYTES for field in schema.fields)
    return sum(values) + sum(len(json.dumps(field.name)) for field in schema.fields) + _VALUE_BYTES


def body_bytes(schema: Schema, max_rows: int) -> int:
    """What a body for a model may have."""
    return min(MAX_BODY_BYTES, MIN_BODY_BYTES + max_rows * row_bytes(schema))


def rows_from_body(raw: bytes | bytearray, max_rows: int, row_most: int = 0) -> Iterator[Any]:
    """Parse a body and give its rows one after the other, not yet checked against a signature.

    row_most: what `row_bytes` said. Raises InvalidInput, after some rows too: not JSON, not exactly one of FORMS, no row, or more than max_rows.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput([problem("json_invalid", f"the body is not JSON: it is not UTF-8 at byte {error.start}")]) from None
    reader = _Reader(text, max_rows, row_most + _MORE)
    problems, given = Problems(), []
    reader.opens("{", 'the body must be an object: {"inputs": [{...}]}')
    for key in reader.members():
        if key not in FORMS:
            problems.add("unknown_key", f"{short(key)!r}: the body has no such key", field=key)
            try:
                reader.value()
            except InvalidInput:
                problems.check()
            continue
        given.append(key)
        if len(given) > 1:
            break
        empty = True
        for row in _split_rows(reader) if key == _SPLIT else _record_rows(reader, key):
            empty = False
            yield row
        if empty:
            raise InvalidInput([problem("empty", f"{key} has no rows", field=key)])
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        problems.add("missing", f"the body must have exactly one of {', '.join(FORMS)}; it has {found}")
    problems.check()
    reader.end()


def _record_rows(reader: _Reader, form: str) -> Iterator[Any]:
    reader.opens("[", f"{form} must be a list of rows", form)
    yield from reader.elements(form)


def _split_rows(reader: _Reader) -> Iterator[dict[str, Any]]:
    """Rows of a frame in pandas' `split` orientation: {"columns": [...], "data": [[...], ...]}."""
    wanted = f'{_SPLIT} must be {{"columns": [...], "data": [[...]]}}'
    columns: list[str] | None = None
    data = None
    seen: set[str] = set()
    reader.opens("{", wanted, _SPLIT)
    for key in reader.members():
        if key not in ("columns", "data", "index"):
            raise InvalidInput([problem("wrong_type", wanted, field=_SPLIT)])
        if key in seen:
            raise InvalidInput([problem("duplicate", f"{_SPLIT} has {key} twice", field=_SPLIT)])
        seen.add(key)
        if key == "columns":
            columns = _names(reader.value())
            continue
        reader.opens("[", f"{_SPLIT}.{key} must be a list{' of lists' if key == 'data' else ''}", _SPLIT)
        if key == "data" and columns is not None:
            yield from _named(reader, columns)
        else:
            if key == "data":
                data = reader.at
            for _passed in reader.elements(_SPLIT):
                pass
    if columns is None:
        raise InvalidInput([problem("wrong_type", f"{_SPLIT}.columns must be a list of names", field=_SPLIT)])
    if "data" not in seen:
        raise InvalidInput([problem("wrong_type", f"{_SPLIT}.data must be a list of lists", field=_SPLIT)])
    if data is not None:
        end, reader.at = reader.at, data
        yield from _named(reader, columns)
        reader.at = end


def _names(columns: Any) -> list[str]:
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise InvalidInput([problem("wrong_type", f"{_SPLIT}.columns must be a list of names", field=_SPLIT)])
    if len(set(columns)) != len(columns):
        raise InvalidInput([problem("duplicate", f"{_SPLIT}.columns has a name twice", field=_SPLIT)])
    return columns


def _named(reader: _Reader, columns: list[str]) -> Iterator[dict[str, Any]]:
    problems = Problems()
    for index, values in enumerate(reader.elements(_SPLIT)):
        if not isinstance(values, list) or len(values) != len(columns):
            problems.add("wrong_type", f"row {index}: a list of {len(columns)} values is wanted", row=index)
        elif not problems.count:
            yield dict(zip(columns, values, strict=True))
    problems.check()


class _Reader:
    """Walks over a JSON text. Every method raises InvalidInput where the text is not what it says.

    most: how many characters a value may have that is parsed at once.
    """

    def __init__(self, text: str, max_rows: int, most: int) -> None:
        self.at = 0
        self._text = text
        self._max_rows = max_rows
        self._most = most

    def opens(self, bracket: str, otherwise: str, field: str | None = None) -> None:
        """See that a list or an object is next."""
        found = self._peek()
        if found != bracket:
            if found not in ("{", "[") or len(self._text) - self.at <= self._most:
                self.value()  # or it is no JSON at all
            raise InvalidInput([problem("wrong_type", otherwise, field=field)])

    def members(self) -> Iterator[str]:
        """The keys of the object that is next. Whoever gets one reads its value."""
        self._expect("{")
        if self._take("}"):
            return
        while True:
            if self._peek() != '"':
                raise self._wrong("a key in double quotes is wanted")
            key = self.value()
            self._expect(":")
            yield key
            if not self._take(","):
                self._expect("}")
                return

    def elements(self, field: str) -> Iterator[Any]:
        """The values of the list that is next, at most max_rows."""
        self._expect("[")
        if self._take("]"):
            return
        for count in range(self._max_rows + 1):
            if count == self._max_rows:
                text = f"more than {count} rows, but one request may have {count}"
                raise InvalidInput([problem("too_many_rows", text, field=field)])
            yield self.value()
            if not self._take(","):
                self._expect("]")
                return

    def value(self) -> Any:
        """The value that is next, of any kind."""
        self._peek()
        why = ""
        for size in (_WINDOW, self._most):
            window = self._text[self.at : self.at + size]
            last = self.at + size >= len(self._text)
            try:
                value, end = _DECODER.raw_decode(window)
            except RecursionError:
                raise self._wrong("it is nested too deeply") from None
            except json.JSONDecodeError as error:
                why = f"{error.msg} at character {self.at + error.pos}"
            except ValueError as error:  # a number of very many digits
                why = str(error)
            else:
                if last or end < size:
                    self.at += end
                    return value
            if last:
                raise self._wrong(why)
        text = f"what begins at character {self.at} has more than {self._most} characters, which no row can need; or it is not JSON: {why}"
        raise InvalidInput([problem("too_large", text)])

    def end(self) -> None:
        """See that nothing is next."""
        if self._peek():
            raise self._wrong(f"there is more after its end, at character {self.at}")

    def _peek(self) -> str:
        while (found := _BLANK.match(self._text, self.at)) and found.end() > self.at:
            self.at = found.end()
        return self._text[self.at : self.at + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self.at += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._take(character):
            raise self._wrong(f"{character} is wanted at character {self.at}")

    @staticmethod
    def _wrong(why: str) -> InvalidInput:
        return InvalidInput([problem("json_invalid", f"the body is not JSON: {why}")])
