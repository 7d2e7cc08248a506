"""Preflight's findings: on the host (ports, space) and on the controller (variables, files, data)."""

import socket

import pytest
from ansible_collections.mlops.stack.plugins.action import preflight as controller
from ansible_collections.mlops.stack.plugins.filter.dotenv import to_dotenv
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _checks as host
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _project as project
from ansible_collections.mlops.stack.plugins.modules import preflight as module


def test_a_port_in_use_is_named_with_its_variable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wanted = {"name": "mlflow_port", "address": "127.0.0.1", "port": port}
        assert "mlflow_port: port %d on 127.0.0.1 is in use" % port in host.port_problem(wanted, "")
        # The stack's own container may hold it.
        assert host.port_problem(wanted, "127.0.0.1:%d->5000/tcp" % port) is None
    assert host.port_problem(wanted, "") is None


class Containers:
    """What docker says of containers: name -> (whether it is the project's, the ports that it has while it runs, or None)."""

    def __init__(self, **containers):
        self.containers = containers
        self.listed = True

    def __call__(self, *arguments):
        if arguments[0] == "inspect":
            return "\n".join(self.containers[name][1] or "" for name in arguments[3:])
        found = [name for name, (ours, ports) in self.containers.items()
                 if (ours or "--filter" not in arguments) and (ports is not None and self.listed or "--all" in arguments)]
        return "\n".join(found) if "{{.Ports}}" not in arguments else "".join(f"127.0.0.1:{self.containers[name][1]}->1/tcp" for name in found)


