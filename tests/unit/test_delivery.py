"""template_tree on the host: modes, what is in the way, manifests that were cut off, and what Compose says of the whole."""

import io
import json
import os
import pathlib
import subprocess
import tarfile

import pytest
from ansible_collections.mlops.stack.plugins.action import template_tree as controller
from ansible_collections.mlops.stack.plugins.module_utils import _delivery as host
from test_template_tree import CHECK, deliver, deliver_roles


def modes(tmp_path):
    return {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in sorted(tmp_path.rglob("*")) if path.name != "files.tar"}


@pytest.fixture
def umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_modes_are_the_products_own_whatever_the_umask(tmp_path, umask):
    deliver(tmp_path, conf__deep__a="1", secrets__key="k")
    wanted = {"project": 0o755, "project/compose.yaml": 0o644, "project/web": 0o755, "project/web/.delivered.json": 0o644, "project/web/conf": 0o755,
              "project/web/conf/deep": 0o755, "project/web/conf/deep/a": 0o644, "project/web/secrets": 0o700, "project/web/secrets/key": 0o400}
    assert modes(tmp_path) == wanted
    for name in ("project/web", "project/web/conf", "project/web/secrets"):
        (tmp_path / name).chmod(0o750)
    delivery = deliver(tmp_path, check_mode=True, conf__deep__a="1", secrets__key="k")
    assert delivery.changed_files == ["web/", "web/conf/", "web/secrets/"] and modes(tmp_path) != wanted
    assert deliver(tmp_path, conf__deep__a="1", secrets__key="k").changed_files == ["web/", "web/conf/", "web/secrets/"]
    assert modes(tmp_path) == wanted and deliver(tmp_path, conf__deep__a="1", secrets__key="k").changed_files == []


def test_what_a_product_checks_it_can_read_whatever_the_umask(tmp_path, umask):
    seen = {}

    def run(command):
        top = pathlib.Path(command[1].partition(":")[0]).parents[1]
        seen.update(modes(top))
        return 0, "", ""

    deliver(tmp_path, checks=CHECK, run=run, conf__deep__a="1")
    assert seen == {"web": 0o755, "web/conf": 0o755, "web/conf/deep": 0o755, "web/conf/deep/a": 0o644}


def test_a_file_becomes_a_directory_and_back(tmp_path):
    project = tmp_path / "project/web"
    for content in ({"data": "1"}, {"data__x": "2", "data__y__z": "3"}, {"data": "4"}, {"data__x": "5"}):
        expected = {name.replace("__", "/"): text for name, text in content.items()}
        told = deliver(tmp_path, check_mode=True, **content).changed_files
        assert sorted(told) == sorted(deliver(tmp_path, **content).changed_files)
        assert {str(path.relative_to(project)): path.read_text() for path in project.rglob("*")
                if path.is_file() and path.name != ".delivered.json"} == expected
        assert deliver(tmp_path, **content).changed_files == []


def test_what_no_run_delivered_is_not_removed_to_make_way(tmp_path):
    deliver(tmp_path, data__x="1", other="o")
    own = tmp_path / "project/web/data/own"
    own.write_text("mine")
    with pytest.raises(host.Refused, match=r"web/data has to become a file and holds own, which no run delivered; move that away"):
        deliver(tmp_path, data="2", other="p")
    assert own.read_text() == "mine" and (tmp_path / "project/web/other").read_text() == "o"
    with pytest.raises(host.Refused, match=r"web/data/own has to become a directory and is a file that no run delivered; move it away"):
        deliver(tmp_path, data__own__x="2")
    # A directory of the team's in which nothing is.
    own.unlink()
    (tmp_path / "project/web/data/own").mkdir()
    deliver(tmp_path, data="2")
    assert (tmp_path / "project/web/data").read_text() == "2"


@pytest.mark.parametrize("cut", [-3, 60, 1, 0])
def test_a_manifest_that_was_cut_off_is_made_good(tmp_path, cut):
    content = {"a": "1", "dags__old": "2", "secrets__key": "hush"}
    deliver(tmp_path, **content)
    path = tmp_path / "project/web/.delivered.json"
    whole = path.read_text()
    path.write_text(whole[:cut])
    deliver(tmp_path, **content)
    assert path.read_text() == whole
    path.write_text(whole[:cut])
    delivery = deliver(tmp_path, a="1")
    # What the manifest still says is removed.
    assert (tmp_path / "project/web/secrets").exists() == (cut in (60, 1, 0)) and "hush" not in json.dumps(delivery.diff)


