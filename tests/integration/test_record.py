"""What a host remembers of its data, and whose the Compose project is: preflight, record and down against the machine's own Engine."""

import json
import pathlib
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import ENGINE_DATA, engine_data
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _project
from stack_plays import ROOT, Stack

# Any image with a process that stays and ends at once when it is told to.
STAYS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
# What Ansible's wrapper does with the arguments; the profile is asked for by ansible-core 2.19 and newer.
DRIVER = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.argv[3].encode()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module(sys.argv[2], run_name="__main__")
"""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    return next(name for name in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split() if name.startswith("mlops/debian:"))


@pytest.fixture
def stack(tmp_path: pathlib.Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    stack.groups = {"infra": ["one"]}
    yield stack
    label = "label=com.docker.compose.project=" + stack.project
    for kind, every in (("container", ["--all"]), ("volume", []), ("network", [])):
        names = docker(kind, "ls", "--quiet", *every, "--filter", label).split()
        names += docker(kind, "ls", "--quiet", "--filter", "name=" + stack.project).split() if kind != "container" else []
        if names:
            docker(kind, "rm", "--force", *set(names)) if kind != "network" else docker("network", "rm", *set(names))


def compose(stack: Stack, folder: str, services: dict[str, dict], *arguments: str, volumes: tuple[str, ...] = ()) -> pathlib.Path:
    """A Compose project of the stack's name in a folder, after a compose command."""
    path = stack.path / folder
    path.mkdir(exist_ok=True)
    (path / "compose.yaml").write_text(yaml.safe_dump({"name": stack.project, "services": services, "volumes": dict.fromkeys(volumes)}))
    subprocess.run(["docker", "compose", "--project-directory", str(path), *arguments], check=True, capture_output=True)
    return path


def service(image: str, **keys: object) -> dict:
    return {"image": image, "command": STAYS, "init": True, "stop_grace_period": "2s", **keys}


def ours(stack: Stack, image: str, *arguments: str) -> pathlib.Path:
    """The stack's project as a run leaves it: files, labels, volumes, record."""
    volumes = ("postgres-data", "redis-data")
    path = compose(stack, "opt", {"postgres-airflow": service(image, labels={"stack.mlops.url": "x"},
                                                              volumes=[f"{name}:/{name}" for name in volumes])}, *arguments, volumes=volumes)
    (path / "compose.yaml").write_text(_project.HEADER + "\n" + (path / "compose.yaml").read_text())
    return path


def make_cluster(stack: Stack, identifier: int) -> None:
    """What PostgreSQL leaves in its volume that says which cluster it is."""
    where = pathlib.Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", stack.project + "_postgres-data"))
    (where / "global").mkdir(exist_ok=True)
    (where / "global/pg_control").write_bytes(struct.pack("=Q", identifier) + b"rest")


def run(name: str, **arguments: object) -> dict:
    """What a module returns, run as Ansible runs it."""
    done = subprocess.run([sys.executable, "-c", DRIVER, str(ROOT / ".collections"), "ansible_collections.mlops.stack.plugins.modules." + name,
                           json.dumps({"ANSIBLE_MODULE_ARGS": arguments})], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def look(stack: Stack, **arguments: object) -> dict:
    return run("preflight", project=stack.project, state_path=str(stack.path / "opt/state.json"), **arguments)


def record(stack: Stack, **arguments: object) -> dict:
    return run("record", project=stack.project, path=str(stack.path / "opt/state.json"),
               **{"content": {"salt": "s", "versions": {"postgres": "17"}}, **arguments})


def state(stack: Stack) -> dict:
    return json.loads((stack.path / "opt/state.json").read_text())


def kept(stack: Stack) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((stack.path / "opt").glob("state.json.*"))]


def test_the_identity_is_what_postgresql_says_itself(tmp_path):
    image = next(name for name in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split() if name.startswith("mlops/postgres:17"))
    volume = docker("volume", "create")
    try:
        told = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", "--volume", volume + ":/data", image, "-ec",
                      "chown 999 /data; as='setpriv --reuid 999 --clear-groups'; $as initdb --no-sync -D /data >/dev/null; $as pg_controldata /data")
        where = docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume)
        assert _project.identity(where) in told.partition("Database system identifier:")[2].splitlines()[0].split()
        assert _project.identity(str(tmp_path)) == ""
    finally:
        docker("volume", "rm", volume)


