"""What the arguments alone can tell is told before anything is probed, all of it at once."""

from __future__ import annotations

import ast
import json
import pathlib
import re
import sys

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.doc_fragments.wait_healthy import ModuleDocFragment
from ansible_collections.mlops.stack.plugins.module_utils._wait._run import load
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import CHECK_SPEC, COMMON, KINDS, BadChecks, Defaults, parse
from ansible_collections.mlops.stack.plugins.modules import wait_healthy


def bad(*checks):
    with pytest.raises(BadChecks) as caught:
        parse([(f"checks[{i}]", check) for i, check in enumerate(checks)], Defaults())
    return caught.value.problems


def good(*checks):
    return parse([(f"checks[{i}]", check) for i, check in enumerate(checks)], Defaults())


URL = "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ({"type": "smtp"}, "type 'smtp' is not one of http, tcp, postgres, redis, docker"),
        ({"type": "http"}, "type http needs url"),
        ({"type": "tcp", "port": 1}, "type tcp needs host"),
        ({"type": "tcp", "host": "a"}, "type tcp needs port"),
        ({"type": "tcp", "host": "a", "port": 1, "url": URL}, "type tcp has no option url"),
        ({"type": "http", "url": "127.0.0.1/x"}, "is not of the form http[s]://host[:port]/path"),
        ({"type": "http", "url": "ftp://127.0.0.1/x"}, "is not of the form http[s]://host[:port]/path"),
        ({"type": "http", "url": "http://127.0.0.1:99999/"}, "out of range"),
        ({"type": "http", "url": "http://[::1/"}, "Invalid IPv6 URL"),
        ({"type": "http", "url": "http://me:pw@127.0.0.1/"}, "url holds a user or a password; use username and password_file"),
        ({"type": "http", "url": "http://127.0.0.1/a b"}, "must be percent-encoded"),
        ({"type": "http", "url": "http://127.0.0.1/\r\nX: y"}, "must be percent-encoded"),
        ({"type": "http", "url": URL, "method": "GET /"}, "is not an HTTP method"),
        ({"type": "http", "url": URL, "headers": {"X": "a\r\nb"}}, "header 'X'"),
        ({"type": "http", "url": URL, "headers": {"X y": "a"}}, "header 'X y'"),
        ({"type": "http", "url": URL, "status": ["2xx"]}, "status '2xx' is neither a number nor a range"),
        ({"type": "http", "url": URL, "body_regex": "("}, "body_regex '('"),
        ({"type": "http", "url": URL, "password": "x"}, "password is given without username"),
        ({"type": "http", "url": URL, "json": [{"path": {"a": 1}}]}, "is neither a dotted string nor a list"),
        ({"type": "http", "url": URL, "json": [{"path": "a", "op": "regex", "value": "("}]}, "is not a regular expression"),
        ({"type": "http", "url": URL, "json": [{"path": "a", "op": "in", "value": "x"}]}, "value must be a list"),
        ({"type": "http", "url": URL, "json": [{"path": "a", "op": "lt", "value": "3"}]}, "value must be a number"),
        ({"type": "http", "url": URL, "json": [{"path": "a", "op": "len", "value": -1}]}, "value must be a whole number"),
        ({"type": "http", "url": URL, "json": [{"path": "a", "op": "exists", "value": "x"}]}, "value must be true or false"),
        ({"type": "http", "url": "https://127.0.0.1/", "ca_path": "/nowhere/ca.pem"}, "TLS files (/nowhere/ca.pem) cannot be used"),
        ({"type": "http", "url": URL, "username": "me", "password_file": "/nowhere/pw"}, "password_file /nowhere/pw cannot be read"),
        ({"type": "http", "url": URL, "state": "healthy"}, "state 'healthy' is for docker checks"),
        ({"type": "tcp", "host": "a", "port": 0}, "port 0 is not between 1 and 65535"),
        ({"type": "tcp", "host": "a", "port": 65536}, "port 65536"),
        ({"type": "tcp", "host": "a b", "port": 1}, "holds a blank"),
        ({"type": "tcp", "host": "/" + "x" * 120}, "at most 107 bytes"),
        ({"type": "tcp", "host": "a", "port": 1, "expect_regex": "["}, "expect_regex '['"),
        ({"type": "tcp", "host": "a", "port": 1, "hold": -1.0}, "hold is -1.0"),
        ({"type": "tcp", "host": "a", "port": 1, "timeout": 0.0}, "timeout is 0.0, wanted a finite number of seconds above 0"),
        ({"type": "tcp", "host": "a", "port": 1, "timeout": float("inf")}, "timeout is inf"),
        ({"type": "tcp", "host": "a", "port": 1, "attempt_timeout": float("nan")}, "attempt_timeout is nan"),
        ({"type": "tcp", "host": "a", "port": 1, "stable_for": -1.0}, "stable_for is -1.0"),
        ({"type": "postgres", "host": "a", "user": "x\0y"}, "user holds a NUL"),
        ({"type": "redis", "host": "a", "username": "x"}, "username is given without password"),
        ({"type": "redis", "host": "a", "ca_path": "/x"}, "ca_path is given without tls"),
        ({"type": "docker"}, "either container or project is needed"),
        ({"type": "docker", "container": "a", "project": "b"}, "and not both"),
        ({"type": "docker", "container": "a", "service": "b"}, "service is given without project"),
        ({"type": "docker", "container": "a", "state": "ready"}, "state 'ready' is not one of healthy"),
        ({"type": "docker", "container": "a", "exit_codes": [1]}, "exit_codes is only for state: exited"),
        ({"type": "docker", "container": "a", "unhealthy_grace": "soon"}, "unhealthy_grace 'soon'"),
        ({"type": "docker", "container": "a", "started_after": "soon"}, "started_after 'soon'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_wrong_checks(check, says):
    problems = bad(check)
    assert len(problems) == 1 and says in problems[0] and problems[0].startswith("checks[0]: check ")


def test_b30_a_bad_regex_is_an_argument_error(run):
    with pytest.raises(BadChecks, match="body_regex"):
        run({"type": "http", "url": URL, "body_regex": "(unclosed"})


def test_all_problems_come_at_once():
    problems = bad({"type": "tcp", "host": "a", "port": 0, "hold": -1.0}, {"type": "http"}, {"type": "redis", "host": "a", "port": 0})
    assert len(problems) == 4


def test_names_are_unique():
    assert "the name stands twice, here and in checks[0]" in bad({"type": "tcp", "host": "a", "port": 1}, {"type": "tcp", "host": "a", "port": 1})[0]
    good({"type": "tcp", "host": "a", "port": 1}, {"type": "tcp", "host": "a", "port": 1, "name": "other"})


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ({"type": "http", "url": URL}, "http:http://127.0.0.1/"),
        ({"type": "tcp", "host": "a", "port": 1}, "tcp:a:1"),
        ({"type": "postgres", "host": "a"}, "postgres:a"),
        ({"type": "docker", "container": "web"}, "docker:web"),
        ({"type": "docker", "project": "p", "service": "s"}, "docker:p/s"),
        ({"type": "tcp", "host": "a", "port": 1, "name": "mine"}, "mine"),
    ],
)
def test_default_names(check, name):
    assert good(check)[0].name == name


