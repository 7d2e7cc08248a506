"""The forms of a request body."""

import json

import pytest
from regmodel.body import rows_from_body
from regmodel.schema import InvalidInput

ROWS = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ROWS},
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]], "index": [7, 8]}},
    ],
)
def test_each_form_gives_the_same_rows(body):
    assert rows_from_body(json.dumps(body).encode(), 2) == ROWS


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
        (b'{"inputs": [{}, {}, {}]}', "too_many_rows", "3 rows, but one request may have 2"),
        (b'{"dataframe_split": []}', "wrong_type", "must be"),
        (b'{"dataframe_split": {"data": []}}', "wrong_type", "columns must be"),
        (b'{"dataframe_split": {"columns": [1], "data": []}}', "wrong_type", "list of names"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', "duplicate", "twice"),
        (b'{"dataframe_split": {"columns": ["a"], "data": {}}}', "wrong_type", "list of lists"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}', "wrong_type", "row 1: a list of 1"),
        (b'{"dataframe_split": {"columns": ["a"], "data": []}}', "empty", "no rows"),
        (b'{"dataframe_split": {"columns": ["a"], "rows": []}}', "wrong_type", "must be"),
    ],
)
def test_a_body_of_another_form_is_refused(raw, code, text):
    with pytest.raises(InvalidInput) as caught:
        rows_from_body(raw, 2)
    (problem,) = caught.value.problems
    assert problem["type"] == code
    assert text in problem["msg"]
