# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what converged when, on which host, at the end of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: timeline
type: aggregate
short_description: Show when each service started, first answered and became ready
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - At the end of a run, prints a line for each service and host that M(mlops.stack.wait_healthy) waited for - when its container was
    started, when it first answered, when it was ready - and marks the critical path. Checks of one container are one service.
  - Times are seconds since the run began. A container that was started before that C(ran before). What held when it was first asked
    has a V(by) before its times, for nobody saw when it came to hold.
  - Where every service was ready when it was first asked, one line says so. Where nothing was waited for, nothing is printed.
  - With the variable C(mlops_report_dir), a directory on the controller, writes C(timeline.json) and the self-contained page
    C(timeline.html) to it, mode 0600. The directory is made if it is missing. A relative path counts from the current directory. The
    variable is looked up for the host and the task of each wait, so extra variables, the inventory, the play and role defaults all work.
  - Only names, codes and times are taken from a result, never its arguments, messages or logs.
notes:
  - The start of a container is told by the managed node's clock, and is placed by its distance to the beginning of the wait on the same
    clock. The waits themselves are placed by when their results came to the controller, less how long they took. So clocks may differ;
    times of different waits are comparable to within the time it takes to bring a result over, usually well below a second.
  - The first answer is of what a check asks. A check that asks another service about its own shows the answer of the other.
  - The critical path ends with the service that was seen to become ready last. In waits of this collection's roles each predecessor is,
    of the services that the one after it is known to wait for (C(roles/mlops/vars/main/waits.yml)), the one that was ready last, after
    the container of the one after it was started. A service of which nothing is known has no predecessor.
  - In other waits nothing tells what a service waited for, and the path is inferred from the order of events; the output says which.
    There the predecessor of a service is the one that was ready last before the service first answered (or, if there is none, before it
    was ready), and after its container was started. What became ready at the right moment by chance is taken for a cause, and where
    many services share a busy machine much does; read the path as where to look first.
  - Of those that became ready within half a second of each other, the longest pause between two attempts, the first counts; where the
    path is inferred, none of them precedes another. What held when it was first asked is not on the path, for nobody saw when it came
    to hold. No path is marked when a wait failed.
requirements:
  - enable in configuration, see the example
"""

EXAMPLES = r"""
example: >
  To enable, add this to ansible.cfg
    [defaults]
    callbacks_enabled = mlops.stack.timeline
sample output: >
  TIMELINE ***********************************************************************
  seconds since the run began; > is the critical path, along what the services are known to wait for
    host  service            started  first answer  ready
    one   postgres-airflow       6.1           7.0    7.4
    one   mlflow              17.9          24.6   25.1
  > one   airflow-init          18.0          26.3   26.3
  > one   airflow-webserver     18.0          31.2   31.2
  critical path: airflow-init 26.3 -> airflow-webserver 31.2
"""

import json
import time
from datetime import UTC, datetime
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.mlops.stack.plugins.plugin_utils._report import write_report
from ansible_collections.mlops.stack.plugins.plugin_utils._timeline._page import page
from ansible_collections.mlops.stack.plugins.plugin_utils._timeline._rows import Service, Timeline

MODULES = ("mlops.stack.wait_healthy", "wait_healthy")
VARIABLE = "mlops_report_dir"
WAITS_FOR = "__mlops_waits_for"  # roles/mlops/vars/main/waits.yml
HEADINGS = ("host", "service", "started", "first answer", "ready")


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def lines(timeline: Timeline, services: list[Service]) -> list[tuple[str, bool]]:
    """What is printed: each line, and whether it tells of a failure."""
    if services and all(service.at_once for service in services) and not timeline.unreachable:
        hosts = plural(len({service.host for service in services}), "host")
        were = "was" if len(services) == 1 else "were"
        took = max(service.took for service in services)
        return [(f"{plural(len(services), 'service')} on {hosts} {were} ready at once ({took:.1f} s)", False)]
    rows = [(" ", HEADINGS, False)] if services else []
    for s in services:
        started = "ran before" if s.ran_before else moment(s.started)
        ready = f"{s.state} ({s.code})" if s.ready is None else moment(s.ready, s.at_once)
        rows.append((">" if s.critical else " ", (s.host, s.name, started, moment(s.answered, s.at_once), ready), s.state == "failed"))
    widths = [max((len(cells[column]) for _mark, cells, _bad in rows), default=0) for column in range(len(HEADINGS))]
    path = sorted((s for s in services if s.critical), key=lambda s: s.ready or 0.0)
    legend = f"; > is the critical path, {timeline.basis}" if path else ""
    shown = [("seconds since the run began" + legend, False)]
    for mark, cells, bad in rows:
        columns = enumerate(zip(cells, widths, strict=True))
        padded = [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in columns]
        shown.append((f"{mark} {'  '.join(padded)}", bad))
    shown += [(f"{host} became unreachable during a wait; what it had seen is lost", True) for host in timeline.unreachable]
    if path:
        one = len({s.host for s in services}) == 1
        shown.append(("critical path: " + " -> ".join(f"{'' if one else s.host + ' '}{s.name} {moment(s.ready)}" for s in path), False))
    return shown


def moment(at: float | None, by: bool = False) -> str:
    return "-" if at is None else f"{'by ' if by else ''}{at:.1f}"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "mlops.stack.timeline"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._zero = time.monotonic()
        self._timeline = Timeline(datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        self._directory = ""

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play

    def v2_runner_on_ok(self, result: Any) -> None:
        self._take(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._take(result)

    # A loop's own result comes after those of its items and holds no checks itself.
    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._take(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._take(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if result._task.action in MODULES:
            self._timeline.lose(self.host_label(result))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        services = self._timeline.services()
        if not services and not self._timeline.unreachable:
            return
        self._display.banner("TIMELINE")
        for text, bad in lines(self._timeline, services):
            self._display.display(text, color=C.COLOR_ERROR if bad else None)
        if self._directory:
            self._report(services)

    def _take(self, result: Any) -> None:
        received = time.monotonic() - self._zero
        if result._task.action in MODULES and self._timeline.add(self.host_label(result), result._result, received):
            self._look_up(result)

    def _look_up(self, result: Any) -> None:
        """The variables as the task saw them; the first wait that has a value settles it."""
        if self._directory and self._timeline.waits_for is not None:
            return
        variables = self._play.get_variable_manager().get_vars(play=self._play, host=result._host, task=result._task)
        try:
            value = Templar(loader=self._play.get_loader(), variables=variables).template(variables.get(VARIABLE))
        except AnsibleError as error:
            self._display.warning(f"{VARIABLE} cannot be evaluated, no timeline is written: {error}")
            value = ""
        self._directory = self._directory or str(value or "")
        if isinstance(variables.get(WAITS_FOR), dict):
            self._timeline.waits_for = variables[WAITS_FOR]

    def _report(self, services: list[Service]) -> None:
        document = json.dumps(self._timeline.document(services), indent=2) + "\n"
        try:
            write_report(self._directory, "timeline.json", document)
            chart = write_report(self._directory, "timeline.html", page(self._timeline, services))
        except OSError as error:
            self._display.warning(f"the timeline cannot be written to {self._directory}: {error}; set {VARIABLE} to a directory"
                                  " on the controller that this user may write")
        else:
            self._display.display(f"chart: {chart}")
