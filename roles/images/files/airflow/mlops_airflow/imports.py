"""DAG files that Airflow cannot load, as they lie in the folder at this moment: one line of JSON goes to standard output.

The dag-processor's own parser reads each file once, in a process of its own with Airflow's variables and connections at hand. Nothing is
written to the database: the dag-processor does that for itself, whenever it comes to the files. Of other bundles, and without
``--parse``, it is told what the dag-processor noted last.

{"errors": [{"bundle": ..., "file": ..., "error": a traceback}], "parsed": whether files were read now}
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from mlops_airflow import database
from mlops_airflow.config import setting

BUNDLE = "dags-folder"  # Airflow's own name for the folder, where no bundles are configured
# What was found to load without an error, by a digest; it lives as long as the container, and so do its packages and its environment.
CLEAN = Path("/run/airflow/dags-that-load")


def tree_digest(folder: Path) -> str:
    """Return a digest over names and contents of all files."""
    found = hashlib.sha256()
    for directory, directories, files in os.walk(folder, followlinks=True):
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(files):
            path = Path(directory, name)
            found.update(f"{path.relative_to(folder)}\0".encode(errors="surrogateescape"))
            found.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
    return found.hexdigest()


def noted() -> list[dict]:
    """Return what the dag-processor noted in the database."""
    return [
        {"bundle": bundle or "", "file": file or "", "error": error or ""}
        for bundle, file, error in database.import_errors(database.connect())
    ]


def parse() -> list[dict]:
    """Read every file of the folder as the dag-processor does."""
    from airflow.dag_processing.manager import DagFileInfo, DagFileProcessorManager
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded

    errors = []

    class Reader(DagFileProcessorManager):
        """The dag-processor's manager of parsing processes; results go to a list and nowhere else."""

        def handle_parsing_result(self, file, proc) -> None:
            result = proc.parsing_result
            if result is None:
                found = {str(file.rel_path): f"the process that loads it ended with {proc._exit_code} and told nothing"}
            else:
                found = result.import_errors or {}
            errors.extend({"bundle": file.bundle_name, "file": name, "error": error} for name, error in found.items())

        def read(self) -> None:
            self.prepare_server_process_context()
            self.prepare_process_context()
            self.register_exit_signals()
            self.load_dag_bundles()
            for bundle in self._dag_bundles:
                bundle.initialize()
                files = [DagFileInfo(path, bundle.name, bundle.path) for path in self._find_files_in_bundle(bundle)]
                self._add_files_to_queue(files, mode="back")
            while self._file_queue or self._processors:
                running = set(self._processors)
                self._kill_timed_out_processors()
                errors.extend(
                    {"bundle": file.bundle_name, "file": str(file.rel_path), "error": f"it took longer than {self.processor_timeout} s to load"}
                    for file in running - set(self._processors)
                )
                self._start_new_processes()
                # Short: that a process has ended is seen here, and no socket tells it.
                self._service_processor_sockets(timeout=0.05)
                self._collect_results()

    @providers_configuration_loaded
    def read() -> None:
        with tempfile.TemporaryDirectory() as logs:
            Reader(max_runs=1, bundle_names_to_parse=[BUNDLE], base_log_dir=logs).read()

    read()
    return errors


def main(*arguments: str) -> None:
    errors = noted()
    parsed = False
    if "--parse" in arguments and not setting("dag_processor", "dag_bundle_config_list"):
        before = tree_digest(Path(setting("core", "dags_folder") or "/opt/airflow/dags"))
        here = [row for row in errors if row["bundle"] == BUNDLE]
        if parsed := bool(here) or not CLEAN.exists() or CLEAN.read_text() != before:
            # Airflow and DAGs may print; the answer is all that goes to standard output.
            answer = os.dup(1)
            os.dup2(2, 1)
            found = parse()
            os.dup2(answer, 1)
            CLEAN.write_text("" if found else before)
            errors = [row for row in errors if row["bundle"] != BUNDLE] + found
    print(json.dumps({"errors": sorted(errors, key=lambda row: (row["bundle"], row["file"])), "parsed": parsed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
