"""A run that does not say whether monitoring is wanted leaves it as an earlier run left it, on every host and in every playbook."""

import json
import pathlib

import pytest
from stack_plays import Stack

# Which hosts count the stack as monitored, as any role sees it; preflight's own tasks are those of site.yml and playbooks/preflight.yml.
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops%s}
- hosts: all
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops}
    - debug:
        msg: "SEEN {{ {inventory_hostname: [mlops_monitoring, 'monitoring' in mlops_roles, __mlops_monitored_note]} | to_json }}"
"""
LOOK = "See whether an earlier run set monitoring up"


@pytest.fixture
def stack(tmp_path: pathlib.Path) -> Stack:
    made = Stack(tmp_path)
    made.groups.update({group: ["two"] for group in made.groups}, monitoring=["one"])
    return made


def set_up(stack: Stack) -> None:
    """What a run with monitoring leaves on its host."""
    made = pathlib.Path(stack.hosts["one"]["mlops_dir"]) / "monitoring"
    made.mkdir(parents=True)
    (made / "services.yaml").write_text("services: {}\n")


def seen(stack: Stack, *arguments: str, tasks: str = "") -> tuple[dict[str, list], str]:
    """{host: [the stack is monitored, this host has the role, what the table of services says of it]}, and all that was printed."""
    play = stack.path / "play.yml"
    play.write_text(PLAY % tasks)
    _status, said = stack.play(play, *arguments)
    rows = [json.loads(json.loads('"%s"' % line.partition("SEEN ")[2].removesuffix('"'))) for line in said.splitlines() if "SEEN " in line]
    assert rows, said
    return {host: found for row in rows for host, found in row.items()}, said


def test_where_there_is_none_it_is_off(stack: Stack) -> None:
    found, said = seen(stack)
    assert found == {"one": [False, False, []], "two": [False, False, []]}
    assert said.count(LOOK) == 1


def test_what_an_earlier_run_set_up_stays_and_is_seen_once(stack: Stack) -> None:
    set_up(stack)
    found, said = seen(stack)
    assert [row[:2] for row in found.values()] == [[True, True]] * 2
    assert said.count(LOOK) == 1 and "Monitoring stays on" in str([row[2] for row in found.values()])
    # Also where --limit leaves its host out.
    found, _said = seen(stack, "--limit", "two")
    assert list(found) == ["two"] and found["two"][:2] == [True, True]


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_what_a_run_says_holds_and_nothing_is_looked_for(stack: Stack, wanted: str) -> None:
    if wanted == "false":
        set_up(stack)
    found, said = seen(stack, "-e", f"with_monitoring={wanted}")
    assert found == {host: [wanted == "true"] * 2 + [[]] for host in ("one", "two")} and LOOK not in said


def test_a_silent_host_counts_as_monitored_and_costs_the_others_nothing(stack: Stack) -> None:
    stack.hosts["one"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    found, said = seen(stack)
    assert [row[:2] for row in found.values()] == [[True, True]] * 2, said
    assert "because one does not say whether it is" in str([row[2] for row in found.values()])


def test_preflight_looks_before_it_asks_for_anything(stack: Stack) -> None:
    set_up(stack)
    stack.groups["monitoring"], stack.groups["infra"] = ["one"], []
    status, said = stack.play("preflight.yml")
    assert status != 0 and "database to watch" in said and said.index(LOOK) < said.index("Look at the host")
