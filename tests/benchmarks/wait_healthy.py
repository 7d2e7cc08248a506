#!/usr/bin/env python
"""How long after all targets are ready does each way to wait return? wait_healthy and its peers, in one run on one machine.

Every waiter is a task of a playbook run of its own, so all pay the same for Ansible; wait_healthy's module is also run alone,
for its promises are about the module. Targets become ready one after the other, the last at the ready time, which lies evenly
within 25 % of the nominal one, so that no poller's clock happens to fit. Exits with 1 if a promise does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench_report import Cell, Promise, markdown, paired_ratio, percentile, probe_bound, seconds, svg
from bench_targets import Containers, Ports, Targets
from bench_waiters import ROOT, WAITERS, Alone, Control, Waiter, module_alone, playbook

sys.path[:0] = [str(ROOT / ".collections"), str(ROOT / "tests" / "integration")]
from stack_images import image  # noqa: E402

SPREAD = 0.25  # part of the nominal ready time by which samples differ from it
# Between two starts of waiters of one round: a module is up by then, and none pays for another's start.
STAGGER = 1.5
# Up to this ready time in seconds the waiters wait one after the other, above it so many together by number of targets:
# while they wait they cost little, but a loop over 100 targets keeps a core busy.
ONE_BY_ONE = 5
TOGETHER = {1: 5, 10: 5, 100: 3}
# 100 containers with a healthcheck each second are three times what two cores can execute.
INTERVALS = {1: 1, 10: 1, 100: 10}
DOCKER_P95 = 0.025
HUNDRED_TO_ONE = 1.5


# Overshoot, and the time after the last health event where there is one.
Sample = tuple[float, float | None]


class Plan(NamedTuple):
    """Repeats by number of targets and ready time, and the samples of the module alone."""

    ports: dict[int, dict[float, int]]
    containers: dict[int, dict[float, int]]
    alone: int
    longest: float  # seconds: the module alone waits 0.2 to so many
    pairs: int


FULL = Plan(
    ports={1: {0: 3, 1: 3, 5: 3, 20: 2, 60: 1}, 10: {1: 2, 5: 2, 20: 2, 60: 1}, 100: {1: 1, 5: 1, 20: 1, 60: 1}},
    # With a healthcheck every 10 seconds a ready time of one second would say nothing.
    containers={1: {0: 3, 1: 3, 5: 3, 20: 2, 60: 1}, 10: {1: 2, 5: 2, 20: 2, 60: 1}, 100: {5: 1, 20: 1, 60: 1}},
    alone=40, longest=5.0, pairs=11)
QUICK = Plan(ports={1: {0: 1, 1: 1}, 10: {1: 1}}, containers={1: {0: 1, 1: 1}, 10: {1: 1}}, alone=6, longest=1.5, pairs=3)


def load() -> float:
    """The load average of the last minute, the benchmark's own work included."""
    return round(os.getloadavg()[0], 2)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {load()}  {text}", flush=True)


