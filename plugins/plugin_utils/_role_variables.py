# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of a role that a play does not load: what one task does for all roles of a host needs those of each."""

from __future__ import annotations

import glob
import os
from typing import Any

from ansible.parsing.dataloader import DataLoader


def variables_of(role: str, loader: DataLoader) -> dict[str, Any]:
    """Defaults and vars of a role, to be put beneath the variables of a task; Ansible evaluates them as those of a role that it loaded.

    role: its directory. Variables in vars/ begin with two underscores, so that nobody else sets them and their rank is the same there.
    """
    found: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        # Below the directory, so that a bracket in its own name is none of the pattern's.
        for name in sorted(glob.glob("main.yml", root_dir=os.path.join(role, kind)) + glob.glob("main/*.yml", root_dir=os.path.join(role, kind))):
            found.update(loader.load_from_file(os.path.join(role, kind, name), cache="none", trusted_as_template=True) or {})
    return found
