# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service that has proxies asks without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")


def without_proxy(env: Mapping[str, Any], given: bool, no_proxy: str, direct: Iterable[str]) -> dict[str, str]:
    """NO_PROXY and no_proxy of a service with this environment; nothing where it has no proxy.

    given: whether Docker's client gives proxies to every container, and no_proxy what it lets pass by them. direct: names and addresses that
    are never asked through one. Both spellings, because curl and Python read the lower case first, and others the upper case only.
    """
    if not given and not any(str(value or "") for name, value in env.items() if name.lower() in PROXIES):
        return {}
    own = [str(env[name]) for name in EXCEPTIONS if env.get(name)] or [no_proxy]
    rows = [row.strip() for text in own for row in text.split(",")]
    value = ",".join(dict.fromkeys(row for row in [*rows, *direct] if row))
    return dict.fromkeys(EXCEPTIONS, value)