class Benchmark:
    def __init__(self, plan: Plan, save: Callable[[Benchmark], None]) -> None:
        self.plan = plan
        self._save = save  # called whenever there is something new
        self.cells: list[Cell] = []
        self.promises: list[Promise] = []
        self.alone: dict[str, Any] = {}
        self.image = image("python")
        self.loads: list[float] = []
        self._lanes = 0
        # The same ready times in every run.
        self._random = random.Random(1)

    async def run(self) -> None:
        async with Control() as self.control:
            await self._alone_ports()
            await self._alone_container()
            await self._hundred()
            for count in self.plan.ports:
                for ready, times in self.plan.ports[count].items():
                    await self._cells([waiter for waiter in WAITERS if waiter.kind != "docker"], count, ready, times)
                async with Containers(self.image, count, INTERVALS[count]) as containers:
                    for ready, times in self.plan.containers[count].items():
                        await self._cells([waiter for waiter in WAITERS if waiter.kind == "docker"], count, ready, times, containers)
        early = [f"{cell.waiter}, {cell.count}, {cell.ready:g} s" for cell in self.cells if cell.ours and min(cell.overshoot) < 0]
        self._promise("wait_healthy never returns before all is ready", "0 cells", ", ".join(early) or "0 cells", not early)

    def _promise(self, what: str, wanted: str, found: str, holds: bool) -> None:
        self.promises.append(Promise(what, wanted, found, holds))
        say(f"{'ok' if holds else 'NOT KEPT'}: {what}: {found} (wanted {wanted})")

    # Whole tasks

    async def _cells(self, waiters: list[Waiter], count: int, ready: float, times: int, containers: Containers | None = None) -> None:
        samples: dict[Waiter, list[Sample]] = {waiter: [] for waiter in waiters}
        for number in range(times):
            at = ready * (1 - SPREAD + 2 * SPREAD * (number + 0.5) / times)
            # To start 100 containers anew takes longer than to wait for them; there, only docker_container's loop is work.
            one_by_one = ready <= ONE_BY_ONE and not (containers and count == 100)
            together = 1 if one_by_one else TOGETHER[count]
            for first in range(0, len(waiters), together):
                if containers:
                    await containers.reset()
                found = await self._round(waiters[first:first + together], count, at, containers)
                for waiter, sample in found.items():
                    samples[waiter].append(sample)
        for waiter, taken in samples.items():
            self.loads.append(load())
            overshoot, after_event = [one for one, _event in taken], [event for _one, event in taken if event is not None]
            self.cells.append(Cell(waiter.name, waiter.kind, waiter.ours, count, ready, overshoot, after_event))
            say(f"{waiter.name}, {count} targets, ready after {ready:g} s: {', '.join(map(seconds, overshoot))}")
        self._save(self)

    async def _round(self, waiters: list[Waiter], count: int, ready: float, shared: Containers | None) -> dict[Waiter, Sample]:
        """Let the waiters wait at the same time; ports are each waiter's own, containers are everybody's."""
        own: dict[Waiter, Targets] = {waiter: shared or Ports(waiter.kind, count) for waiter in waiters}
        if shared and not ready:
            shared.arm(0)
            await shared.last_healthy()
        runs = {}
        async with asyncio.TaskGroup() as group:
            for waiter in waiters:
                self._lanes += 1
                lane = f"lane{self._lanes}"
                self.control.expect(lane)
                runs[waiter] = (lane, group.create_task(playbook(waiter, own[waiter], self.control, lane)))
            for lane, _running in runs.values():
                await self.control.arrived(lane)
            for number, waiter in enumerate(waiters):
                if not shared:
                    own[waiter].arm(ready)
                elif ready and number == len(waiters) - 1:
                    shared.arm(ready)
                self.control.release(runs[waiter][0])
                await asyncio.sleep(STAGGER)
        found: dict[Waiter, Sample] = {}
        for waiter, (_lane, running) in runs.items():
            timed = running.result()
            if not ready:
                found[waiter] = (timed.end - timed.start, None)
            else:
                event = timed.end - await shared.last_healthy() if shared else None
                found[waiter] = (timed.end - own[waiter].ready[-1].wall, event)
        for targets in own.values():
            if isinstance(targets, Ports):
                await targets.close()
        return found

    # The module alone

    async def _sample(self, targets: Targets, ready: float) -> tuple[Alone, float, float]:
        """The run, the overshoot, and how long the module waited for the target."""
        run = await module_alone(targets, ready)
        moment = targets.ready[-1]
        return run, run.ended - moment.mono, moment.mono - run.began

    def _ready_times(self) -> list[float]:
        return [self._random.uniform(0.2, self.plan.longest) for _number in range(self.plan.alone)]

    async def _alone_ports(self) -> None:
        """One http and one tcp target, two modules at a time: each leaves the machine idle while it waits."""

        async def series(kind: str) -> None:
            overshoots, beyond = [], []
            for ready in times[kind]:
                targets = Ports(kind, 1)
                run, overshoot, elapsed = await self._sample(targets, ready)
                await targets.close()
                attempt = next(iter(run.result["checks"].values()))["last"]["took_ms"] / 1000
                overshoots.append(overshoot)
                beyond.append(overshoot - probe_bound(elapsed, attempt))
            self._summary(f"module alone, {kind}", overshoots)
            p95 = percentile(beyond, 95)
            what = f"{kind}: overshoot within max(20 ms, 2 % of elapsed, at most 0.5 s) + one attempt, 95th percentile of {len(beyond)}"
            self._promise(what, "0 ms beyond or less", f"{seconds(p95)} beyond; {sum(one > 0 for one in beyond)} samples beyond", p95 <= 0)

        times = {kind: self._ready_times() for kind in ("http", "tcp")}
        await asyncio.gather(*map(series, times))

    async def _alone_container(self) -> None:
        after, whole = [], []
        async with Containers(self.image, 1, 0.3) as containers:
            for ready in self._ready_times():
                await containers.reset()
                run, overshoot, _elapsed = await self._sample(containers, ready)
                after.append(run.ended_wall - await containers.last_healthy())
                whole.append(overshoot)
        self._summary("module alone, docker, after the event", after)
        self._summary("module alone, docker, after the application (healthcheck every 0.3 s)", whole)
        p95 = percentile(after, 95)
        what = f"docker: result after the event's timeNano, 95th percentile of {len(after)}"
        self._promise(what, f"{seconds(DOCKER_P95)} or less", seconds(p95), p95 <= DOCKER_P95)

    def _summary(self, name: str, values: list[float]) -> None:
        self.alone[name] = {"samples": values, "median": statistics.median(values), "p95": percentile(values, 95)}
        say(f"{name}: median {seconds(statistics.median(values))}, 95th percentile {seconds(percentile(values, 95))}")

    async def _hundred(self) -> None:
        """One call with 100 checks against one call with one, in turn."""
        figures: dict[str, list[tuple[float, float]]] = {"wall": [], "cpu": [], "inside": [], "waited": [], "overshoot": []}
        for _number in range(self.plan.pairs):
            pair: dict[str, list[float]] = {name: [] for name in figures}
            ready = self._random.uniform(1.0, 2.5)
            for count in (1, 100):
                targets = Ports("http", count)
                run, _overshoot, _elapsed = await self._sample(targets, 0)
                pair["wall"].append(run.wall)
                pair["cpu"].append(run.cpu)
                pair["inside"].append(run.ended - run.began)
                await targets.close()
                targets = Ports("http", count)
                run, overshoot, _elapsed = await self._sample(targets, ready)
                pair["waited"].append(run.wall)
                pair["overshoot"].append(overshoot)
                await targets.close()
            for name, (one, hundred) in pair.items():
                figures[name].append((one, hundred))
        for name, what in (("wall", "wall time of a call, all ready"), ("cpu", "CPU time of a call, all ready"),
                           ("waited", "wall time of a call that waits 1 to 2.5 s")):
            ratio = paired_ratio(figures[name])
            self._promise(f"100 checks to 1: {what}, median of {self.plan.pairs} pairs",
                          f"less than {HUNDRED_TO_ONE}", f"{ratio:.2f}", ratio < HUNDRED_TO_ONE)
        for name, what in (("inside", "module alone, http, all ready: from its begin"),
                           ("overshoot", "module alone, http, ready one after the other")):
            for index, count in enumerate((1, 100)):
                self._summary(f"{what}, {count} checks", [pair[index] for pair in figures[name]])


