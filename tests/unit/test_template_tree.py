"""template_tree: what services are completed with, and what is written, kept and removed on the host."""

import io
import json
import os
import tarfile

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.action import template_tree as controller
from ansible_collections.mlops.stack.plugins.module_utils import _delivery as host

SERVICES = """
services:
  web: {image: x, volumes: ["./config:/config:ro", "data:/data"], secrets: [key], logging: {driver: local}}
  plain: {image: y}
secrets: {key: {file: ./secrets/key}}
"""


def files(**content):
    return {name.replace("__", "/"): controller.File(text.encode()) for name, text in content.items()}


def complete(salt="s", **content):
    defaults = {"restart": "always", "logging": {"driver": "json-file", "options": {"a": "b"}}}
    text = controller.complete_services(SERVICES, files(**content), defaults, salt, "web")
    return yaml.safe_load(text)["services"]


def label(service):
    return service.get("labels", {}).get(controller.LABEL)


def test_defaults_are_merged_key_by_key_and_do_not_override():
    services = complete(config__a="1", secrets__key="k")
    assert services["web"]["restart"] == services["plain"]["restart"] == "always"
    assert services["web"]["logging"] == {"driver": "local", "options": {"a": "b"}}


def test_the_label_follows_mounted_files_and_secrets_only():
    base = label(complete(config__a="1", secrets__key="k")["web"])
    assert base and label(complete(config__a="1", secrets__key="k")["plain"]) is None
    assert label(complete(config__a="2", secrets__key="k")["web"]) != base
    assert label(complete(config__a="1", secrets__key="K")["web"]) != base
    assert label(complete(config__a="1", config__b="", secrets__key="k")["web"]) != base
    assert label(complete(config__a="1", secrets__key="k", other="x")["web"]) == base
    assert label(complete(salt="t", config__a="1", secrets__key="k")["web"]) != base


def test_what_containers_read_live_recreates_nothing():
    delivered = files(config__a="1", secrets__key="k")
    delivered["config/a"].live = True
    text = controller.complete_services(SERVICES, delivered, {}, "s", "web")
    assert label(yaml.safe_load(text)["services"]["web"]) == label(complete(secrets__key="k")["web"])


