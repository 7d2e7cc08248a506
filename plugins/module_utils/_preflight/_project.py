# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What carries the name of the Compose project on a host: whether this stack made it, and which data its volumes hold."""

from __future__ import annotations

import glob
import itertools
import json
import os
import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import Docker

LABEL = "com.docker.compose.project"
BRIDGE = '{{.Id}} {{with .Options}}{{with index . "com.docker.network.bridge.name"}}{{.}}{{end}}{{end}}'
OURS = "stack.mlops."
HEADER = "# Written by mlops.stack"
# Holds what a process needs while it runs; nobody misses it afterwards.
SCRATCH = "-tmp"
DATABASES = "postgres-data"
# Volumes that a host has which runs a product of state.json's versions: what such a file means that lists no volumes.
IMPLIED = {"postgres": (DATABASES, "redis-data"), "mlflow": ("mlflow-artifacts",), "airflow": ("airflow-logs",)}
# Starts with the cluster's system identifier, 8 bytes in the machine's order (PostgreSQL, src/include/catalog/pg_control.h). A cluster may lie
# in a directory of the volume: PGDATA as the official image's documentation advises it, and where that image has it since 18.
CONTROL_FILES = ("global/pg_control", "*/global/pg_control", "*/docker/global/pg_control")
# Of these volumes it is remembered whether they held anything: without it an empty disk in the place of a full one is not seen.
FILLED = ("redis-data", "mlflow-artifacts")
HELD = "held"

ALLOWED = "REGMODEL_ALLOWED_FLAVORS"
SERVED_BY = '{{if .State.Running}}{{.Config.Image}}{{range .Config.Env}}{{"\\n"}}{{.}}{{end}}{{end}}'


class Found(NamedTuple):
    """What carries the project's name. containers: (name, its Compose folder, labels); volumes and networks: names; net: the
    project label of the network that is called as the project, or None where there is no such network."""

    containers: list[tuple[str, str, str]]
    volumes: list[str]
    networks: list[str]
    net: str | None


def find(docker: Docker, project: str) -> Found | None:
    """What the Engine has of the project, or None where no Engine answers."""
    label = f"label={LABEL}={project}"
    containers = docker("ps", "--all", "--filter", label, "--format", f'{{{{.Names}}}}\t{{{{.Label "{LABEL}.working_dir"}}}}\t{{{{.Labels}}}}')
    volumes = docker("volume", "ls", "--quiet", "--filter", label)
    networks = docker("network", "ls", "--filter", label, "--format", "{{.Name}}")
    same = docker("network", "ls", "--filter", f"name=^{project}$", "--format", f'{{{{.Name}}}}\t{{{{.Label "{LABEL}"}}}}')
    if containers is None or volumes is None or networks is None or same is None:
        return None
    rows = [line.split("\t") for line in containers.splitlines()]
    return Found([(row[0], row[1], row[2]) for row in rows], volumes.split(), networks.split(), same.strip().partition("\t")[2] if same else None)


def is_ours(directory: str) -> bool:
    """Whether this stack keeps, or kept, its project in the directory."""
    if os.path.lexists(os.path.join(directory, "state.json")):
        return True
    try:
        with open(os.path.join(directory, "compose.yaml"), encoding="utf-8", errors="replace") as handle:
            return handle.readline().startswith(HEADER)
    except OSError:
        return False


def sort_out(found: Found, directory: str, ours: bool) -> tuple[list[tuple[str, str]], bool]:
    """(containers that this stack did not make, as (name, folder); whether anything is this stack's)."""
    # An installation whose mlops_dir moved is known by its labels, which not every container of a folder has.
    folders = {folder for _name, folder, labels in found.containers if OURS in labels} | ({directory} if ours else set())
    return [(name, folder) for name, folder, _labels in found.containers if folder not in folders], bool(folders)


def listed(names: Iterable[str]) -> str:
    """A few names, and how many there are beside them."""
    every = sorted(names)
    return ", ".join(every[:4]) + (f" and {len(every) - 4} more" if len(every) > 4 else "")


