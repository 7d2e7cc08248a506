# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep secrets out of what servers and logs say. Names and codes are never touched: a password that happens to equal
a container's name must not make the result unreadable."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "********"
# Shorter values occur in plain words; hiding them there would hide the cause.
MIN_SECRET = 6

# Every repeat before a fixed word is bounded, so that a line of megabytes costs linear time.
_BUILT_IN = (
    (
        r"(?i)\b[\w-]{0,40}(?:password|passwd|passphrase|secret|token|(?:api|access|private|fernet)[_-]?key)"
        r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?P<secret>[^\s\"',;&]+)"
    ),
    r"(?i)\b(?:bearer|basic)\s{1,4}(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
    r"(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,100}:(?P<secret>[^\s/@]{1,200})@",
    r"(?s)-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?P<secret>.*?)(?:-----END|\Z)",
)


class Redactor:
    """Calling it returns the text without secrets. Raises ValueError for a pattern that is no regular expression."""

    def __init__(self, patterns: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        self._patterns = [re.compile(pattern) for pattern in _BUILT_IN]
        for pattern in patterns:
            try:
                self._patterns.append(re.compile(pattern, re.MULTILINE))
            except re.error as exc:
                raise ValueError(f"redact {pattern!r}: {exc}") from exc
        values = sorted({value for value in secrets if len(value) >= MIN_SECRET}, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, values))) if values else None

    def __call__(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(_hide, text)
        return self._values.sub(HIDDEN, text) if self._values else text


def _hide(found: re.Match[str]) -> str:
    """Hide the named group where there is one, else the whole match."""
    if "secret" not in found.re.groupindex:
        return HIDDEN
    start, end = found.span("secret")
    whole = found.start()
    return found.group()[: start - whole] + HIDDEN + found.group()[end - whole :]