def test_directories_that_are_read_live_are_those_that_are_named(tmp_path):
    for name in ("templates/web/config/a", "templates/web/rules/b", "templates/web/rules.d/c", "dags/d", "other/e"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    role = {"src": str(tmp_path / "templates/web"), "live": ["rules"], "files": {"rules/given": "y", "given": "y"},
            "trees": [{"src": str(tmp_path / "dags"), "dest": "dags", "live": True}, {"src": str(tmp_path / "other"), "dest": "other"}]}
    collected = controller.ActionModule._collect(None, role, {}, {})
    assert {name for name, file in collected.items() if file.live} == {"rules/b", "rules/given", "dags/d"}
    assert {name for name, file in collected.items() if not file.live} == {"config/a", "rules.d/c", "given", "other/e"}


def test_walk_leaves_out_what_editors_and_python_leave(tmp_path):
    for name in ("a.py", "a.pyc", "b~", "sub/c", "__pycache__/d", "skip/e"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert [name for _path, name in controller.walk(str(tmp_path), ["skip"])] == ["a.py", "sub/c"]


def pack(path, roles):
    """An archive of roles: name -> its files, with two underscores for a slash."""
    with tarfile.open(path, "w") as tar:
        for role, content in roles.items():
            texts = {name.replace("__", "/"): text for name, text in content.items()}
            manifest = {name: {"mode": 0o400 if "secrets/" in name else 0o644, "uid": os.getuid(), "gid": os.getgid(), "secret": "secrets/" in name}
                        for name in texts if name != host.ALONE}
            for name, text in {**texts, host.MANIFEST: json.dumps(manifest)}.items():
                info = tarfile.TarInfo(f"{role}/{name}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
    return str(path)


def deliver_roles(tmp_path, roles, check_mode=False, checks=(), run=lambda command: (127, "", "")):
    delivery = host.Delivery(str(tmp_path / "project"), check_mode)
    delivery.deliver(pack(tmp_path / "files.tar", roles), {"web": checks}, run, "name: x")
    return delivery


def deliver(tmp_path, check_mode=False, checks=(), run=lambda command: (127, "", ""), **content):
    """Of the role web alone."""
    return deliver_roles(tmp_path, {"web": content}, check_mode, checks, run)


def test_a_second_delivery_changes_nothing_and_a_third_only_what_differs(tmp_path):
    assert sorted(deliver(tmp_path, services__yaml="s", secrets__key="k").changed_files) == [
        "compose.yaml", "web/.delivered.json", "web/secrets/key", "web/services/yaml"]
    assert deliver(tmp_path, services__yaml="s", secrets__key="k").changed_files == []
    assert deliver(tmp_path, services__yaml="t", secrets__key="k").changed_files == ["web/services/yaml"]


def test_secrets_are_for_their_reader_alone_and_not_in_the_diff(tmp_path):
    delivery = deliver(tmp_path, secrets__key="hush")
    path = tmp_path / "project/web/secrets/key"
    assert path.stat().st_mode & 0o777 == 0o400
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "hush" not in json.dumps(delivery.diff)


def test_a_secret_belongs_to_who_reads_it(tmp_path, monkeypatch):
    """Before it has its name; to give a file away takes root, which a run has."""
    given = {}
    monkeypatch.setattr(host.os, "fchown", lambda handle, uid, gid: given.update({os.readlink(f"/proc/self/fd/{handle}"): (uid, gid)}))
    host.write(str(tmp_path / "key"), b"hush", 0o400, 50001, 0)
    assert given == {str(tmp_path / "key.mlops-new"): (50001, 0)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_a_secret_is_brought_back(tmp_path):
    deliver(tmp_path, secrets__key="k")
    path = tmp_path / "project/web/secrets/key"
    os.chown(path, 65534, 65534)
    assert deliver(tmp_path, secrets__key="k").changed_files == ["web/secrets/key"]
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_mode_is_brought_back(tmp_path):
    deliver(tmp_path, secrets__key="k")
    (tmp_path / "project/web/secrets/key").chmod(0o644)
    assert deliver(tmp_path, secrets__key="k").changed_files == ["web/secrets/key"]


def test_only_what_was_delivered_is_removed(tmp_path):
    deliver(tmp_path, a="1", sub__b="2")
    (tmp_path / "project/web/own").write_text("mine")
    assert deliver(tmp_path, a="1").changed_files == ["web/sub/b", "web/.delivered.json"]
    assert sorted(path.name for path in (tmp_path / "project/web").iterdir()) == [".delivered.json", "a", "own"]


def test_check_mode_says_the_same_and_writes_nothing(tmp_path):
    assert sorted(deliver(tmp_path, check_mode=True, a="1").changed_files) == ["compose.yaml", "web/.delivered.json", "web/a"]
    assert not (tmp_path / "project").exists()


def remove(tmp_path, *roles):
    host.Delivery(str(tmp_path / "project"), False).deliver(None, {}, lambda command: (127, "", ""), "name: x", roles)


def test_the_index_follows_what_is_present(tmp_path):
    project = tmp_path / "project"
    for name in ("b", "a", "none"):
        (project / name).mkdir(parents=True)
        if name != "none":
            (project / name / "services.yaml").write_text("x")
    remove(tmp_path)
    assert yaml.safe_load((project / "compose.yaml").read_text()) == {"name": "x", "include": ["a/services.yaml", "b/services.yaml"]}
    remove(tmp_path, "a")
    assert "a/services" not in (project / "compose.yaml").read_text()


def test_a_removed_role_leaves_the_teams_own_files(tmp_path):
    deliver(tmp_path, a="1", sub__b="2")
    project = tmp_path / "project"
    (project / "web/own").write_text("mine")
    remove(tmp_path, "web")
    assert [path.name for path in (project / "web").iterdir()] == ["own"]
    remove(tmp_path, "web")


def test_a_file_is_never_half_written(tmp_path, monkeypatch):
    deliver(tmp_path, a="old")

    def replace(*_paths):
        raise OSError("pulled")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="pulled"):
        deliver(tmp_path, a="new")
    assert (tmp_path / "project/web/a").read_text() == "old"


CHECK = [{"path": "conf", "command": ["checker", "%s/conf:/conf"]}]


def run_checker(command):
    status, out, err = 0, "", ""
    directory = command[1].partition(":")[0]
    with open(os.path.join(directory, "a"), encoding="utf-8") as handle:
        text = handle.read()
    if "bad" in text:
        status, out, err = 1, "", f"{directory}/a: line 1: bad"
    assert not os.path.exists(os.path.join(os.path.dirname(directory), "secrets"))
    return status, out, err


def test_refused_files_leave_the_old_ones_in_place(tmp_path):
    # Left behind by a run that was cut off.
    (tmp_path / "project/.validate/conf/a").mkdir(parents=True)
    deliver(tmp_path, checks=CHECK, run=run_checker, conf__a="good", services__yaml="s", secrets__key="k")
    with pytest.raises(host.Refused, match=r"in web/conf are refused, nothing was changed: conf/a: line 1: bad"):
        deliver(tmp_path, checks=CHECK, run=run_checker, conf__a="bad", services__yaml="t", secrets__key="k")
    project = tmp_path / "project"
    assert (project / "web/conf/a").read_text() == "good" and (project / "web/services/yaml").read_text() == "s"
    assert sorted(path.name for path in project.iterdir()) == ["compose.yaml", "web"]


def test_only_changed_files_are_checked_and_none_in_check_mode(tmp_path):
    asked = []

    def run(command):
        asked.append(command)
        return 0, "", ""

    deliver(tmp_path, checks=CHECK, run=run, conf__a="1", conf__b="2", other="x")
    deliver(tmp_path, checks=CHECK, run=run, conf__a="1", conf__b="2", other="y")
    assert len(asked) == 1
    deliver(tmp_path, checks=CHECK, run=run, conf__a="1", other="y")
    assert len(asked) == 2
    deliver(tmp_path, check_mode=True, checks=CHECK, run=run, conf__a="2", other="y")
    assert len(asked) == 2


@pytest.mark.parametrize("broken", [{"conf__a": "bad"}, {"own__b": "c"}], ids=["by its product", "for what is in the way"])
def test_where_one_role_is_refused_no_other_is_delivered(tmp_path, broken):
    deliver_roles(tmp_path, {"app": {"a": "1"}, "web": {"conf__a": "good"}}, checks=CHECK, run=run_checker)
    (tmp_path / "project/web/own").write_text("mine")
    with pytest.raises(host.Refused):
        deliver_roles(tmp_path, {"app": {"a": "2"}, "web": broken}, checks=CHECK, run=run_checker)
    assert (tmp_path / "project/app/a").read_text() == "1"
