# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables' values are never shown."""

from __future__ import annotations

import re
from typing import Any

try:
    from ansible.parsing.vault import VaultHelper
except ImportError:  # ansible-core before 2.19 does not say of a value that it was encrypted
    VaultHelper = None

# Names of variables whose values are or may hold secrets.
SECRET = re.compile(
    r"passw|passphrase|secret|token|salt|key|credential|webhook|environment|databases|connections|variables|ur[il]s?(_|\b)|dsn|args\b")
# A URL with a login in it.
LOGIN = re.compile(r"://[^/\s]*@")


def is_hidden(name: str, value: Any = None) -> bool:
    """Whether a variable of this name, or with this value, may hold a secret."""
    return bool(SECRET.search(name)) or bool(LOGIN.search(str(value))) or bool(VaultHelper and VaultHelper.get_ciphertext(value, with_tags=False) is not None)
