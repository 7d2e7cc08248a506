"""Cuts a machine's power while its Engine starts a container: cut_start.py HOST CONTAINER PORT.

The container is one that publishes PORT there. What makes containers is slow for that moment, so the cut always comes between the port and the
container's state: the Engine then has the port after its next start, and gives it to no container.
"""

import subprocess
import sys
import time

DEADLINE = 60  # seconds
# The file in /run is gone with the power, and with it what is slow.
SLOW = """
printf '%s\\n' '#!/bin/sh' '[ ! -e /run/slow ] || sleep 60' 'exec /usr/sbin/runc "$@"' >/usr/local/sbin/runc
chmod +x /usr/local/sbin/runc
"""
REFUSED = 'docker start "$1" 2>&1 | grep -q "port is already allocated"'
# What makes the container is waited for, so the Engine has written down all that it knows of the port, a proxy's start alone does not say so.
RUNNING = 'for arguments in /proc/[0-9]*/cmdline; do tr "\\0" " " <$arguments; echo; done 2>/dev/null | grep -q '
KEPT = RUNNING + '"docker-proxy .*-host-port $1 " && ' + RUNNING + '"^/bin/sh /usr/local/sbin/runc .*create"'


def on(host: str, command: str, *arguments: str) -> int:
    return subprocess.run(["docker", "exec", host, "sh", "-c", command, "cut", *arguments], stdout=subprocess.DEVNULL, check=False).returncode


def wait_until(host: str, command: str, *arguments: str) -> None:
    end = time.monotonic() + DEADLINE
    while on(host, command, *arguments) != 0:
        if time.monotonic() > end:
            sys.exit(f"`{command}` does not hold on {host} after {DEADLINE} s")
        time.sleep(0.1)


def main(host: str, container: str, port: str) -> None:
    if on(host, REFUSED, container) == 0:  # an earlier cut came in this very moment
        return
    if on(host, SLOW + 'docker stop "$1" && touch /run/slow', container) != 0:
        sys.exit(f"{container} on {host} cannot be stopped")
    with subprocess.Popen(["docker", "exec", host, "docker", "start", container], stderr=subprocess.DEVNULL):
        wait_until(host, KEPT, port)
        subprocess.run(["docker", "kill", host], check=True)
    subprocess.run(["docker", "start", host], check=True)
    wait_until(host, "docker version")
    if on(host, REFUSED, container) != 0:
        sys.exit(f"the Engine of {host} starts {container}, wanted is one that keeps port {port} for nobody")


if __name__ == "__main__":
    main(*sys.argv[1:])