def test_data_that_is_gone_is_told_and_the_record_stays(stack, image):
    path = ours(stack, image, "up", "--no-start")
    make_cluster(stack, 17)
    assert record(stack)["volumes"] == state(stack)["volumes"] == {stack.project + "_postgres-data": "17", stack.project + "_redis-data": ""}
    assert look(stack)["problems"] == [] and not record(stack)["changed"]
    subprocess.run(["docker", "compose", "--project-directory", str(path), "down", "--volumes"], check=True, capture_output=True)
    before = state(stack)
    told = [f"the volume {stack.project}_{name} held data when {path}/state.json was written, and is not there; mount the disk"
            for name in ("postgres-data", "redis-data")]
    found = look(stack)["problems"]
    assert len(found) == 2 and all(problem.startswith(start) and "-e start_empty=true" in problem for problem, start in zip(found, told, strict=True))
    # Where no Engine ran for preflight, it is found before anything starts.
    failed = record(stack)
    assert failed["failed"] and all(start in failed["msg"] for start in told) and state(stack) == before
    # On a host that no part runs on any more, nothing begins empty.
    assert look(stack, runs_parts=False)["problems"] == []
    begun = look(stack, start_empty=True)
    assert begun["problems"] == [] and begun["remembered"] == {} and not begun["data"]
    assert record(stack, start_empty=True)["volumes"] == {} and kept(stack) == [before]
    assert look(stack)["problems"] == []


def test_a_record_without_volumes_means_those_of_its_products(stack):
    (stack.path / "opt").mkdir()
    (stack.path / "opt/state.json").write_text(json.dumps({"salt": "s", "secrets": {}, "versions": {"postgres": "17", "mlflow": "3.17.2"}}))
    named = [problem.split()[2] for problem in look(stack)["problems"]]
    assert named == [f"{stack.project}_{name}" for name in ("mlflow-artifacts", "postgres-data", "redis-data")]


def test_an_empty_volume_in_place_of_a_full_one_is_told(stack, image):
    ours(stack, image, "up", "--no-start")
    make_cluster(stack, 17)
    record(stack)
    where = pathlib.Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", stack.project + "_postgres-data"))
    (where / "global/pg_control").unlink()
    found = look(stack)["problems"]
    assert len(found) == 1 and f"the volume {stack.project}_postgres-data held data" in found[0] and "and is empty; mount the disk" in found[0]


@pytest.mark.parametrize("volume, file", [("postgres-data", "pgdata/global/pg_control"), ("postgres-data", "18/docker/global/pg_control"),
                                          ("redis-data", "appendonlydir/a.aof")])
def test_a_disk_that_did_not_mount_is_told_wherever_the_data_lies_on_it(stack, image, volume, file):
    ours(stack, image, "up", "--no-start")
    before = record(stack)
    where = pathlib.Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{stack.project}_{volume}"))
    (where / file).parent.mkdir(parents=True)
    (where / file).write_bytes(struct.pack("=Q", 17))
    # Use of the stack fills a volume: no change of a run, but for the cluster that PostgreSQL made.
    assert record(stack)["changed"] == (volume == "postgres-data") and state(stack)["volumes"] != before["volumes"]
    shutil.rmtree(where / file.partition("/")[0])
    found = look(stack)["problems"]
    assert len(found) == 1 and f"the volume {stack.project}_{volume} held data" in found[0] and "and is empty; mount the disk" in found[0]


def test_another_name_for_the_project_does_not_hide_its_data(stack, image):
    ours(stack, image, "up", "--no-start")
    record(stack)
    former = stack.project
    for known in (state(stack), {key: value for key, value in state(stack).items() if key != "project"}):
        (stack.path / "opt/state.json").write_text(json.dumps(known))
        stack.project = former + "x"
        told = f"{stack.path}/opt/state.json is of the project {former}, and mlops_project is {former}x"
        assert len(look(stack)["problems"]) == 1 and look(stack)["problems"][0].startswith(told)
        assert told in record(stack)["msg"]
        stack.project = former
        assert look(stack)["problems"] == []


def test_data_is_not_called_deleted_where_nobody_knows_whose_it_is(stack, image):
    path = ours(stack, image, "up", "--no-start")
    docker("rm", f"{stack.project}-postgres-airflow-1")
    shutil.rmtree(path)
    status, said = stack.play("down.yml", "--limit", "one", "-e", "delete_data=true")
    assert status != 0 and f"{stack.project}_postgres-data" in said and "docker volume rm" in said, said


def test_a_volume_that_was_brought_back_by_hand_is_there(stack, image):
    ours(stack, image, "up", "--no-start")
    record(stack)
    docker("rm", f"{stack.project}-postgres-airflow-1")
    docker("volume", "rm", stack.project + "_redis-data")
    assert len(look(stack)["problems"]) == 1
    docker("volume", "create", stack.project + "_redis-data")
    assert look(stack)["problems"] == []


