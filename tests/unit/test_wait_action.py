"""The line that a long wait prints while checks are open."""

from ansible_collections.mlops.stack.plugins.action.wait_healthy import open_line


def result(**states):
    return {"elapsed": 10.4, "checks": {name: {"state": state, "last": {"code": code} if code else None} for name, (state, code) in states.items()}}


def test_open_checks_are_named_with_what_was_last_seen():
    line = open_line("a", result(web=("pending", "refused"), db=("ready", "ok"), new=("pending", None)))
    assert line == "a: 2 of 3 checks open after 10 s: new (not asked yet), web (refused)"


def test_a_long_list_is_cut():
    line = open_line("a", result(**{"c%d" % number: ("pending", "timeout") for number in range(9)}))
    assert line.count("(timeout)") == 6 and line.endswith("and 3 more")
