# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one attempt found: the four classes every probe answers with."""

from __future__ import annotations

from typing import NamedTuple

READY = "ready"
TRANSIENT = "transient"
SUSPECT = "suspect"
PERMANENT = "permanent"

DETAIL_CHARS = 300


class Outcome(NamedTuple):
    """The verdict of one attempt.

    ``cls`` is one of ready, transient (keep going), suspect (permanent once it has stayed unchanged for a while)
    and permanent (no amount of waiting helps). ``code`` is a short stable word, ``detail`` is for people.
    """

    cls: str
    code: str
    detail: str = ""


class NotReady(Exception):
    """Carries an outcome out of the depth of a protocol; a probe's caller turns it into the return value."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.code}: {outcome.detail}")
        self.outcome = outcome


def ready(code: str = "ok", detail: str = "") -> Outcome:
    return Outcome(READY, code, detail)


def transient(code: str, detail: str = "") -> Outcome:
    return Outcome(TRANSIENT, code, detail)


def suspect(code: str, detail: str = "") -> Outcome:
    return Outcome(SUSPECT, code, detail)


def permanent(code: str, detail: str = "") -> Outcome:
    return Outcome(PERMANENT, code, detail)


def shorten(text: str, limit: int = DETAIL_CHARS) -> str:
    """One printable line of at most ``limit`` characters."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def show_bytes(data: bytes, limit: int = 60) -> str:
    """Bytes from a peer as a person can read them: text where it is text, escapes elsewhere."""
    shown = data[:limit].decode("ascii", "backslashreplace")
    return repr(shown)[1:-1].replace("\\\\x", "\\x") + ("..." if len(data) > limit else "")
