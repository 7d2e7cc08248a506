"""What the running containers are allowed, read from the Engine and from the kernel, against docs/security.md."""

import json
import re
import subprocess

import pytest

PROCESSES = """
import json, os, pathlib
found = []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        found.append({"namespace": os.readlink(folder / "ns/pid"), "name": status["Name"].strip(), "uids": status["Uid"].split(),
                      "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
                      "capabilities": [status["Cap" + kind].strip() for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
                      "mounts": [line.split() for line in (folder / "mountinfo").read_text().splitlines()]})
    except OSError:
        pass  # it has ended, or is a zombie, which has no mounts
print(json.dumps(found))
"""
# (recommendation, service): why it does not hold there. Each must still be needed.
EXCEPTIONS = {
    ("4.1", "firewall"): "nftables wants root",
    ("5.4", "firewall"): "it has NET_ADMIN, of root's rights the one that rules want",
    ("5.10", "firewall"): "its rules are the host's",
    ("5.6", "node-exporter"): "it measures the host's file systems: the host's root, read-only",
}


def mounted(container, kind):
    return [mount for mount in container["Mounts"] if mount["Type"] == kind]


def ports(container):
    return [binding for bindings in container["HostConfig"]["PortBindings"].values() for binding in bindings]


def writable_tmpfs(container):
    """Options of every tmpfs that processes may write to; /dev, and /dev/null over what the Engine hides, are its own."""
    for mount in container["Processes"][0]["mounts"]:
        kind = mount[mount.index("-") + 1]
        if kind == "tmpfs" and mount[3] == "/" and mount[4] != "/dev":
            options = set(mount[5].split(","))
            if "rw" in options:
                yield options


# Recommendations of the CIS Docker Benchmark, and what must hold of each container for it.
RECOMMENDATIONS = {
    "4.1": lambda c: all(uid not in ("0", "") for process in c["Processes"] for uid in process["uids"]) and c["Config"]["User"],
    "5.4": lambda c: c["HostConfig"]["CapDrop"] == ["ALL"] and not c["HostConfig"]["CapAdd"]
    and all(int(mask, 16) == 0 for process in c["Processes"] for mask in process["capabilities"]),
    "5.5": lambda c: not c["HostConfig"]["Privileged"],
    "5.6": lambda c: all(mount["Source"].startswith("/opt/mlops/") for mount in mounted(c, "bind")),
    "5.7": lambda c: not any(process["name"] == "sshd" for process in c["Processes"]),
    "5.8": lambda c: all(int(binding["HostPort"]) >= 1024 for binding in ports(c)),
    "5.10": lambda c: c["HostConfig"]["NetworkMode"] == "mlops",
    "5.11": lambda c: 0 < c["HostConfig"]["Memory"] == c["Limits"]["memory"],
    "5.13": lambda c: c["HostConfig"]["ReadonlyRootfs"] and "Read-only file system" in c["Attempt"],
    "5.14": lambda c: all(binding["HostIp"] == "127.0.0.1" for binding in ports(c)),
    "5.16": lambda c: c["HostConfig"]["PidMode"] == "",
    "5.17": lambda c: c["HostConfig"]["IpcMode"] == "private",
    "5.18": lambda c: not c["HostConfig"]["Devices"] and not c["HostConfig"]["DeviceRequests"],
    "5.20": lambda c: not any(mount["Propagation"].endswith("shared") for mount in c["Mounts"]),
    "5.21": lambda c: c["HostConfig"]["UTSMode"] == "",
    "5.22": lambda c: all(process["seccomp"] == "2" for process in c["Processes"]),
    "5.25": lambda c: c["HostConfig"]["CgroupParent"] == "",
    "5.26": lambda c: "no-new-privileges:true" in c["HostConfig"]["SecurityOpt"]
    and all(process["no_new_privileges"] == "1" for process in c["Processes"]),
    "5.27": lambda c: c["Config"]["Healthcheck"]["Test"][0].startswith("CMD"),
    "5.29": lambda c: 0 < c["HostConfig"]["PidsLimit"] == c["Limits"]["pids"],
    "5.31": lambda c: c["HostConfig"]["UsernsMode"] == "",
    "5.32": lambda c: not any(mount["Source"].endswith("docker.sock") for mount in c["Mounts"]),
    "log rotation": lambda c: c["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}},
    "tmpfs": lambda c: all({"noexec", "nosuid", "nodev"} <= options for options in writable_tmpfs(c)),
}


LIMITS = ("cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max 2>/dev/null; echo tried > /usr/tried")


@pytest.fixture(scope="module")
def containers(host):
    """Each container of the project as the Engine tells it, with its processes, the limits that it sees, and an attempt to write as root."""
    run = subprocess.run(["docker", "exec", "-i", host.backend.host, "python3", "-"], input=PROCESSES, capture_output=True, text=True, check=True)
    processes = json.loads(run.stdout)
    ids = host.check_output("docker ps --quiet --filter label=com.docker.compose.project=mlops").split()
    found = json.loads(host.check_output("docker inspect " + " ".join(ids)))
    for container in found:
        namespace = host.check_output(f"readlink /proc/{container['State']['Pid']}/ns/pid")
        # runc: a health check on its way into the container, which is not yet the program that it will be.
        container["Processes"] = [process for process in processes
                                  if process["namespace"] == namespace and not process["name"].startswith("runc")]
        tried = host.run(f"docker exec --user 0 {container['Id']} sh -c '{LIMITS}'")
        memory, pids = (int(number) for number in re.findall(r"^\d+$", tried.stdout, re.MULTILINE))
        container["Limits"] = {"memory": memory, "pids": pids}
        container["Attempt"] = tried.stderr
    return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}


def test_every_service_is_looked_at(containers):
    assert len(containers) >= 17, sorted(containers)
    assert all(container["Processes"] for container in containers.values())


@pytest.mark.parametrize("recommendation", RECOMMENDATIONS)
def test_recommendation_holds(containers, recommendation):
    broken = {service for service, container in containers.items() if not RECOMMENDATIONS[recommendation](container)}
    assert broken == {service for number, service in EXCEPTIONS if number == recommendation}


def test_swarm_is_off(host):
    """5.1"""
    assert host.check_output("docker info --format '{{.Swarm.LocalNodeState}}'") == "inactive"


def test_secret_files_are_for_their_reader_alone(host):
    listed = host.check_output("find /opt/mlops -path '*/secrets/*' -type f -printf '%m %U %p\\n'").splitlines()
    assert listed
    assert not [line for line in listed if not re.match(r"400 [1-9]|600 0 /opt/mlops/images/secrets/", line)]
    assert not host.check_output("find /opt/mlops -type d -name secrets -perm /077")
