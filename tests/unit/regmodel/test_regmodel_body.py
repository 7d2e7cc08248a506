"""The forms of a request body."""

import json

import pytest
from regmodel.body import MAX_BODY_BYTES, body_bytes, row_bytes, rows_from_body
from regmodel.schema import Field, InvalidInput, Schema

ROWS = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ROWS},
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]], "index": [7, 8]}},
        {"dataframe_split": {"index": [7, 8], "data": [[1, 2], [3, 4]], "columns": ["a", "b"]}},
    ],
)
def test_each_form_gives_the_same_rows(body):
    assert list(rows_from_body(json.dumps(body).encode(), 2)) == ROWS


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        (b"", "json_invalid", "not JSON"),
        (b"{", "json_invalid", "not JSON"),
        (b"\xff\xfe\xfa", "json_invalid", "not JSON"),
        (b"[" * 200_000, "json_invalid", "not JSON"),
        (b"[]", "wrong_type", "must be an object"),
        (b"{}", "missing", "none of them"),
        (b'{"inputs": [{}], "dataframe_records": [{}]}', "missing", "inputs and dataframe_records"),
        (b'{"inputs": [{}], "params": {}}', "unknown_key", "'params'"),
        (b'{"inputs": {"a": 1}}', "wrong_type", "list of rows"),
        (b'{"inputs": null}', "wrong_type", "list of rows"),
        (b'{"inputs": []}', "empty", "no rows"),
        (b'{"inputs": [{}, {}, {}]}', "too_many_rows", "more than 2 rows, but one request may have 2"),
        (b'{"dataframe_split": []}', "wrong_type", "must be"),
        (b'{"dataframe_split": {"data": []}}', "wrong_type", "columns must be"),
        (b'{"dataframe_split": {"columns": [1], "data": []}}', "wrong_type", "list of names"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', "duplicate", "twice"),
        (b'{"dataframe_split": {"columns": ["a"], "data": {}}}', "wrong_type", "list of lists"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}', "wrong_type", "row 1: a list of 1"),
        (b'{"dataframe_split": {"columns": ["a"], "data": []}}', "empty", "no rows"),
        (b'{"dataframe_split": {"columns": ["a"], "rows": []}}', "wrong_type", "must be"),
        (b'{"dataframe_split": {"data": [[1]], "data": [[1]], "columns": ["a"]}}', "duplicate", "data twice"),
        (b'{"dataframe_split": {"data": [[1], [1], [1]], "columns": ["a"]}}', "too_many_rows", "more than 2"),
        (b'{"inputs": [{}], "inputs": [{}]}', "missing", "inputs and inputs"),
        (b'{"inputs": [{}]} {}', "json_invalid", "more after its end, at character 17"),
        (b'{"inputs": [{}] "x": 1}', "json_invalid", "} is wanted at character 16"),
        (b'{"inputs": [{},]}', "json_invalid", "at character 15"),
        (b'{"inputs": [{"a": 1 2}]}', "json_invalid", "at character 20"),
        (b'{inputs: []}', "json_invalid", "a key in double quotes"),
        (b'{"inputs": [' + b"[" * 100_000, "json_invalid", "nested too deeply"),
        (b'{"inputs": [{"a": ' + b"1" * 100_000 + b"}]}", "json_invalid", "digits"),
        (b'{"inputs": [{"a": "' + b"x" * 300_000 + b'"}]}', "too_large", "what begins at character 12 has more than 262144"),
        (b'{"inputs": [{"a": "\xff"}]}', "json_invalid", "not UTF-8 at byte 19"),
        ('{"inputs": [{}]}'.encode("utf-16"), "json_invalid", "not UTF-8"),
    ],
)
def test_a_body_of_another_form_is_refused(raw, code, text):
    with pytest.raises(InvalidInput) as caught:
        list(rows_from_body(raw, 2))
    (problem,) = caught.value.problems
    assert problem["type"] == code
    assert text in problem["msg"]


@pytest.mark.parametrize("size", [4090, 4096, 5000, 40_000])
def test_rows_of_any_size_are_read_alike(size):
    rows = [{"a": "é" * size, "b": 12345}, {"a": "x", "b": 1e300}, [], 7]
    for text in (json.dumps(rows), json.dumps(rows, indent=3, ensure_ascii=False)):
        assert list(rows_from_body(f'\ufeff {{ "inputs" : {text} }} '.encode(), 4)) == rows


def test_rows_are_given_as_they_are_read():
    rows = rows_from_body(b'{"inputs": [{"a": 1}, {"a": 2}, nonsense', 5)
    assert [next(rows), next(rows)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(InvalidInput, match="not JSON"):
        next(rows)


def test_keys_that_nobody_knows_are_counted_to_a_limit():
    raw = json.dumps({f"k{number}": 0 for number in range(100_000)}).encode()
    with pytest.raises(InvalidInput) as caught:
        list(rows_from_body(raw, 2))
    assert (len(caught.value.problems), caught.value.count) == (50, 1000)


def test_a_body_may_have_what_the_rows_of_the_model_can_need():
    fields = {"a name of some length": "double", "é\n": "long", "seen": "datetime", "smokes": "boolean"}
    schema = Schema(tuple(Field(name, kind) for name, kind in fields.items()))
    row = {"a name of some length": -2.2250738585072014e-308, "é\n": -(2**63), "seen": "2026-01-02T03:04:05.678901", "smokes": False}
    raw = json.dumps({"dataframe_records": [row] * 1000}, indent=2).encode()
    assert len(raw) < body_bytes(schema, 1000) < 4 * len(raw)
    assert schema.columns(rows_from_body(raw, 1000, row_bytes(schema)))["smokes"] == [False] * 1000
    assert body_bytes(schema, 1_000_000) == MAX_BODY_BYTES
