"""What goes into Compose files and other YAML."""

import json

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.action.template_tree import complete_services
from ansible_collections.mlops.stack.plugins.filter.compose import in_expanded_yaml, in_yaml, memory_share, named_volumes
from stack_plays import HOSTILE


def test_named_volumes_are_told_once_and_paths_are_not():
    assert named_volumes(["b:/b", "a:/a:ro", "./c:/c", "/d:/d", "~/e:/e", "a:/again"]) == ["b", "a"]


@pytest.mark.parametrize("volume", ["/data", "a", "a:b", ":/a"])
def test_a_volume_without_a_name_or_a_target_is_refused(volume):
    with pytest.raises(AnsibleFilterError, match="write it as source:/target"):
        named_volumes([volume])


@pytest.mark.parametrize("value", [*HOSTILE, "\x7f\x85\u2028\ufeff", "\tx", 7, 1.5, True, None, [], {"a: b": ["#", {"c": "'"}]}])
def test_a_value_is_read_back_as_it_is(value):
    text = in_yaml(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == json.loads(text) == value
    assert yaml.safe_load(f"{{a: [{text}], b: {text}}}") == {"a": [value], "b": value}


def test_only_values_are_expanded():
    assert yaml.safe_load(in_expanded_yaml({"a$": ["$b", {"c": "${d}"}], "e": 1})) == {"a$": ["$$b", {"c": "$${d}"}], "e": 1}


def test_what_no_yaml_holds_is_refused():
    with pytest.raises(AnsibleFilterError, match="in_yaml: Out of range float values"):
        in_yaml(float("nan"))


@pytest.mark.parametrize("value", ["1e3", "0o17", "0b1", "+1.", ".5", "1_0", "0x1F", "-1E-2", "yes", "1:30", "~"])
def test_no_text_becomes_a_number_where_compose_reads_it(value):
    text = complete_services(f"services: {{web: {{environment: {{A: {in_expanded_yaml(value)}}}}}}}", {}, {}, "s", "web")
    assert text.splitlines()[-1].strip() == f"A: '{value}'"


@pytest.mark.parametrize(("size", "half"), [("512m", 268435456), ("1.5 GB", 805306368), ("64MiB", 33554432), (1048577, 524288)])
def test_a_share_of_memory_is_in_bytes(size, half):
    assert memory_share(size, 0.5) == half


def test_what_is_no_size_has_no_share():
    with pytest.raises(AnsibleFilterError, match="'much': write it as Compose does"):
        memory_share("much", 0.5)
