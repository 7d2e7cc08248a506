# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep secrets out of what servers and logs say. Names and codes are never touched: a password that happens to equal
a container's name must not make the result unreadable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus, urlsplit

HIDDEN = "********"
# Shorter values occur within plain words, where hiding them would hide the cause: they are hidden where they stand alone.
MIN_SECRET = 6
MIN_WORD = 3
# What a header or a parameter is called that carries a secret.
_NAMES = re.compile(r"(?i)auth|cookie|token|secret|key|passw|pwd|credential|sig\b|signature")

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
        values = sorted({value for value in secrets if len(value) >= MIN_WORD}, key=len, reverse=True)
        wanted = [re.escape(value) if len(value) >= MIN_SECRET else rf"(?<!\w){re.escape(value)}(?!\w)" for value in values]
        self._values = re.compile("|".join(wanted)) if wanted else None

    def __call__(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(_hide, text)
        return self._values.sub(HIDDEN, text) if self._values else text


def is_secret_name(name: str) -> bool:
    """Whether a header or a query parameter of that name carries a secret."""
    return bool(_NAMES.search(name))


def secrets_in(text: str) -> list[str]:
    """What looks like a secret in a URL or a body, as it stands there and decoded."""
    found = [match.group("secret") for pattern in _BUILT_IN for match in re.finditer(pattern, text)]
    try:
        parts = urlsplit(text)
    except ValueError:
        return found
    pairs = [pair.partition("=") for pair in re.split("[&;]", parts.query)]
    found += [value for name, _equals, value in pairs if value and is_secret_name(name)]
    found += [part for part in parts.netloc.rpartition("@")[0].partition(":")[2:] if part]
    return found + [unquote_plus(value) for value in found if unquote_plus(value) != value]


def _hide(found: re.Match[str]) -> str:
    """Hide the named group where there is one, else the whole match."""
    if "secret" not in found.re.groupindex:
        return HIDDEN
    start, end = found.span("secret")
    whole = found.start()
    return found.group()[: start - whole] + HIDDEN + found.group()[end - whole :]
