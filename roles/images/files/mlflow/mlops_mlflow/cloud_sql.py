"""Why a database behind the Cloud SQL Auth Proxy does not answer.

The proxy closes a connection that it cannot lead on and tells its log why. The log is not for other containers, but its metrics say as
much: how often Google gave it a certificate for the instance or refused (refresh), with Google's reason, and how often no way led
to the instance after that (dial).
"""

import os
import re
import urllib.error
import urllib.request
from typing import NamedTuple

SERIES = re.compile(r"^cloudsqlconn_(refresh_success|refresh_failure|dial_failure)_count\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'cloudsql_(\w+)="([^"]*)"')
# https://cloud.google.com/sql/docs/postgres/admin-api-error-messages
UNKNOWN = {"instanceDoesNotExist", "notFound"}
ATTEMPT = 3  # seconds
# Seconds that a cause may last before the server gives up: what Google says holds, a way may still open. Docker takes a container
# that lived for ten seconds for a good one and starts it again at once.
SAID, CLOSED = 2, 10


class Cause(NamedTuple):
    """Why the database does not answer, in a sentence; how long that may last, and the pause before the next attempt, in seconds."""

    text: str
    patience: float
    pause: float = 0.2


class Proxy:
    """The proxy's metrics, from one attempt to the next."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.instance = environment["MLOPS_CLOUD_SQL_INSTANCE"]
        self.metrics = environment["MLOPS_CLOUD_SQL_METRICS"]
        self.address = environment["MLOPS_CLOUD_SQL_IP"]
        self.has_key = environment["MLOPS_CLOUD_SQL_KEY"] == "true"
        self.google = environment["MLOPS_CLOUD_SQL_GOOGLE"].split()
        self.before = self.counts() or {}
        # Why there is no certificate, in Google's words, since there was one; an empty word where Google said nothing.
        self.reasons: set[str] = set()

    def counts(self) -> dict[tuple[str, str], float] | None:
        """(series, Google's reason) -> count; None where the proxy does not answer."""
        try:
            with urllib.request.urlopen(self.metrics, timeout=ATTEMPT) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        rows = [(series, dict(LABEL.findall(labels)), float(count)) for series, labels, count in SERIES.findall(text)]
        return {(series, labels.get("error_code", "")): count for series, labels, count in rows if labels.get("instance") == self.instance}

    def cause(self) -> Cause:
        """Why the attempt that has just failed did."""
        now = self.counts()
        if now is None:
            return Cause("Cloud SQL: the proxy is down; `docker compose logs cloud-sql-proxy` has its last words, `docker compose up -d` "
                         "starts it", CLOSED)
        fresh = {key for key, count in now.items() if count > self.before.get(key, 0)}
        self.before = now
        if ("refresh_success", "") in fresh:
            self.reasons = set()
        failed = {reason for series, reason in fresh if series == "refresh_failure"}
        if failed:
            # Of the calls for one certificate, one tells the reason, and the others that they were cut off.
            self.reasons = (failed - {""}) or self.reasons or {""}
        if self.reasons & UNKNOWN:
            return self._said(f"there is no instance {self.instance} ({self._told()}); correct MLFLOW_INSTANCE_CONNECTION "
                              "(project:region:instance)")
        if self.reasons - {""}:
            return self._said(f"{'the key' if self.has_key else 'the identity of this machine'} has no permission for {self.instance} "
                              f"({self._told()}); give its account the role Cloud SQL Client (roles/cloudsql.client) in that project, "
                              "and enable the Cloud SQL Admin API there")
        if self.reasons:
            return self._unreachable() or self._said(
                ("Google refuses the key; it, or its account, was deleted or disabled, or this machine's clock is wrong: put a valid key "
                 "into gcp.json (mlflow_cloud_sql_key_file)" if self.has_key else
                 "Google gives no token for the identity of this machine: let it run as a service account, or put a key into gcp.json")
                + f"; or {self.instance} names another region than the instance's")
        if ("refresh_success", "") in now:
            return Cause(f"Cloud SQL: the instance {self.instance} cannot be reached over its {self.address} address, port 3307; start it, open "
                         "the firewall, or set mlflow_cloud_sql_ip to an address that leads there", CLOSED, 1)
        return self._unreachable() or Cause(f"Cloud SQL: Google has not answered for {self.instance} yet", CLOSED, 1)

    def _unreachable(self) -> Cause | None:
        """What of Google's does not answer at all."""
        for url in self.google:
            try:
                urllib.request.urlopen(url, timeout=ATTEMPT).close()
            except urllib.error.HTTPError:
                continue  # an answer
            except OSError as error:
                return Cause(f"Cloud SQL: {url} cannot be reached ({getattr(error, 'reason', error)}); open the way to it from this machine",
                             CLOSED, 1)
        return None

    def _told(self) -> str:
        return "Google says " + ", ".join(sorted(self.reasons))

    @staticmethod
    def _said(text: str) -> Cause:
        return Cause(f"Cloud SQL: {text}", SAID, 1)


def proxy() -> Proxy | None:
    """The proxy that leads to the database, if one does."""
    return Proxy(dict(os.environ)) if os.environ.get("MLOPS_CLOUD_SQL_INSTANCE") else None
