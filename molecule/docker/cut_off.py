"""Kills a playbook run while dpkg unpacks a package, and cuts the machine's power: cut_off.py HOST INVENTORY PLAYBOOK."""

import os
import signal
import subprocess
import sys
import time

UNFINISHED = {"half-installed", "unpacked", "half-configured"}
DEADLINE = 300


def main(host: str, inventory: str, playbook: str) -> None:
    def packages() -> set[str]:
        command = ["docker", "exec", host, "dpkg-query", "--show", "--showformat", "${db:Status-Status}\n"]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    # A session of its own: SIGKILL reaches the workers too.
    run = subprocess.Popen(["ansible-playbook", "--inventory", inventory, "--limit", host, playbook], start_new_session=True)
    started = time.monotonic()
    try:
        while not packages() & UNFINISHED:
            if run.poll() is not None:
                sys.exit(f"the run ended with {run.returncode} before a package was seen unfinished")
            if time.monotonic() - started > DEADLINE:
                sys.exit(f"no package was seen unfinished within {DEADLINE} s")
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    subprocess.run(["docker", "kill", host], check=True)
    subprocess.run(["docker", "start", host], check=True)
    left = packages() & UNFINISHED
    if not left:
        sys.exit("the power cut came too late: every package was finished")
    print(f"cut off with packages {', '.join(sorted(left))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