def test_new_data_is_accepted_with_one_line_and_the_record_of_the_old_is_kept(stack, image):
    path = ours(stack, image, "up", "--no-start")
    make_cluster(stack, 17)
    record(stack)
    before = state(stack)
    for command in (["down", "--volumes"], ["up", "--no-start"]):
        subprocess.run(["docker", "compose", "--project-directory", str(path), *command], check=True, capture_output=True)
    make_cluster(stack, 18)
    found = look(stack)
    assert found["problems"] == [] and [line.split(",")[0] for line in found["doubts"]] == [
        f"PostgreSQL's data is another than {path}/state.json remembers"]
    assert state(stack) == before and kept(stack) == []
    assert "kept" in record(stack) and state(stack)["volumes"][stack.project + "_postgres-data"] == "18" and kept(stack) == [before]
    assert "kept" not in record(stack) and kept(stack) == [before]


@pytest.mark.parametrize("running", [True, False])
def test_a_project_of_the_same_name_that_somebody_else_made_is_refused(stack, image, running):
    folder = compose(stack, "theirs", {"postgres-airflow": service(image), "jupyter": service(image, volumes=["work:/work"])},
                     "up", *(["--detach"] if running else ["--no-start"]), volumes=("work",))
    names = [f"{stack.project}-jupyter-1", f"{stack.project}-postgres-airflow-1"]
    told = (f"the Compose project {stack.project} on this host is not this stack's, which would replace or remove its containers "
            f"({', '.join(names)}, made from {folder}); choose another mlops_project")
    found = look(stack)["problems"]
    assert len(found) == 1 and found[0].startswith(told)
    assert told in record(stack)["msg"] and not (stack.path / "opt").exists()
    # A host without parts of the stack may have any project.
    assert look(stack, runs_parts=False)["problems"] == []
    found = record(stack, state="looked")
    assert (found["ours"], sorted(found["foreign"])) == (False, names)


def test_theirs_beside_ours_is_told_and_nothing_is_taken_down(stack, image):
    ours(stack, image, "up", "--no-start")
    record(stack)
    compose(stack, "theirs", {"jupyter": service(image)}, "up", "--no-start")
    for said in (look(stack)["problems"][0], record(stack, state="looked")["msg"]):
        assert f"({stack.project}-jupyter-1, made from {stack.path}/theirs)" in said and f"docker rm --force {stack.project}-jupyter-1" in said


def test_what_a_project_left_without_containers_and_names_that_are_taken(stack, image):
    compose(stack, "theirs", {"db": service(image, volumes=["data:/data"])}, "up", "--no-start", volumes=("data",))
    docker("rm", f"{stack.project}-db-1")
    (stack.path / "opt").mkdir()
    (stack.path / "opt/compose.yaml").write_text("services: {}\n")
    found = look(stack, bridge="lo")["problems"]
    assert len(found) == 3, found
    assert f"volumes or networks of a Compose project {stack.project} are on this host ({stack.project}_data, {stack.project}_default)" in found[0]
    assert found[1].startswith("a network interface lo is on this host, which no network of its Engine has")
    assert f"{stack.path}/opt/compose.yaml was not written by this stack" in found[2]
    docker("network", "create", stack.project)
    assert look(stack)["problems"][1].startswith(f"a network {stack.project} is on this host that this stack did not make")


def test_an_installation_that_moved_is_still_this_stacks(stack, image):
    ours(stack, image, "up", "--no-start")
    record(stack)
    (stack.path / "opt").rename(stack.path / "moved")
    found = run("preflight", project=stack.project, state_path=str(stack.path / "moved/state.json"))
    assert found["problems"] == [] and found["data"]


def test_down_goes_by_what_is_there_and_not_by_what_compose_can_read(stack, image, monkeypatch):
    path = ours(stack, image, "up", "--detach")
    make_cluster(stack, 17)
    record(stack)
    (path / "compose.yaml").write_text(_project.HEADER + "\nservices: [broken\n")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "acme")
    monkeypatch.setenv("COMPOSE_FILE", "/nowhere.yaml")
    status, said = stack.play("down.yml", "--limit", "one")
    assert status == 0 and "changed=1" in said, said
    label = "label=com.docker.compose.project=" + stack.project
    assert docker("ps", "--all", "--quiet", "--filter", label) == docker("network", "ls", "--quiet", "--filter", label) == ""
    assert stack.project + "_postgres-data" in docker("volume", "ls", "--quiet") and state(stack)
    status, said = stack.play("down.yml", "--limit", "one", "-e", "delete_data=true")
    assert status == 0 and stack.project not in docker("volume", "ls", "--quiet"), said
    assert not (path / "state.json").exists() and kept(stack) == []


