"""Cuts a machine's power in the middle of a playbook run, and kills the run: cut_off.py HOST INVENTORY PLAYBOOK CONDITION.

CONDITION is a shell command on the host that succeeds when it is time to strike. It must hold again once the power is
back, or nothing was cut off.
"""

import os
import signal
import subprocess
import sys
import time

DEADLINE = 300  # seconds


def kill(run: subprocess.Popen) -> None:
    """Kills a playbook run with its workers, which lead sessions of their own and would go on with their task."""
    run.send_signal(signal.SIGSTOP)  # or it would start more of them meanwhile
    workers = subprocess.run(["pgrep", "--parent", str(run.pid)], capture_output=True, text=True, check=False).stdout.split()
    run.kill()
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)
    run.wait()


def main(host: str, inventory: str, playbook: str, condition: str) -> None:
    def wait_until_it_holds(why_not) -> None:
        started = time.monotonic()
        while subprocess.run(["docker", "exec", host, "sh", "-c", condition], capture_output=True, check=False).returncode != 0:
            if time.monotonic() - started > DEADLINE or why_not():
                sys.exit(f"`{condition}` does not hold {why_not() or f'after {DEADLINE} s'}")

    run = subprocess.Popen(["ansible-playbook", "--inventory", inventory, "--limit", host, playbook])
    try:
        wait_until_it_holds(lambda: run.poll() is not None and f"and the run has ended with {run.returncode}")
        subprocess.run(["docker", "kill", host], check=True)
    finally:
        if run.poll() is None:
            kill(run)
    subprocess.run(["docker", "start", host], check=True)
    wait_until_it_holds(lambda: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
