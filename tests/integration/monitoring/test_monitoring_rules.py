"""The alerts fire when they should and are quiet when not; each of them is proven to do both."""

import re
import subprocess

import pytest
import yaml
from monitoring_rules import CASES, ROOT, RULES, alerts, cases
from stack_images import image

SEVERITIES = {"critical", "warning", "info"}


def promtool(*arguments):
    """Run promtool of the stack's own Prometheus in the checkout."""
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--volume", f"{ROOT}:/checkout:ro", "--workdir", "/checkout",
         "--entrypoint", "/bin/promtool", image("prometheus"), *arguments],
        capture_output=True, text=True, check=False,
    )


def test_the_rule_files_are_valid():
    found = promtool("check", "rules", *(str(path.relative_to(ROOT)) for path in sorted(RULES.glob("*.yml"))))
    assert found.returncode == 0, found.stdout + found.stderr


def test_alerts_fire_as_their_cases_say():
    found = promtool("test", "rules", *(str(path.relative_to(ROOT)) for path in sorted(CASES.glob("*.test.yml"))))
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_is_seen_to_fire_and_to_be_quiet(name):
    looks = [case for case in cases() if case.alert == name]
    assert any(case.firing for case in looks), f"no case in {CASES.name}/ sees {name} fire"
    assert any(not case.firing for case in looks), f"no case in {CASES.name}/ sees {name} quiet"


@pytest.mark.parametrize("name, rule", sorted(alerts().items()))
def test_every_alert_says_what_is_wrong_and_where_to_read_on(name, rule):
    assert rule["labels"].keys() == {"severity", "area"} and rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/monitoring.md#{name.lower()}"
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    for case in cases():
        for firing in case.firing if case.alert == name else []:
            assert used <= firing.keys(), f"its texts use {used - firing.keys()}, which it lacks at {case.at} in {case.file}"


def test_every_alert_has_its_place_in_the_documentation():
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs/monitoring.md").read_text(), re.M)
    assert sorted(alerts()) == sorted(heading for heading in headings if heading in alerts())
    assert len(headings) == len(set(headings))


def test_the_queries_of_postgres_exporter_are_well_formed():
    """A column without usage is dropped, and one that a query does not select fails it; both only show on a running server."""
    for name, query in yaml.safe_load((RULES.parent / "postgres-exporter/queries.yml").read_text()).items():
        for metric in query["metrics"]:
            for column, about in metric.items():
                assert about.keys() == {"usage", "description"} and about["usage"] in {"LABEL", "GAUGE"}, f"{name}: {column}"
                assert re.search(rf"\b{column}\b", query["query"]), f"{name}: {column} is not selected"
