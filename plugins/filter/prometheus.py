# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for what Prometheus reads: rules with variables applied, probes as targets, ends of certificates, and the hash of a password."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

try:
    import bcrypt
except ImportError:  # wanted off loopback only
    bcrypt = None  # type: ignore[assignment]

try:
    from cryptography import x509
except ImportError:  # ansible-core brings it, for Vault
    x509 = None  # type: ignore[assignment]

EVERY = "*"
# bcrypt's own alphabet for base64, in the order of the usual one.
TO_BCRYPT = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def alert_rules(files: Mapping[str, str], alert_for: Mapping[str, str], disabled: Iterable[str]) -> dict[str, str]:
    """Rule files (name -> text) with the variables applied.

    alert_for: alert -> how long its condition lasts before it fires (Prometheus duration), "*" for all that are not named.
    disabled: alerts to leave out. Raises on a name that no rule has.
    """
    documents = {name: yaml.safe_load(text) for name, text in files.items()}
    groups = [group for document in documents.values() for group in document["groups"]]
    known = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    for variable, names in (("monitoring_alert_for", alert_for), ("monitoring_alerts_disabled", disabled)):
        for name in names:
            if name not in known and name != EVERY:
                near = get_close_matches(name, known, 1)
                raise AnsibleFilterError("%s names %s, and no rule has this name%s" % (variable, name, "; did you mean %s?" % near[0] if near else ""))
    for group in groups:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") not in disabled]
        for rule in group["rules"]:
            wanted = alert_for.get(rule["alert"], alert_for.get(EVERY)) if "alert" in rule else None
            if wanted is not None:
                rule["for"] = str(wanted)
    return {name: yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True) for name, document in documents.items()}


def probes(targets: Sequence[Mapping[str, Any]], name: str, module: str, path: str) -> list[dict[str, str]]:
    """Probes of an HTTP service on every host that has it: list of {"target", "module", "address"}.

    targets: its targets as scrape_targets returns them; target is name, with the host behind an @ where there are several.
    """
    return [{"target": name if len(targets) == 1 else "%s@%s" % (name, row["labels"]["instance"]),
             "module": module, "address": "http://%s%s" % (row["targets"][0], path)} for row in targets]


def probe_targets(rows: Iterable[Mapping[str, Any]], instance: str) -> list[dict[str, Any]]:
    """Probes as file_sd_configs wants them; instance is the host that the blackbox exporter runs on."""
    return [{"targets": [row["address"]], "labels": {"instance": instance, "target": row["target"], "module": row["module"]}} for row in rows]


def certificate_metrics(certificates: dict[str, str]) -> str:
    """When certificates end, as the textfile collector reads it; certificates: name -> PEM, empty ones are left out.

    A file may hold several, of which the one that ends first counts.
    """
    name = "mlops_certificate_not_after_timestamp_seconds"
    ends = {which: min(found.not_valid_after_utc.timestamp() for found in x509.load_pem_x509_certificates(pem.encode()))
            for which, pem in certificates.items() if pem.strip()}
    return "".join([f"# HELP {name} When a certificate that was delivered ends.\n# TYPE {name} gauge\n",
                    *(f'{name}{{certificate="{which}"}} {int(end)}\n' for which, end in ends.items())])


def bcrypt_hash(password: Any, salt: Any) -> str:
    """bcrypt hash of a password; the same for the same password and salt (any text), so that a second run changes nothing."""
    if bcrypt is None:
        raise AnsibleFilterError("the controller's Python has no module bcrypt, which passwords of Prometheus need: pip install bcrypt")
    return _bcrypt_hash(str(password), str(salt))


@functools.cache
def _bcrypt_hash(password: str, salt: str) -> str:
    """Computed once in a process: it takes longer than the rest of a file."""
    digest = hashlib.sha256(("%s\0%s" % (salt, password)).encode()).digest()[:16]
    encoded = base64.b64encode(digest).decode().rstrip("=").translate(TO_BCRYPT)
    # More than 72 bytes bcrypt never takes into account; this library refuses them, where others leave them out.
    return bcrypt.hashpw(password.encode()[:72], b"$2b$10$" + encoded.encode()).decode()


def _requests(integration: str, metrics: str, failed: str = "") -> str:
    """How often Alertmanager has asked an integration to take a notification; with "failed_", how often that failed."""
    found = re.search(r'(?m)^alertmanager_notification_requests_%stotal\{integration="%s"[^}]*\} (\S+)$' % (failed, integration), metrics)
    return found.group(1) if found else "0"


def notified_check(integration: str, before: str, check: Mapping[str, Any]) -> dict[str, Any]:
    """A check of wait_healthy that holds once Alertmanager has asked the integration to take one more notification.

    before: Alertmanager's metrics until then; check: how wait_healthy reads them now.
    """
    return dict(check, name="notification by " + integration,
                body_regex=r'(?m)^alertmanager_notification_requests_total\{integration="%s"[^}]*\} (?!%s$)' % (
                    integration, re.escape(_requests(integration, before))))


def refusals(integration: str, before: str, after: str) -> str:
    """The integration if it refused a notification between two readings of Alertmanager's metrics, else an empty string."""
    return integration if _requests(integration, before, "failed_") != _requests(integration, after, "failed_") else ""


class FilterModule:
    """Filters of the collection for Prometheus and Alertmanager."""

    def filters(self) -> dict[str, Any]:
        return {"alert_rules": alert_rules, "probes": probes, "probe_targets": probe_targets, "bcrypt_hash": bcrypt_hash,
                "certificate_metrics": certificate_metrics,
                "notified_check": notified_check, "refusals": refusals}
