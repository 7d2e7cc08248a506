"""Environment files, read and written."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.filter.dotenv import backslashed, from_dotenv, to_dotenv


@pytest.mark.parametrize("text, expected", [
    ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
    ("\ufeffA=1\r\nB='x y'\r\n", {"A": "1", "B": "x y"}),
    ("# note\n\nexport A=1\n", {"A": "1"}),
    ("A='$HOME'\nB='a#b'\nC=\"q\\\"q\"\n", {"A": "$HOME", "B": "a#b", "C": 'q"q'}),
    ("A=1\nB=${A}-$A\nC=${B:-x}${NONE:-y${A}}\nD=$NONE\n", {"A": "1", "B": "1-1", "C": "1-1y1", "D": ""}),
    ("A=\nB\n", {"A": ""}),
    ("", {}),
])
def test_from_dotenv(text, expected):
    assert from_dotenv(text) == expected


@pytest.mark.parametrize("value", ["plain", "two words", "a$b${c}", "it's", "#no comment", 'say "x"', "back\\slash", "é", ""])
def test_what_is_written_reads_back(value):
    assert from_dotenv(to_dotenv({"NAME": value})) == {"NAME": value}


def test_values_that_are_no_text():
    assert to_dotenv({"B": True, "A": 1, "C": None}) == "A='1'\nB='true'\nC=''\n"


@pytest.mark.parametrize("variables, message", [({"1A": "x"}, "1A"), ({"A B": "x"}, "A B")])
def test_what_a_file_cannot_hold_is_refused_by_name(variables, message):
    with pytest.raises(AnsibleFilterError, match=message):
        to_dotenv(variables)


@pytest.mark.parametrize("text, characters, expected", [
    ("plain", ":", "plain"), ("a:b", ":", "a\\:b"), ("a\\b", ":", "a\\\\b"), ('say "x"', '"', 'say \\"x\\"'), ("a-b]^", ":", "a-b]^")])
def test_backslashed(text, characters, expected):
    assert backslashed(text, characters) == expected
