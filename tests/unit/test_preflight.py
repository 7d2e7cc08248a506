"""Preflight's findings: on the host (ports, space) and on the controller (variables, files, data)."""

import socket

import pytest
from ansible_collections.mlops.stack.plugins.action import preflight as controller
from ansible_collections.mlops.stack.plugins.modules import preflight as host


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


@pytest.mark.parametrize("address, port, message", [
    ("192.0.2.1", 5000, "does not have the address 192.0.2.1"),
    ("127.0.0.1", 0, "a port is 1 to 65535"),
    ("127.0.0.1", 70000, "a port is 1 to 65535"),
])
def test_what_cannot_be_bound(address, port, message):
    assert message in host.port_problem({"name": "x_port", "address": address, "port": port}, "")


def test_free_space_is_that_of_the_nearest_directory(tmp_path):
    free, where = host.free_mib(str(tmp_path / "not" / "yet"))
    assert where == str(tmp_path)
    assert free >= 0


def test_a_value_outside_its_choices_names_the_nearest():
    rows = [{"name": "mlops_image_source", "value": "package", "choices": ["registry", "packages"]},
            {"name": "ok", "value": "a", "choices": ["a"]}]
    assert list(controller.variable_problems(rows)) == [
        "mlops_image_source is 'package'; it can be registry, packages; did you mean packages?"]


def test_a_value_without_its_shape_is_told_unless_it_may_hold_a_secret():
    rows = [{"name": "good", "value": "http://a", "pattern": "http://.+", "wanted": "a URL"},
            {"name": "mlflow_public_url", "value": "a.example", "pattern": "http://.+", "wanted": "a URL"},
            {"name": "b", "value": "ftp://me:hush@a", "pattern": "http://.+", "wanted": "a URL"},
            {"name": "c", "value": "hush", "pattern": ".{12,}", "wanted": "at least 12 characters", "secret": True}]
    found = list(controller.shape_problems(rows))
    assert found[0] == "mlflow_public_url does not do (it is 'a.example'); give a URL"
    assert [line.split(" ")[0] for line in found] == ["mlflow_public_url", "b", "c"] and "hush" not in str(found)


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


def test_a_removed_variable_names_what_to_do():
    assert list(controller.removed_problems({"mlops_old": "set mlops_new"})) == ["variable mlops_old is not read any more; set mlops_new"]