@pytest.fixture
def taken(monkeypatch):
    """A port that one of the Engine's proxies listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
        monkeypatch.setattr(host, "proxied_ports", lambda: {("7", port)})
        yield port


def look(engine, port):
    return host.port_problems([{"name": "infra_redis_port", "address": "127.0.0.1", "port": int(port)}], engine, "label=x")


def test_a_port_of_a_container_that_the_engine_is_starting_is_ours(taken):
    engine = Containers(redis=(True, taken))
    engine.listed = False
    assert look(engine, taken) == ([], [])
    engine = Containers(other=(False, taken))
    engine.listed = False
    assert "in use by another program" in look(engine, taken)[0][0]


def test_a_port_that_the_engine_keeps_for_nobody_is_given_back_by_its_restart(taken, monkeypatch):
    for engine in (Containers(redis=(True, None)), Containers(redis=(True, None), postgres=(True, "1")), Containers()):
        problems, mended = look(engine, taken)
        assert problems == [] and f"infra_redis_port: Docker Engine keeps port {taken} for no container that runs" in mended[0]
    problems, mended = look(Containers(redis=(True, None), other=(False, "1")), taken)
    assert mended == [] and "other containers run here (other), so restart it when that suits them" in problems[0]
    # Of a container that ends and is started again and again.
    proxies = iter([{("7", taken)}, {("8", taken)}])
    monkeypatch.setattr(host, "proxied_ports", lambda: next(proxies))
    problems, mended = look(Containers(redis=(True, None)), taken)
    assert mended == [] and "in use by another program" in problems[0]


def test_ports_that_the_engine_holds_are_those_of_its_proxies(tmp_path):
    for number, arguments in (("7", ["/usr/bin/docker-proxy", "-proto", "tcp", "-host-port", "6379", "-container-ip", "172.18.0.2"]),
                              ("8", ["redis-server", "-host-port", "1"]), ("9", [])):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text("\0".join(arguments))
    assert host.proxied_ports(str(tmp_path)) == {("7", "6379")}


def test_what_a_regmodel_that_runs_may_load_is_told():
    told = "mlops/regmodel:1.0\nPATH=/bin\nREGMODEL_ALLOWED_FLAVORS=sklearn,python_function\n"
    assert project.served_by(lambda *_: told, "mlops") == {"image": "mlops/regmodel:1.0", "allowed": "sklearn,python_function"}
    assert project.served_by(lambda *_: "image\n", "mlops") == {"image": "image", "allowed": ""}
    for nothing in (None, "\n"):
        assert project.served_by(lambda *_, nothing=nothing: nothing, "mlops") == {}


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none(port):
    assert "a port is 1 to 65535" in host.port_problem({"name": "x_port", "address": "127.0.0.1", "port": port}, "")


@pytest.mark.parametrize("bind, message", [
    ("", None), ("127.0.0.1", None), ("0.0.0.0", None), ("::", None),
    ("192.0.2.250", "does not have the address 192.0.2.250, which mlops_bind says; set mlops_bind"),
    ("localhost", "mlops_bind is localhost, which is a name, and ports are published on addresses")])
def test_an_address_to_publish_on_is_the_hosts_own(bind, message):
    found = host.bind_problem(bind)
    assert found is None if message is None else message in found
    # Told once, and not for each port.
    assert host.port_problem({"name": "x_port", "address": bind or "localhost", "port": 1}, "") is None or not message


def test_an_address_that_others_use_may_be_translated():
    assert "which mlops_address says; that is right only where it is translated" in host.address_warning("192.0.2.250", "127.0.0.1")
    for address, bind in (("192.0.2.250", "192.0.2.250"), ("127.0.0.1", "0.0.0.0"), ("a-name", "127.0.0.1"), ("", "")):
        assert host.address_warning(address, bind) is None


DEBIAN = 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="13"\n'
UBUNTU = "ID=ubuntu\nVERSION_ID=\"22.04\"\n"


@pytest.mark.parametrize("engine, compose, system, told", [
    ("26.1", "2.26.1", UBUNTU, ""), ("26.1", "v2.20.0-desktop.1", UBUNTU, ""), ("", "", DEBIAN, ""), ("26.1", "2.19.1", DEBIAN, ""),
    ("26.1", "2.19.1\n", UBUNTU, "Docker Compose 2.20 or later is missing here and is known to install on Debian 13 only, while this is Ubuntu 22"),
    ("", "2.30", UBUNTU, "Docker Engine is missing here"), ("", "", "", "Docker Engine and Docker Compose 2.20 or later is missing here")])
def test_an_engine_or_compose_that_cannot_be_installed_is_told(engine, compose, system, told):
    found = host.compose_problem(host.lacking_products(engine, compose, "2.20"), system, ["Debian 13"])
    assert told in found if told else found is None


@pytest.mark.parametrize("said, told", [
    ({"msg": "Missing sudo password"}, "sudo asks for a password here; give it (--ask-become-pass"),
    ({"msg": "Incorrect sudo password"}, "sudo does not take the password that is given"),
    ({"msg": "MODULE FAILURE", "module_stderr": "deploy is not in the sudoers file. This incident"}, "may not become root here"),
    ({"msg": "", "module_stderr": "/bin/sh: 1: /nope: not found"}, "is Python 3.9 or later at ansible_python_interpreter?")])
def test_why_a_host_cannot_be_looked_at(said, told):
    assert told in controller.look_problem({"failed": True, **said})


def test_free_space_is_that_of_the_nearest_directory(tmp_path):
    free, where = host.free_mib(str(tmp_path / "not" / "yet"))
    assert where == str(tmp_path)
    assert free >= 0


def test_a_named_file_that_is_missing(tmp_path):
    here = tmp_path / "here"
    here.write_text("x")
    rows = [{"name": "a", "path": str(here)}, {"name": "b", "path": str(tmp_path / "gone")}]
    found = list(controller.file_problems(rows))
    assert len(found) == 1 and found[0].startswith("b names %s" % (tmp_path / "gone"))


def test_one_port_for_two_services():
    rows = [{"name": "a", "address": "x", "port": 1}, {"name": "b", "address": "x", "port": 1}, {"name": "c", "address": "y", "port": 1}]
    assert list(controller.shared_ports(rows)) == ["a and b are both 1 on x; give one of them another port"]


def remembered(secrets, versions=None):
    return {"salt": "s", "secrets": controller.digests(secrets, "s"), "versions": versions or {}}


def test_other_secrets_than_the_datas_are_refused_by_name_and_not_shown():
    had = remembered({"postgres_password": "first-0", "airflow_fernet_key": "k"})
    found = list(controller.data_problems(had, {"postgres_password": "other-1", "airflow_fernet_key": "k"}, {}, False))
    assert len(found) == 1 and "another postgres_password;" in found[0]
    assert "first-0" not in found[0] and "other-1" not in found[0]
    assert list(controller.data_problems(had, {"postgres_password": "first-0"}, {}, False)) == []


@pytest.mark.parametrize("have, want, allow, refused", [
    ("3.3.2", "3.3.2", False, False), ("3.3.2", "3.4.0", False, True), ("3.3.2", "3.2.0", False, True),
    ("3.3.2", "3.4.0", True, False), (None, "3.3.2", False, False)])
def test_a_version_that_migrates_data_is_refused(have, want, allow, refused):
    found = list(controller.data_problems(remembered({}, {"airflow": have} if have else {}), {}, {"airflow": want}, allow))
    assert bool(found) is refused
    assert not refused or ("airflow 3.3.2 holds data" in found[0] and "mlops_allow_migration=true" in found[0])


def test_another_postgresql_major_is_refused_whatever_is_allowed():
    found = list(controller.data_problems(remembered({}, {"postgres": "17"}), {}, {"postgres": "18"}, True))
    assert len(found) == 1 and "postgres 17 holds data here and 18 is wanted, which cannot read it" in found[0]


@pytest.mark.parametrize("had, wanted, allow, named", [
    ("postgres", {}, False, True), ("mlflow", {"airflow": "3.3.2"}, False, True), ("mlflow", {"mlflow": "1"}, False, False),
    ("postgres", {}, True, False),
    # Its data is in PostgreSQL.
    ("airflow", {}, False, False)])
def test_data_that_a_part_would_leave_behind_is_told(had, wanted, allow, named):
    found = list(controller.data_problems(remembered({}, {had: "1"}), {}, wanted, allow))
    assert [problem.split(" so ")[0] for problem in found] == ([f"{had} 1 holds data here and is not to run here any more,"] if named else [])


def test_memory_is_what_the_kernel_says():
    assert host.memory_mib("MemTotal:        4023216 kB\nHugePages_Total:       0\nMemFree: 1 kB\n") == 3928
    assert host.memory_problem(3928, 3328) is None
    assert "the host has 2048 MiB of memory and its roles need 3712" in host.memory_problem(2048, 3712)


@pytest.mark.parametrize("version, fits", [
    ("20.10.24+dfsg1", True), ("20.10.10", True), ("20.10.9", False), ("26.1.5", True), ("27.0", True), ("100.0.1", True),
    ("19.03.15", False), ("20.9", False), ("9.0", False), ("", True), ("dev", True)])
def test_an_engine_below_the_oldest_is_told(version, fits):
    found = host.engine_problem(version, "20.10.10")
    assert found is None if fits else "Docker Engine %s runs here and 20.10.10 or later is needed" % version in found


@pytest.mark.parametrize("now, skew", [
    (100.0, None), (70.1, None), (134.9, None), (69.0, "31 s behind"), (137.0, "32 s ahead of"), (3700.0, "3595 s ahead of")])
def test_a_clock_is_compared_with_the_controllers_before_and_after(now, skew):
    found = controller.clock_problem(100.0, now, 105.0)
    assert found is None if skew is None else "its clock is %s the controller's" % skew in found


class Engine:
    """What a Host has of its module where an Engine answers with these volumes, or, with None, none answers."""

    def __init__(self, volumes=None, **params):
        self.volumes = volumes
        self.params = {"project": "mlops", "min_free_mib": 0, "min_memory_mib": 0, "min_engine": "", "distributions": [], "min_compose": "", **params}

    def get_bin_path(self, name):
        return "/usr/bin/" + name

    def run_command(self, command, environ_update):
        assert environ_update["DOCKER_HOST"] == "unix:///var/run/docker.sock"
        said = {"ps": "", "network": "", "volume": "[{}]" if "inspect" in command else self.volumes}
        return (0, said[command[1]], "") if self.volumes is not None and command[1] in said else (1, "", "")


@pytest.mark.parametrize("volumes, remembered, holds", [
    ("mlops_postgres-data\n", {}, True), ("\n", {"versions": {}}, False), (None, {"versions": {}}, True), (None, {}, False)])
def test_a_host_holds_data_where_volumes_are_or_where_it_remembers_some_and_cannot_look(volumes, remembered, holds, tmp_path):
    engine = Engine(volumes, state_path=str(tmp_path / "state.json"), runs_parts=False, bridge="", start_empty=False)
    assert module.Host(engine).data(remembered)[1]["data"] is holds


@pytest.mark.parametrize("data, need", [(False, 10**9), (True, module.SETTLED)])
def test_space_that_is_missing_is_told_with_what_is_needed(data, need, monkeypatch):
    monkeypatch.setattr(module._checks, "free_mib", lambda path: (need - 1, path))
    told = [problem for problem in module.Host(Engine(min_free_mib=10**9)).machine_problems(data) if problem]
    assert len(told) == 1 and "%d MiB are free in " % (need - 1) in told[0] and "and %d are needed" % need in told[0]
    monkeypatch.setattr(module._checks, "free_mib", lambda path: (need, path))
    assert [problem for problem in module.Host(Engine(min_free_mib=10**9)).machine_problems(data) if problem] == []


@pytest.mark.parametrize("kept, wanted, allow, told", [
    ("/var/lib/mlflow/artifacts", "s3://bucket/ml", False, True), ("s3://bucket/ml", "/var/lib/mlflow/artifacts", False, True),
    ("s3://bucket/ml", "s3://bucket/other", False, True), ("s3://bucket/ml", "s3://bucket/ml/", False, False),
    ("/var/lib/mlflow/artifacts", "s3://bucket/ml", True, False), ("", "s3://bucket/ml", False, False), ("s3://bucket/ml", "", False, False)])
def test_artifacts_that_would_not_be_found_any_more(kept, wanted, allow, told):
    found = controller.artifacts_problem(kept, wanted, allow)
    assert bool(found) == told
    if found:
        assert found.startswith("MLflow keeps artifacts in %s and is to keep them in %s, where it would not find those of former runs" % (kept, wanted))
        assert "-e mlops_allow_migration=true" in found


def test_where_artifacts_are_kept_is_read_from_what_was_delivered(tmp_path):
    host_module = module.Host(Engine())
    assert host_module.keeps_artifacts(str(tmp_path)) == ""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/mlflow.env").write_text(to_dotenv({"A": "1", "MLFLOW_ARTIFACTS_DESTINATION": "gs://my_bucket/ml", "Z": "1"}))
    assert host_module.keeps_artifacts(str(tmp_path)) == "gs://my_bucket/ml"
