# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the report in ``mlops_report_dir``, on the controller."""

from __future__ import annotations

import os
import re
import tempfile


def write_report(directory: str, name: str, text: str) -> str:
    """Write a file of the report and return its path: whole or not at all, for this user alone (mkstemp's mode is 0600).

    The directory is made if it is missing; a relative one counts from the current directory. Raises OSError.
    """
    directory = os.path.abspath(os.path.expanduser(directory))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, re.sub(r"[^\w.-]", "_", name))
    handle, staged = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(staged, path)
    except BaseException:
        os.unlink(staged)
        raise
    return path
