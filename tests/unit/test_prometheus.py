"""Filters for what Prometheus and Alertmanager read."""

import datetime
import re

import bcrypt
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.filter import prometheus
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

RULES = """
groups:
  - name: a
    rules:
      - {record: "x:y", expr: y}
      - {alert: Late, expr: y > 1, for: 5m, annotations: {summary: "{{ $labels.x }} is late"}}
      - {alert: Gone, expr: absent(y)}
"""


def rules(alert_for, disabled=()):
    text = prometheus.alert_rules({"a.yml": RULES}, alert_for, list(disabled))["a.yml"]
    return yaml.safe_load(text)["groups"][0]["rules"]


def test_rules_without_variables_stay_what_they_are():
    assert rules({}) == yaml.safe_load(RULES)["groups"][0]["rules"]


def test_a_name_wins_over_all_and_recordings_are_left_alone():
    recording, late, gone = rules({"*": "1s", "Late": "10m"})
    assert (recording.get("for"), late["for"], gone["for"]) == (None, "10m", "1s")
    assert late["annotations"]["summary"] == "{{ $labels.x }} is late"


def test_disabled_alerts_are_left_out():
    assert [rule.get("alert") for rule in rules({}, ["Late"])] == [None, "Gone"]


@pytest.mark.parametrize("alert_for, disabled, variable", [({"Lat": "1m"}, [], "monitoring_alert_for"), ({}, ["late"], "monitoring_alerts_disabled")])
def test_a_name_that_no_rule_has_is_refused(alert_for, disabled, variable):
    with pytest.raises(AnsibleFilterError, match=f"{variable} names .*did you mean Late"):
        rules(alert_for, disabled)


def test_probes_name_the_host_where_there_are_several():
    one = [{"targets": ["mlflow:5000"], "labels": {"instance": "a"}}]
    two = [*one, {"targets": ["10.0.0.2:5000"], "labels": {"instance": "b"}}]
    assert prometheus.probes(one, "mlflow", "http_2xx", "/health") == [
        {"target": "mlflow", "module": "http_2xx", "address": "http://mlflow:5000/health"}]
    assert [row["target"] for row in prometheus.probes(two, "mlflow", "http_2xx", "/health")] == ["mlflow@a", "mlflow@b"]
    assert prometheus.probe_targets(prometheus.probes(one, "mlflow", "http_2xx", "/health"), "here") == [
        {"targets": ["http://mlflow:5000/health"], "labels": {"instance": "here", "target": "mlflow", "module": "http_2xx"}}]


def test_a_hash_fits_its_password_and_stays_the_same():
    found = prometheus.bcrypt_hash("secret", "salt")
    assert bcrypt.checkpw(b"secret", found.encode()) and not bcrypt.checkpw(b"other", found.encode())
    assert found == prometheus.bcrypt_hash("secret", "salt")
    assert len({found, prometheus.bcrypt_hash("secret", "other"), prometheus.bcrypt_hash("other", "salt")}) == 3


def test_a_password_of_any_length_has_a_hash():
    password = "".join(map(chr, range(32, 127))) + "x" * 33
    assert bcrypt.checkpw(password.encode()[:72], prometheus.bcrypt_hash(password, "salt").encode())


def metrics(asked, refused):
    return "".join(f'alertmanager_notification_requests_{kind}total{{integration="{name}"}} {count}\n'
                   for name in ("discord", "webhook") for kind, count in (("", asked), ("failed_", refused)))


def test_a_notification_is_seen_by_its_count():
    check = prometheus.notified_check("discord", metrics(3, 1), {"type": "http", "url": "u"})
    assert check["type"] == "http" and check["name"] == "notification by discord"
    assert not re.search(check["body_regex"], metrics(3, 1))
    for later in (4, 13, 30, 31):
        assert re.search(check["body_regex"], metrics(later, 1))
    # A count that Alertmanager does not show yet is none.
    assert re.search(prometheus.notified_check("discord", "", {})["body_regex"], metrics(1, 0))


def test_a_refusal_names_its_integration():
    assert [prometheus.refusals("discord", metrics(3, 1), metrics(4, failed)) for failed in (1, 2)] == ["", "discord"]


def certificate(days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    begin = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def test_ends_of_certificates_are_told_in_seconds_and_the_first_of_several_counts():
    told = prometheus.certificate_metrics({"server": certificate(1), "authority": certificate(20) + certificate(10), "none": ""})
    assert [line for line in told.splitlines() if not line.startswith("#")] == [
        'mlops_certificate_not_after_timestamp_seconds{certificate="server"} 1893542400',
        'mlops_certificate_not_after_timestamp_seconds{certificate="authority"} 1894320000']