@pytest.mark.parametrize("number", [0, 201])
def test_the_number_of_checks(number):
    assert f"there are {number} checks, wanted 1 to 200" in bad(*[{"type": "tcp", "host": "a", "port": 1, "name": str(n)} for n in range(number)])[0]


def test_password_files(tmp_path):
    path = tmp_path / "pw"
    for content, wanted in ((b"secret\n", "secret"), (b"secret", "secret"), (b"two\nlines\n\n", "two\nlines\n"), ("pässword".encode(), "pässword")):
        path.write_bytes(content)
        assert good({"type": "redis", "host": "a", "password_file": str(path)})[0].prepared["password"] == wanted
    path.write_bytes(b"")
    assert "is empty" in bad({"type": "redis", "host": "a", "password_file": str(path)})[0]
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in bad({"type": "redis", "host": "a", "password_file": str(path)})[0]
    path.write_bytes(b"x")
    assert "exclude each other" in bad({"type": "redis", "host": "a", "password_file": str(path), "password": "y"})[0]


def write(directory, role, text):
    (directory / role).mkdir()
    (directory / role / "checks.json").write_text(text if isinstance(text, str) else json.dumps(text))


def test_checks_from_reads_every_role(tmp_path):
    write(tmp_path, "b", [{"type": "tcp", "host": "b", "port": "2"}])
    write(tmp_path, "a", [{"type": "tcp", "host": "a", "port": 1}, {"type": "docker", "container": "c"}])
    (tmp_path / "a" / "deeper").mkdir()
    write(tmp_path / "a", "deeper2", [{"type": "tcp", "host": "x", "port": 1}])
    (tmp_path / "checks.json").write_text("[]")
    problems = []
    entries = load(str(tmp_path), problems.append)
    assert not problems
    assert [(check.name, check.prepared.get("port")) for check in parse(entries, Defaults())] == [("tcp:a:1", 1), ("docker:c", None), ("tcp:b:2", 2)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ("{}", "is not a JSON list of checks"),
        ("[1]", "is not a JSON list of checks"),
        ([{"type": "tcp", "hots": "a"}], "hots"),
        ([{"host": "a"}], "type"),
        ([{"type": "tcp", "host": "a", "port": "many"}], "port"),
        ([{"type": "tcp", "host": "a", "port": 0}], "port 0"),
    ],
    ids=str,
)
def test_checks_from_says_which_file_is_wrong(tmp_path, run, content, says):
    write(tmp_path, "role", content)
    with pytest.raises(BadChecks, match=re.escape(str(tmp_path / "role" / "checks.json"))) as caught:
        run(checks_from=str(tmp_path))
    assert says in str(caught.value)