def foreign_problems(found: Found, project: str, directory: str, bridge: str = "") -> Iterable[str]:
    """What keeps the stack from taking the project's name on this host, because somebody else has it. bridge: the interface that it makes."""
    ours = is_ours(directory)
    foreign, any_ours = sort_out(found, directory, ours)
    another = f"choose another mlops_project than {project}"
    left = [*found.volumes, *found.networks]
    if foreign:
        folders = sorted({folder for _name, folder in foreign if folder})
        made = f", made from {listed(folders)}" if folders else ""
        names = sorted(name for name, _folder in foreign)
        remove = f"docker rm --force {' '.join(names)}" if any_ours else f"docker compose --project-name {project} down --volumes"
        yield (f"the Compose project {project} on this host is not this stack's, which would replace or remove its containers "
               f"({listed(names)}{made}); {another}, or, where nobody needs them and their data, remove them ({remove})")
    elif left and not any_ours:
        yield (f"volumes or networks of a Compose project {project} are on this host ({listed(left)}), and {directory}, where this stack "
               f"keeps its own project, has no record of them (state.json); {another}; if they are this stack's, bring {directory}/state.json back; or, "
               "where nobody needs them, remove them (docker volume rm, docker network rm)")
    if found.net is not None and found.net != project:
        yield f"a network {project} is on this host that this stack did not make; {another}, or remove it (docker network rm {project})"
    if bridge and found.net is None and os.path.exists(f"/sys/class/net/{bridge}"):
        yield (f"a network interface {bridge} is on this host, which no network of its Engine has and which this stack's bridge is called as; where nothing "
               f"uses it, as after an Engine was removed, remove it (ip link delete {bridge}); or {another}")
    if not ours and os.path.lexists(os.path.join(directory, "compose.yaml")):
        yield f"{directory}/compose.yaml was not written by this stack, which would replace it; choose another mlops_dir, or move that file away"


def remembered_volumes(remembered: Mapping[str, Any], project: str) -> dict[str, str]:
    """The data volumes that a state.json speaks of, with the identity of the data where one is known."""
    if "volumes" in remembered:
        return dict(remembered["volumes"])
    return {f"{project}_{volume}": "" for product in remembered.get("versions", {}) for volume in IMPLIED.get(product, ())}


def place(volume: Mapping[str, Any]) -> str | None:
    """The directory that a volume's data is in, or None where it is mounted only while a container uses it."""
    options = volume.get("Options") or {}
    if "bind" in str(options.get("o", "")).split(","):
        return str(options.get("device"))
    return str(volume["Mountpoint"]) if volume.get("Driver") == "local" and not options else None


def identity(directory: str) -> str:
    """The system identifier of the PostgreSQL cluster in a directory, or one or two below it; empty where there is none yet."""
    for pattern in CONTROL_FILES:
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), pattern))):
            try:
                with open(path, "rb") as handle:
                    return str(struct.unpack("=Q", handle.read(8))[0])
            except (OSError, struct.error):
                continue
    return ""


def filled(directory: str) -> str:
    """HELD where anything lies in a directory, else empty."""
    try:
        return HELD if os.listdir(directory) else ""
    except OSError:
        return ""


def data_volumes(docker: Docker, found: Found, project: str, wanted: Iterable[str] = ()) -> dict[str, str | None]:
    """The project's data volumes, and further ones that are wanted by name, as far as they are there: with the identity of
    PostgreSQL's data, or HELD for one of FILLED; "" where there is none (yet), None where nobody can say."""
    names = [name for name in found.volumes if not name.endswith(SCRATCH)]
    labelled = set(names)
    # One that was brought back by hand has no label.
    names += [name for name in wanted if name not in labelled]
    here: dict[str, str | None] = {}
    for name in names:
        told = docker("volume", "inspect", name)
        if told is None:
            continue
        where = place(json.loads(told)[0])
        here[name] = ""
        if name == f"{project}_{DATABASES}":
            here[name] = identity(where) if where else None
        elif name in [f"{project}_{volume}" for volume in FILLED]:
            here[name] = filled(where) if where else None
    return here


