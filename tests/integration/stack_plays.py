"""What the tests of whole playbooks share: an inventory of this machine in a directory of its own, and running a playbook on it."""

import pathlib
import socket
import subprocess
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HUSH = "hush-0451"  # stands wherever a secret does
# Texts that mean something to YAML, Compose or a shell, or are numbers to one of YAML's versions.
HOSTILE = ["q\"uo'te", "back\\slash\\", "$x ${y} $$", "# no comment", "key: value", "*&!%@`", "{{ '{' }}", "[a, {b", "- a", "ünï 🙂", " around ", "a\nb", "1e3",
           "0o17", "yes", "~", "<<", "\\n", "%", ""]
# A name and an environment of such texts; the braces of Jinja would be a template, and no environment file holds a line break.
NAME = "ad\"m'in\\ ${x}: #*&"
ODD = {f"ODD{number}": value for number, value in enumerate(HOSTILE) if "{{" not in value and "\n" not in value}
GROUPS = ("infra", "mlflow", "regmodel", "airflow", "airflow_worker")
PORTS = ("postgres", "redis", "mlflow", "regmodel", "airflow", "flower", "airflow_exporter", "node_exporter", "prometheus",
         "alertmanager", "grafana", "airflow_worker_log", "airflow_triggerer_log")


def modes(path: pathlib.Path) -> tuple[int, ...]:
    """Modes that something delivered may have; plays here run with a hardened host's umask, and products check their files as users of their own."""
    if path.is_dir():
        return (0o700,) if path.name == "secrets" else (0o755,)
    if path.parent.name == "secrets" or path.parts[-2:] == ("prometheus", "prometheus.yml"):
        return (0o400,)
    return (0o600,) if path.suffix == ".env" else (0o644, 0o755)


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _number in range(count)]
    for one in sockets:
        one.bind((address, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Stack:
    """An inventory (hosts, groups and their variables), the team's files, and a place for each host's /opt/mlops."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.project = "config-" + path.name.lower()
        self.secrets = path / ".secrets"
        self.secrets.mkdir(mode=0o700)
        # The second host has no role: what it finds is what the first finds of the controller.
        self.hosts: dict[str, dict[str, Any]] = {"one": {"mlops_dir": str(path / "opt")}, "two": {"mlops_dir": str(path / "opt2")}}
        self.groups: dict[str, list[str]] = {group: ["one"] for group in GROUPS}
        self.group_vars: dict[str, dict[str, Any]] = {}
        self.vars: dict[str, Any] = {
            "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "mlops_project": self.project,
            "mlops_bind": "127.0.0.1", "mlops_ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
            "mlops_min_free_mib": 1, "mlops_min_memory_mib": {}}

    def put(self, name: str, content: str | bytes, mode: int = 0o600) -> pathlib.Path:
        """One of the team's files."""
        path = self.secrets / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def write(self) -> None:
        children = {name: {"hosts": {host: {} for host in hosts}, "vars": self.group_vars.get(name, {})} for name, hosts in self.groups.items()}
        (self.path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": self.hosts, "children": children, "vars": self.vars}}))

    def play(self, name: str | pathlib.Path, *arguments: str) -> tuple[int, str]:
        """The playbook's exit status and all that it printed."""
        self.write()
        done = subprocess.run(["ansible-playbook", "-i", str(self.path / "hosts.yml"), str(ROOT / "playbooks" / name), *arguments],
                              cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout + done.stderr

    def tree(self) -> dict[str, tuple[int, bytes | None]]:
        """Everything in the directory, with modes and contents."""
        self.write()
        return {str(each.relative_to(self.path)): (each.lstat().st_mode, each.read_bytes() if each.is_file() else None)
                for each in self.path.rglob("*")}
