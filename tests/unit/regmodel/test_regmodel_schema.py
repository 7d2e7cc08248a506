"""Values against types: what is accepted, what it becomes, and how a refusal names row and field."""

import json
import math
from datetime import datetime

import pytest
from regmodel.schema import Field, InvalidInput, Schema

ACCEPTED = [
    ("double", 1.5, 1.5),
    ("double", 3, 3.0),
    ("double", -0.0, 0.0),
    ("double", 2**60, float(2**60)),
    ("float", 3.4e38, 3.4e38),
    ("integer", 2147483647, 2147483647),
    ("integer", -2147483648, -2147483648),
    ("long", 9223372036854775807, 9223372036854775807),
    ("long", 5.0, 5),
    ("boolean", True, True),
    ("boolean", False, False),
    ("string", "", ""),
    ("string", "été", "été"),
    ("datetime", "2026-01-02", datetime(2026, 1, 2)),
    ("datetime", "2026-01-02T03:04:05.678", datetime(2026, 1, 2, 3, 4, 5, 678000)),
]

REFUSED = [
    ("double", "1.5", "wrong_type", '"1.5" is not a number'),
    ("double", True, "wrong_type", "true is not a number"),
    ("double", [1], "wrong_type", "[1] is not a number"),
    ("double", {}, "wrong_type", "{} is not a number"),
    ("double", None, "missing", "null"),
    ("double", math.nan, "not_finite", "NaN"),
    ("double", math.inf, "not_finite", "infinite"),
    ("double", -math.inf, "not_finite", "infinite"),
    ("double", 10**400, "not_finite", "too large"),
    ("float", 1e39, "out_of_range", "32 bits"),
    ("integer", 2147483648, "out_of_range", "32 bits"),
    ("integer", -2147483649, "out_of_range", "32 bits"),
    ("integer", 1.5, "wrong_type", "1.5 is not a whole number"),
    ("integer", False, "wrong_type", "false is not a whole number"),
    ("long", 9223372036854775808, "out_of_range", "64 bits"),
    ("long", math.nan, "wrong_type", "NaN is not a whole number"),
    ("long", math.inf, "wrong_type", "not a whole number"),
    ("long", "7", "wrong_type", '"7" is not a whole number'),
    ("boolean", 1, "wrong_type", "1 is not a boolean"),
    ("boolean", "true", "wrong_type", '"true" is not a boolean'),
    ("string", 1, "wrong_type", "1 is not a string"),
    ("datetime", 0, "wrong_type", "0 is not a date and time"),
    ("datetime", "yesterday", "wrong_type", "ISO 8601"),
    ("datetime", "2026-01-02T03:04:05Z", "wrong_type", "time zone"),
    ("datetime", "0001-01-01", "out_of_range", "1678"),
    ("datetime", "9999-01-01", "out_of_range", "2261"),
]


def schema(**types: str) -> Schema:
    """A schema of `name=type`; a type that ends in `?` is optional."""
    return Schema(tuple(Field(name, kind.rstrip("?"), not kind.endswith("?")) for name, kind in types.items()))


def problems(one: Schema, *rows: object) -> list[dict]:
    with pytest.raises(InvalidInput) as caught:
        one.columns(list(rows))
    return caught.value.problems


@pytest.mark.parametrize(("kind", "given", "wanted"), ACCEPTED)
def test_a_value_that_fits_is_taken(kind, given, wanted):
    value = schema(x=kind).columns([{"x": given}])["x"][0]
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(("kind", "given", "code", "text"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_by_name(kind, given, code, text):
    (one,) = problems(schema(x=kind), {"x": given})
    assert (one["row"], one["field"], one["type"]) == (0, "x", code)
    assert one["msg"].startswith("row 0, field 'x': ")
    assert text in one["msg"]


def test_a_long_value_is_shown_shortened():
    (one,) = problems(schema(x="double"), {"x": "y" * 1000})
    assert len(one["msg"]) < 100


def test_every_problem_of_every_row_is_listed():
    found = problems(schema(a="double", b="long"), {"a": 1.0, "b": 1}, {"a": "x", "c": 3}, 5, {"b": 0.5, "a": None})
    assert [(one["row"], one["field"], one["type"]) for one in found] == [
        (1, "c", "unknown_field"),
        (1, "a", "wrong_type"),
        (1, "b", "missing"),
        (2, None, "wrong_type"),
        (3, "a", "missing"),
        (3, "b", "wrong_type"),
    ]


@pytest.mark.parametrize(("rows", "count"), [(999, 999), (1000, 1000), (5000, 1000)])
def test_a_long_list_of_problems_is_cut_and_counted_to_a_limit(rows, count):
    given = iter([{}] * rows)
    with pytest.raises(InvalidInput) as caught:
        schema(a="double").columns(given)
    assert len(caught.value.problems) == 50
    assert caught.value.count == count
    assert len(list(given)) == rows - count


def test_the_keys_of_one_row_are_counted_to_a_limit_too():
    with pytest.raises(InvalidInput) as caught:
        schema(a="double").columns([{f"k{number}": 0 for number in range(100_000)}])
    assert (len(caught.value.problems), caught.value.count) == (50, 1000)


def test_what_a_problem_shows_is_short_and_can_be_sent():
    found = problems(schema(a="double", b="string"), {"x" * 100_000: 1, "a": [[[]] * 1000] * 1000, "b": "\ud800", "\udfff": 1})
    text = json.dumps(found, ensure_ascii=False).encode()
    assert len(text) < 1500
    assert "half a character" in found[3]["msg"]


def test_columns_follow_the_signature_whatever_the_order_of_the_row():
    columns = schema(a="double", b="long").columns([{"b": 1, "a": 2}, {"a": 3, "b": 4}])
    assert columns == {"a": [2.0, 3.0], "b": [1, 4]}
    assert list(columns) == ["a", "b"]


@pytest.mark.parametrize("row", [{"a": 1.0}, {"a": 1.0, "b": None}])
def test_an_optional_field_that_no_row_has_is_left_out(row):
    assert schema(a="double", b="long?").columns([row, row]) == {"a": [1.0, 1.0]}


@pytest.mark.parametrize("kind", ["double", "float", "string", "datetime"])
def test_an_optional_field_may_lack_in_some_rows_where_its_type_has_a_null(kind):
    value = {"string": "x", "datetime": "2026-01-01"}.get(kind, 1.0)
    columns = schema(b=kind + "?").columns([{"b": value}, {}])
    assert columns["b"][1] is None


@pytest.mark.parametrize(("kind", "value"), [("long", 1), ("integer", 1), ("boolean", True)])
def test_an_optional_field_without_a_null_must_be_in_all_rows_or_none(kind, value):
    (one,) = problems(schema(b=kind + "?"), {"b": value}, {})
    assert (one["row"], one["field"], one["type"]) == (1, "b", "missing")