def test_down_leaves_a_project_of_somebody_else_alone(stack, image):
    compose(stack, "theirs", {"jupyter": service(image, volumes=["work:/work"])}, "up", "--no-start", volumes=("work",))
    status, said = stack.play("down.yml", "--limit", "one", "-e", "delete_data=true")
    assert status == 0 and f"is not this stack's ({stack.project}-jupyter-1)" in said and "changed=0" in said, said
    assert stack.project + "-jupyter-1" in docker("ps", "--all", "--format", "{{.Names}}") and stack.project + "_work" in docker("volume", "ls", "--quiet")


def test_the_record_of_data_that_is_elsewhere_is_not_deleted(stack, image):
    ours(stack, image, "up", "--no-start")
    record(stack)
    before = state(stack)
    docker("rm", f"{stack.project}-postgres-airflow-1")
    docker("volume", "rm", stack.project + "_postgres-data")
    assert record(stack, state="looked")["lost"] == [stack.project + "_postgres-data"]
    record(stack, state="absent", keep=True)
    assert not (stack.path / "opt/state.json").exists() and kept(stack) == [before]


def test_without_an_engine_nothing_is_said_to_be_removed(stack, image, monkeypatch):
    ours(stack, image, "up", "--no-start")
    client = stack.path / "bin/docker"
    client.parent.mkdir()
    client.write_text('#!/bin/sh\nexec %s --host unix:///nowhere.sock "$@"\n' % shutil.which("docker"))
    client.chmod(0o755)
    with monkeypatch.context() as there:
        there.setenv("PATH", str(client.parent), prepend=":")
        assert "no Docker Engine answers on this host, so nothing can be removed" in record(stack, state="looked")["msg"]
        assert "nobody can say which data it has" in record(stack)["msg"]
    assert record(stack, state="looked")["ours"]


def test_the_version_of_a_given_image_is_what_its_program_says(stack, image):
    postgres, mlflow = (next(name for name in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split() if name.startswith(start))
                        for start in ("mlops/postgres:17", "mlops/mlflow:3"))
    docker("tag", postgres, stack.project + "/postgres:18")
    try:
        images = {"postgres": stack.project + "/postgres:18", "mlflow": mlflow, "airflow": image}
        asked = look(stack, given_images=images)
        assert asked["problems"] == [] and asked["given_versions"] == {"postgres": "17", "mlflow": mlflow.partition(":")[2].partition("-")[0], "airflow": None}
        # What was pulled after preflight is asked before anything starts.
        assert record(stack, images=images, content={"salt": "s", "versions": {"postgres": "16"}})["volumes"] == {}
        assert state(stack)["versions"] == {"postgres": "17", "mlflow": asked["given_versions"]["mlflow"]}
        versions = {"postgres": "16", "mlflow": "2.0", "airflow": "3.3.2"}
        (stack.path / "opt/state.json").write_text(json.dumps({"salt": "s", "versions": versions, "volumes": {}}))
        refused = record(stack, images=images)["msg"]
        for problem in ("postgres 16 holds data here and 17 is wanted, which cannot read it", "mlflow 2.0 holds data here and 3.",
                        f"airflow 3.3.2 holds data here and the image {image} does not say its version"):
            assert problem in refused
        refused = record(stack, images=images, allow_migration=True)["msg"]
        assert "1 problem(s)" in refused and "postgres 16 holds data here" in refused
    finally:
        docker("rmi", stack.project + "/postgres:18")


def test_a_given_image_that_is_not_to_be_had_is_told(stack):
    wanted = {"redis": "127.0.0.1:1/none:1", "mlflow": "127.0.0.1:1/none:1"}
    found = look(stack, given_images=wanted)["problems"]
    assert len(found) == 2 and found[0].startswith("the image 127.0.0.1:1/none:1, given for mlflow, is not on this host and no registry gives it")


def test_space_is_that_of_where_the_engine_keeps_its_data(tmp_path):
    here = docker("info", "--format", "{{.DockerRootDir}}")
    assert engine_data(docker, "/nowhere") == here
    config = tmp_path / "daemon.json"
    for text, expected in (('{"data-root": "/srv/docker"}', "/srv/docker"), ('{"graph": "/old"}', "/old"), ("{}", ENGINE_DATA), ("{", ENGINE_DATA)):
        config.write_text(text)
        assert engine_data(lambda *_arguments: None, str(config)) == expected
