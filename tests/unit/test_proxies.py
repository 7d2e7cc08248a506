"""Proxies of hosts and containers, and which Engine a user's environment means."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.action.template_tree import File, complete_services
from ansible_collections.mlops.stack.plugins.module_utils._docker import _host as _host_docker
from ansible_collections.mlops.stack.plugins.plugin_utils._proxies import without_proxy

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECT = ["localhost", "mlflow", "10.0.0.2"]
PROXY = "http://proxy.corp:3128"


@pytest.mark.parametrize("env, given, no_proxy, expected", [
    ({}, False, "", None),
    ({"NO_PROXY": "corp"}, False, "", None),
    ({"HTTP_PROXY": ""}, False, "", None),
    ({}, True, "", "localhost,mlflow,10.0.0.2"),
    ({}, True, "corp, 10.0.0.2", "corp,10.0.0.2,localhost,mlflow"),
    ({"https_proxy": PROXY}, False, "", "localhost,mlflow,10.0.0.2"),
    ({"HTTP_PROXY": PROXY, "NO_PROXY": "own"}, True, "corp", "own,localhost,mlflow,10.0.0.2"),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "own", "no_proxy": "other"}, False, "", "own,other,localhost,mlflow,10.0.0.2"),
    ({"HTTP_PROXY": PROXY, "no_proxy": "*"}, False, "", "*,localhost,mlflow,10.0.0.2"),
])
def test_names_of_the_stack_pass_by_every_proxy(env, given, no_proxy, expected):
    assert without_proxy(env, given, no_proxy, DIRECT) == ({} if expected is None else {"NO_PROXY": expected, "no_proxy": expected})


def completed(services, files=None, **proxies):
    files = {name: File(text.encode()) for name, text in (files or {}).items()}
    text = complete_services(yaml.safe_dump({"services": services}), files, {}, "", "mlflow", {"direct": DIRECT, **proxies})
    return {name: service.get("environment") for name, service in yaml.safe_load(text)["services"].items()}


def test_each_service_is_completed_by_what_it_has_itself():
    found = completed({"plain": {"image": "i"}, "own": {"image": "i", "env_file": ["own.env"]},
                       "list": {"image": "i", "environment": ["A=1", "B", "HTTP_PROXY=" + PROXY]}}, {"own.env": f"HTTPS_PROXY='{PROXY}'\nNO_PROXY=own\n"})
    assert found["plain"] is None
    assert found["own"] == {"NO_PROXY": "own,localhost,mlflow,10.0.0.2", "no_proxy": "own,localhost,mlflow,10.0.0.2"}
    assert found["list"] == {"A": "1", "B": None, "HTTP_PROXY": PROXY, "NO_PROXY": ",".join(DIRECT), "no_proxy": ",".join(DIRECT)}
    assert completed({"plain": {"image": "i"}}, given=True)["plain"] == {"NO_PROXY": ",".join(DIRECT), "no_proxy": ",".join(DIRECT)}


@pytest.mark.parametrize("config, expected", [
    ({}, (False, "")), ({"proxies": None}, (False, "")), ({"proxies": {"default": {}}}, (False, "")),
    ({"proxies": {"default": {"httpProxy": PROXY, "noProxy": "corp"}}}, (True, "corp")),
    ({"proxies": {"default": {"noProxy": "corp"}, "unix:///var/run/docker.sock": {"httpsProxy": PROXY}}}, (True, "")),
    ({"proxies": {"tcp://elsewhere:2375": {"httpsProxy": PROXY}}}, (False, "")),
])
def test_proxies_of_dockers_client(config, expected):
    assert _host_docker.proxies(config) == dict(zip(("given", "no_proxy"), expected, strict=True))


@pytest.mark.parametrize("text, expected", [("", {}), ("{", {}), ("[]", {}), ('{"proxies": {}}', {"proxies": {}})])
def test_a_configuration_that_is_none_sets_nothing(tmp_path, text, expected):
    (tmp_path / "config.json").write_text(text)
    assert _host_docker.client_config(_host_docker.config_path({"DOCKER_CONFIG": str(tmp_path)})) == expected
    assert _host_docker.client_config(str(tmp_path / "none")) == {}


@pytest.mark.parametrize("environ, config, told", [
    ({}, {}, None), ({}, {"currentContext": "default"}, None), ({"DOCKER_CONTEXT": "default"}, {}, None),
    ({"DOCKER_HOST": "unix:///var/run/docker.sock"}, {"currentContext": "remote"}, None),
    ({"DOCKER_HOST": "unix:///run/docker.sock", "DOCKER_CONTEXT": "remote"}, {}, None),
    ({"DOCKER_HOST": "tcp://10.0.0.5:2375"}, {}, "DOCKER_HOST in the environment is tcp://10.0.0.5:2375, "),
    ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, {}, "unset it (env -u DOCKER_HOST)"),
    ({"DOCKER_CONTEXT": "remote"}, {}, "DOCKER_CONTEXT in the environment is remote, "),
    ({}, {"currentContext": "rootless"}, "the current context in /root/config.json is rootless, "),
])
def test_another_engine_is_refused(environ, config, told):
    problem = _host_docker.other_engine_problem(environ, config, "/root/config.json")
    assert problem is None if told is None else told in problem and "unix:///var/run/docker.sock" in problem


@pytest.mark.parametrize("config, image, there", [
    ({}, "registry.example.org/mlflow:3", False), ({"auths": {"registry.example.org": {}}}, "registry.example.org/mlflow:3", True),
    ({"credHelpers": {"registry.example.org:5000": "pass"}}, "registry.example.org:5000/team/mlflow@sha256:0", True),
    ({"auths": {"registry.example.org": {}}}, "team/mlflow:3", False), ({"auths": {"https://index.docker.io/v1/": {}}}, "team/mlflow:3", True),
    ({"credsStore": "desktop"}, "mlflow:3", True)])
def test_where_the_client_has_a_login(config, image, there):
    assert _host_docker.has_login(config, image) is there


@pytest.mark.parametrize("options, told", [
    ("[name=seccomp,profile=builtin name=cgroupns]", ""), ("[name=userns name=seccomp]", "take userns-remap out of /etc/docker/daemon.json"),
    ("[name=rootless]", "run the Engine as root"), ("", "")])
def test_an_engine_that_maps_users_is_refused(options, told):
    problem = _host_docker.mapped_problem(options)
    assert told in problem if told else problem is None


@pytest.mark.parametrize("environ, config, engine, expected", [
    ({}, {}, {}, {}),
    ({"HTTP_PROXY": PROXY, "no_proxy": "corp"}, {"httpProxy": "http://not:1"}, {"HttpProxy": "http://not:2"}, {"HTTP_PROXY": PROXY, "no_proxy": "corp"}),
    ({}, {"httpProxy": PROXY, "noProxy": "corp"}, {"HttpProxy": "http://not:2"},
     {"HTTP_PROXY": PROXY, "http_proxy": PROXY, "NO_PROXY": "corp", "no_proxy": "corp"}),
    ({}, {}, {"HttpProxy": "", "HttpsProxy": PROXY, "NoProxy": "corp"},
     {"HTTPS_PROXY": PROXY, "https_proxy": PROXY, "NO_PROXY": "corp", "no_proxy": "corp"}),
])
def test_builds_have_the_hosts_proxies_wherever_they_are_set(tmp_path, environ, config, engine, expected):
    """The environment, or else Docker's client, or else the Engine."""
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": config}}))
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho '{json.dumps(engine)}'\n")
    (tmp_path / "docker").chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    subprocess.run([sys.executable, ROOT / "roles/images/files/host/host-settings", tmp_path / "to"], check=True,
                   env={**clean, **environ, "DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    found = dict(line.split("=", 1) for line in (tmp_path / "to/env").read_text().splitlines())
    assert found == expected