def machine() -> dict[str, Any]:
    def told(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def lines(path: str, beginning: str) -> list[str]:
        return [line.split(":", 1)[1].strip() for line in pathlib.Path(path).read_text().splitlines() if line.startswith(beginning)]

    memory = lines("/proc/meminfo", "MemTotal")[0]
    model = [*lines("/proc/cpuinfo", "model name"), platform.machine()][0]
    return {
        "cores": len(os.sched_getaffinity(0)), "niceness": os.nice(0), "processor": model,
        "memory_gib": round(int(memory.split()[0]) / 2**20),
        "kernel": platform.release(), "python": platform.python_version(), "ansible_core": told("ansible", "--version").splitlines()[0],
        "engine": told("docker", "version", "--format", "{{.Server.Version}}"), "compose": told("docker", "compose", "version", "--short"),
        "containers_of_others": len(told("docker", "ps", "--quiet").split()),
    }


async def busy() -> int:
    """How busy the machine is of itself, in percent of all cores."""

    def ticks() -> tuple[int, int]:
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    before = ticks()
    await asyncio.sleep(5)
    total, idle = (now - then for now, then in zip(ticks(), before, strict=True))
    return round(100 * (1 - idle / total))


def write(output: pathlib.Path, benchmark: Benchmark, about: dict[str, Any]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "wait_healthy.svg").write_text(svg(benchmark.cells))
    (output / "wait_healthy.md").write_text(markdown(benchmark.cells, benchmark.promises, benchmark.alone, about, "wait_healthy.svg"))
    document = {"machine": about, "promises": [one._asdict() for one in benchmark.promises], "alone": benchmark.alone,
                "cells": [cell._asdict() for cell in benchmark.cells]}
    (output / "wait_healthy.json").write_text(json.dumps(document, indent=1) + "\n")


async def measure(plan: Plan, output: pathlib.Path) -> tuple[Benchmark, bool]:
    """The benchmark, and whether it came to its end: a signal ends it early, and what was measured by then is kept."""

    def save(benchmark: Benchmark, complete: bool = False) -> None:
        about.update(complete=complete, minutes=round((time.monotonic() - began) / 60, 1), load_after=load(),
                     load_during={"median": statistics.median(benchmark.loads), "highest": max(benchmark.loads)})
        write(output, benchmark, about)

    about = {**machine(), "busy_before_percent": await busy(), "load_before": load()}
    began = time.monotonic()
    benchmark = Benchmark(plan, save)
    running = asyncio.ensure_future(benchmark.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await asyncio.wait([running])
    if running.cancelled():
        return benchmark, False
    running.result()
    save(benchmark, True)
    return benchmark, True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / ".build" / "benchmarks", help="directory for the .md, .json and .svg")
    parser.add_argument("--quick", action="store_true", help="two minutes, too few samples to judge a promise: never fails for one")
    options = parser.parse_args()
    benchmark, complete = asyncio.run(measure(QUICK if options.quick else FULL, options.output))
    if not complete:
        print(f"interrupted; what was measured is in {options.output}", file=sys.stderr)
        return 1
    print((options.output / "wait_healthy.md").read_text())
    broken = [one for one in benchmark.promises if not one.holds]
    for one in broken:
        print(f"not kept: {one.what}: {one.found}, wanted {one.wanted}", file=sys.stderr)
    if options.quick:
        print("--quick: too few samples to judge the promises", file=sys.stderr)
    return 1 if broken and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
