# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller's ansible-core will do. Imports nothing that an older one does not have."""

from __future__ import annotations

import os
import re

from ansible.errors import AnsibleActionFail
from ansible.release import __version__

# The same as in meta/runtime.yml, of which ansible-core makes a warning only.
OLDEST = (2, 19)
REQUIREMENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "requirements.txt")


def require_ansible(version: str = __version__) -> None:
    """Raises where ansible-core is too old, before anything is changed and before its first difference shows."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise AnsibleActionFail(
            "ansible-core %s runs on the controller and mlops.stack needs %d.%d or later; nothing was changed. Install a newer one beside it "
            "(python3 -m venv DIR && DIR/bin/pip install -r %s) and run DIR/bin/ansible-playbook; in a checkout, make setup does that in .venv"
            % (version, *OLDEST, REQUIREMENTS))