def test_what_a_run_that_is_cut_off_delivered_is_known_to_the_next(tmp_path, monkeypatch):
    deliver(tmp_path, a="1")
    write = host.write

    def cut_off(path, *arguments):
        if path.endswith("/z"):
            raise OSError("pulled")
        write(path, *arguments)

    monkeypatch.setattr(host, "write", cut_off)
    with pytest.raises(OSError, match="pulled"):
        deliver(tmp_path, a="1", b="2", z="3")
    assert (tmp_path / "project/web/b").exists()
    deliver(tmp_path, a="1")
    assert sorted(path.name for path in (tmp_path / "project/web").iterdir()) == [".delivered.json", "a"]


def compose(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def service(**keys):
    return json.dumps({"services": {"one": {"image": "x", **keys}}})


def test_files_that_compose_refuses_leave_the_old_ones_in_place(tmp_path):
    good = {"services.yaml": service(env_file=["web.env"]), "web.env": "A=1"}
    deliver(tmp_path, run=compose, **good)
    for bad in ({"services.yaml": service(labels={"a": "${x"}), "web.env": "A=1"}, {"services.yaml": service(env_file=["none.env"])}, {"services.yaml": ": {"},
                {**good, "web.env": "A='"}):
        with pytest.raises(host.Refused, match="the new files are refused by Docker Compose, nothing was changed: (?!.*validate)"):
            deliver(tmp_path, run=compose, **bad)
        assert {name: (tmp_path / "project/web" / name).read_text() for name in good} == good
    assert sorted(path.name for path in (tmp_path / "project").iterdir()) == ["compose.yaml", "web"]


def test_the_project_is_checked_as_a_whole_but_for_what_earlier_runs_left(tmp_path):
    wants_web = {"services.yaml": json.dumps({"services": {"two": {"image": "x", "depends_on": ["one"]}}}), ".services.alone.yaml": service()}
    broken = service(labels={"a": "${x"})
    web = {"services.yaml": service()}
    deliver(tmp_path, run=compose, **web)
    (tmp_path / "project/web/services.yaml").write_text(broken)
    # The broken one is an earlier run's, and its turn comes.
    deliver_roles(tmp_path, {"app": wants_web}, run=compose)
    deliver_roles(tmp_path, {"app": wants_web, "web": web}, run=compose)
    # Now it is this run's: a name for two volumes, which Compose takes once.
    clash = {role: {"services.yaml": json.dumps({"services": {name: {"image": "x"}}, "volumes": {"data": {"name": name}}})}
             for role, name in (("app", "three"), ("web", "one"))}
    with pytest.raises(host.Refused, match="conflict"):
        deliver_roles(tmp_path, clash, run=compose)
    assert "data" not in (tmp_path / "project/app/services.yaml").read_text()


def test_where_there_is_no_compose_nothing_is_checked(tmp_path):
    deliver(tmp_path, run=lambda command: (127, "", "docker is not there"), **{"services.yaml": "anything"})
    assert (tmp_path / "project/web/services.yaml").exists()


def test_environments_are_for_root_alone_and_not_in_the_diff(tmp_path):
    hidden = controller.File(b"A='hush'\n", 0o600, hidden=True)
    assert hidden.manifest() == {"mode": 0o600, "uid": 0, "gid": 0, "secret": False, "hidden": True}
    manifest = {"web.env": {**hidden.manifest(), "uid": os.getuid(), "gid": os.getgid()}}
    archive = tmp_path / "files.tar"
    for text in ("A='hush'\n", "A='hush-2'\n"):
        with tarfile.open(archive, "w") as tar:
            for name, content in {"web.env": text, host.MANIFEST: json.dumps(manifest)}.items():
                info = tarfile.TarInfo(f"web/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
        delivery = host.Delivery(str(tmp_path / "project"), False)
        delivery.deliver(str(archive), {}, lambda command: (127, "", ""), "name: x")
        assert delivery.changed_files[:1] == ["web/web.env"] and "hush" not in json.dumps(delivery.diff)
    assert modes(tmp_path)["project/web/web.env"] == 0o600