def made(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says beside whether volumes hold anything, and whose it is."""
    volumes = {name: "" if known == HELD else known for name, known in record.get("volumes", {}).items()}
    return {**{key: value for key, value in record.items() if key != "project"}, "volumes": volumes}


def renamed_problem(remembered: Mapping[str, Any], project: str, path: str) -> str | None:
    """Why the project may not have this name here, or None: a record of another's data would hide that this one's is not there."""
    volumes = sorted(remembered.get("volumes", {}))
    former = remembered.get("project", project)
    if "project" not in remembered and volumes and not any(name.startswith(f"{project}_") for name in volumes):
        former = volumes[0].rpartition("_")[0]
    if former == project:
        return None
    return (f"{path} is of the project {former}, and mlops_project is {project}, which would begin with empty volumes beside the old ones; set mlops_project "
            f"to {former} again, or give the new project a mlops_dir of its own")


class Data(NamedTuple):
    """How the data that is there compares with what the host remembers."""

    # Remembered volumes that are not there, or hold nothing.
    lost: list[str]
    # Whether PostgreSQL's data is another than the remembered.
    new: bool


def compare(remembered: Mapping[str, Any], here: Mapping[str, str | None], project: str) -> Data:
    """What is lost of the remembered data, and whether PostgreSQL's is another."""
    lost, new = [], False
    for name, known in remembered_volumes(remembered, project).items():
        if name not in here or (known and here[name] == ""):
            lost.append(name)
        elif known and here[name] and here[name] != known:
            new = True
    return Data(sorted(lost), new)


def lost_problems(data: Data, here: Mapping[str, Any], path: str) -> Iterable[str]:
    """One problem for each volume that is lost."""
    for name in data.lost:
        what = "is empty" if name in here else "is not there"
        yield (f"the volume {name} held data when {path} was written, and {what}; mount the disk that it is on, or bring it back from a backup, "
               "then run again; or begin without that data with -e start_empty=true, which keeps the record beside")


def forget(remembered: Mapping[str, Any], data: Data, project: str) -> dict[str, Any]:
    """What the host remembers without the data that it begins anew without."""
    volumes = {name: known for name, known in remembered_volumes(remembered, project).items() if name not in data.lost}
    if f"{project}_{DATABASES}" in data.lost or not volumes:
        # Secrets and versions are those of the databases.
        return {"volumes": volumes} if volumes else {}
    return {**remembered, "volumes": volumes}


def look(docker: Docker, wanted: Mapping[str, Any], remembered: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """(Problems of a host's data and of its project, what else preflight returns of them). wanted: preflight's options."""
    project, path = wanted["project"], wanted["state_path"]
    found = find(docker, project)
    if found is None:
        # A host that remembers data and has no Engine up is taken to hold it; looked at again before anything starts.
        return [], {"data": bool(remembered)}
    another = renamed_problem(remembered, project, path)
    if another and wanted["runs_parts"]:
        return [another], {"data": True, "lost": []}
    here = data_volumes(docker, found, project, remembered_volumes(remembered, project))
    data = compare(remembered, here, project)
    result: dict[str, Any] = {"data": bool(found.volumes or here), "lost": data.lost}
    if data.lost:
        result["remembered"] = forget(remembered, data, project)
    if data.new:
        told = f"PostgreSQL's data is another than {path} remembers, as after docker compose down -v and up -d; "
        result["doubts"] = [told + "it is taken as it is, and the former record is kept beside"]
    if not wanted["runs_parts"]:
        return [], result
    problems = list(foreign_problems(found, project, os.path.dirname(path), wanted["bridge"]))
    return problems + ([] if wanted["start_empty"] else list(lost_problems(data, here, path))), result


def bridges(docker: Docker, project: str) -> list[str]:
    """Bridges of the project's default network: that which it was given, or what Docker calls one."""
    default = ("--filter", f"label={LABEL}={project}", "--filter", "label=com.docker.compose.network=default")
    networks = (docker("network", "ls", "--quiet", *default) or "").split()
    rows = (docker("network", "inspect", "--format", BRIDGE, *networks) or "") if networks else ""
    return sorted({given or "br-" + number[:12] for number, _space, given in (row.partition(" ") for row in rows.splitlines())})


def served_by(docker: Docker, project: str) -> dict[str, str]:
    """What decides which models RegModel's container, if it runs, may load: its image, and the flavors that it was given."""
    told = docker("inspect", "--format", SERVED_BY, f"{project}-regmodel-backend-1")
    if not told or not told.strip():
        return {}
    image, *environment = told.splitlines()
    return {"image": image, "allowed": dict(entry.partition("=")[::2] for entry in environment).get(ALLOWED, "")}


def read_state(path: str) -> dict[str, Any]:
    """What the file holds, {} where it is missing. Raises ValueError and OSError."""
    try:
        with open(path, encoding="utf-8") as handle:
            return dict(json.load(handle))
    except FileNotFoundError:
        return {}


def write_state(path: str, state: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all, for root alone."""
    staged = f"{path}.new"
    with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), 0o600)
        handle.write(json.dumps(state, indent=4, sort_keys=True) + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(staged, path)


def keep_beside(path: str) -> str:
    """Give the record a second name, which what follows leaves alone, and return that name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in itertools.count():
        kept = f"{path}.{stamp}" + (f".{number}" if number else "")
        try:
            os.link(path, kept)
        except FileExistsError:
            continue
        return kept
    raise AssertionError("count ends never")
