"""What goes into Compose files."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.filter.compose import named_volumes


def test_named_volumes_are_told_once_and_paths_are_not():
    assert named_volumes(["b:/b", "a:/a:ro", "./c:/c", "/d:/d", "~/e:/e", "a:/again"]) == ["b", "a"]


@pytest.mark.parametrize("volume", ["/data", "a", "a:b", ":/a"])
def test_a_volume_without_a_name_or_a_target_is_refused(volume):
    with pytest.raises(AnsibleFilterError, match="write it as source:/target"):
        named_volumes([volume])
