"""An ansible-core that is too old is the first thing told."""

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.mlops.stack.plugins.plugin_utils import _controller
from stack_plays import ROOT


@pytest.mark.parametrize("version", ["2.19.0", "2.19.0rc1", "2.21.1", "3.0.0", "dev"])
def test_an_ansible_core_that_will_do(version):
    _controller.require_ansible(version)


@pytest.mark.parametrize("version", ["2.16.3", "2.18.12", "1.9"])
def test_one_that_is_too_old_is_told_with_what_to_do(version):
    with pytest.raises(AnsibleActionFail, match=f"ansible-core {version} runs on the controller and mlops.stack needs 2.19 or later; nothing was changed"):
        _controller.require_ansible(version)
    assert (ROOT / "requirements.txt").samefile(_controller.REQUIREMENTS)


def test_the_oldest_is_what_the_collection_declares():
    assert yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"] == ">=%d.%d.0" % _controller.OLDEST
