"""The inventories that the render tests share, one host and three, and how one is rendered."""

import pathlib
import subprocess
from typing import Any

import yaml
from stack_plays import NAME, ODD, ROOT

DISCORD = "https://discord.example/api/webhooks/1/hush"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
GROUPS = ("infra", "mlflow", "regmodel", "airflow", "airflow_worker", "monitoring")
ONE = {"hosts": {"one": LOCAL}, "children": {group: {"hosts": {"one": {}}} for group in GROUPS},
       # As from a command line: a string.
       "vars": {"with_monitoring": "true"}}
THREE = {
    "hosts": {f"h{number}": {**LOCAL, "mlops_address": f"10.0.0.{number}"} for number in (1, 2, 3)},
    "children": {"infra": {"hosts": {"h1": {}}}, "airflow": {"hosts": {"h1": {}}}, "mlflow": {"hosts": {"h2": {}}, "vars": {}},
                 "regmodel": {"hosts": {"h2": {}}}, "airflow_worker": {"hosts": {"h2": {"airflow_worker_queues": ["default", "gpu"]}, "h3": {}}},
                 "monitoring": {"hosts": {"h2": {}}}},
    "vars": {"infra_postgres_port": 15432, "with_monitoring": "true", "monitoring_discord_webhook_url": DISCORD,
             "monitoring_webhook_url": "https://hook.example/hush", "monitoring_email_to": "team@example.org", "monitoring_smtp_smarthost": "mail:25",
             "monitoring_smtp_username": NAME, "monitoring_smtp_password": "hush",
             "airflow_admin_username": NAME, "airflow_flower_username": NAME, "monitoring_username": NAME, "mlflow_admin_username": NAME,
             "infra_postgres_environment": ODD, "monitoring_environment": {"prometheus": ODD}},
}


def render(path: pathlib.Path, inventory: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Renders the inventory's roles into a directory per host below the path, on a controller with a hardened host's umask."""
    (path / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
    return subprocess.run(
        ["ansible-playbook", "-i", str(path / "hosts.yml"), str(ROOT / "tests/integration/render.yml"), "-e", f"render_to={path}", *arguments],
        cwd=ROOT, umask=0o077, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def rendered_once(path: pathlib.Path, inventory: dict[str, Any]) -> pathlib.Path:
    done = render(path, inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    return path
