"""Runs Python programs one after the other, each in a child that has the machine-learning libraries from its parent.

Importing them takes longer than what the tests do with them. Run by the model runtime's Python in Airflow's image:
reads orders as lines of JSON ({"command": python's arguments, "environ": {}, "fresh": bool, "seconds": int}), and
answers each with a line of JSON (returncode, stdout, stderr). A fresh program gets an interpreter of its own.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path

LIBRARIES = ("mlflow.pyfunc", "mlflow.sklearn", "pandas", "sklearn.datasets", "sklearn.ensemble", "sklearn.linear_model",
             "sklearn.pipeline", "skops.io")
for library in LIBRARIES:
    importlib.import_module(library)


def become(command, environ, fresh, seconds):
    """Turn this child into the program."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environ)
    signal.alarm(seconds)
    if fresh:
        os.execv(sys.executable, [sys.executable, *command])
    sys.argv = command[1:] if command[0] == "-m" else command
    if command[0] == "-m":
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


def main():
    """Answer orders until there are no more; in a child, return what it shall become."""
    folder = Path(tempfile.mkdtemp())
    paths = [folder / "stdout", folder / "stderr"]
    for line in sys.stdin:
        order = json.loads(line)
        files = [path.open("wb") for path in paths]
        child = os.fork()
        if child == 0:
            for number, file in enumerate(files, 1):
                os.dup2(file.fileno(), number)
            return order
        for file in files:
            file.close()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stdout, stderr = (path.read_text(errors="replace") for path in paths)
        print(json.dumps({"returncode": status, "stdout": stdout, "stderr": stderr}), flush=True)
    return None


if __name__ == "__main__":
    given = main()
    if given is not None:
        become(**given)
