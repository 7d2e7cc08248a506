# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A generated secret, made once, and read though Ansible Vault encrypted its file since."""

from __future__ import annotations

DOCUMENTATION = r"""
name: generated
short_description: A secret that is made once and kept in a file
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - As P(ansible.builtin.password#lookup), of letters and digits, but a file that Ansible Vault encrypted is decrypted, where that lookup
    takes the ciphertext for the secret.
options:
  _terms: {description: Paths of files on the controller., type: list, elements: str, required: true}
  length: {description: How many characters a new secret has., type: int, default: 32}
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ lookup('mlops.stack.generated', 'secrets/generated/salt') | length }}"
"""

RETURN = r"""
_raw: {description: The secrets., type: list, elements: str}
"""

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import is_encrypted
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Options are documented above."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return [self._one(self._loader.path_dwim(term), variables) for term in terms]

    def _one(self, path: str, variables: dict[str, Any] | None) -> str:
        if os.path.exists(path):
            with open(path, "rb") as handle:
                encrypted = is_encrypted(handle.read())
            if encrypted:
                return self._decrypted(path)
        password = lookup_loader.get("ansible.builtin.password", loader=self._loader, templar=self._templar)
        return str(password.run([path], variables, length=self.get_option("length"), chars=["ascii_letters", "digits"])[0])

    def _decrypted(self, path: str) -> str:
        try:
            return bytes(self._loader._get_file_contents(path)[0]).decode().strip()
        except (AnsibleError, UnicodeDecodeError):
            raise AnsibleError("%s: cannot be decrypted; give the password that Ansible Vault encrypted it with (--ask-vault-pass, "
                               "--vault-password-file)" % path) from None