def test_a_missing_directory(tmp_path, run):
    with pytest.raises(BadChecks, match="is not a directory"):
        run(checks_from=str(tmp_path / "none"))
    result = run(checks_from=str(tmp_path / "none"), check_mode=True)
    assert not result["failed"] and "nothing to check yet" in result["msg"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"timeout": float("inf")}, "timeout is inf, wanted a finite number"),
        ({"attempt_timeout": -1.0}, "attempt_timeout is -1.0"),
        ({"suspect_after": float("nan")}, "suspect_after is nan"),
        ({"log_lines": -1}, "log_lines is -1"),
        ({"max_restarts": -1}, "max_restarts is -1"),
        ({"interval": {"min": 2.0, "max": 1.0}}, "interval is min=2.0"),
        ({"interval": {"min": 0.0}}, "interval is min=0.0"),
        ({"redact": ["("]}, "redact '('"),
        ({"checks": [{"type": "docker", "container": "a"}], "docker_host": "ssh://x"}, "docker_host 'ssh://x'"),
    ],
    ids=str,
)
def test_wrong_parameters(run, params, says):
    checks = params.pop("checks", [{"type": "tcp", "host": "a", "port": 1}])
    with pytest.raises(BadChecks, match=re.escape(says)):
        run(*checks, **params)


def test_b45_there_is_no_infinite_timeout(run):
    with pytest.raises(BadChecks, match="finite"):
        run({"type": "tcp", "host": "a", "port": 1}, timeout=float("inf"))


def test_every_option_has_a_type_of_check_and_a_description():
    assert set(CHECK_SPEC) == set(COMMON).union(*(kind.options for kind in KINDS.values()))
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["checks"]["suboptions"]
    assert set(documented) == set(CHECK_SPEC)
    for name, spec in CHECK_SPEC.items():
        assert documented[name]["type"] == spec["type"] and documented[name].get("choices") == spec.get("choices"), name


def waits(entries):
    """Arguments of wait_healthy in tasks, blocks and plays."""
    for entry in entries:
        if "mlops.stack.wait_healthy" in entry:
            yield entry["mlops.stack.wait_healthy"]
        for key in ("tasks", "block"):
            yield from waits(entry.get(key, []))


def test_the_examples_are_valid(tmp_path):
    password = tmp_path / "pw"
    password.write_text("x")
    found = list(waits(yaml.safe_load(wait_healthy.EXAMPLES)))
    assert len(found) == wait_healthy.EXAMPLES.count("mlops.stack.wait_healthy:")
    for arguments in found:
        checks = arguments.get("checks", [])
        for check in checks:
            if "password_file" in check:
                check["password_file"] = str(password)
        if checks:
            good(*checks)


def test_b43_nothing_is_imported_that_a_managed_node_may_lack():
    """Only the standard library and ansible.module_utils; neither the Docker SDK nor requests."""
    folder = pathlib.Path(wait_healthy.__file__).parent.parent
    patterns = ("modules/wait_healthy.py", *(f"module_utils/{name}/_*.py" for name in ("_net", "_docker", "_probe", "_wait")))
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    assert len(files) > 15
    standard = getattr(sys, "stdlib_module_names", None)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                ours = name.startswith(("ansible.module_utils.", "ansible_collections.mlops.stack.plugins.module_utils"))
                assert ours or (top in standard if standard else top not in ("docker", "requests", "ansible")), (path.name, name)
