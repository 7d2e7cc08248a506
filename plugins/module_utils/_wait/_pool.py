# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Daemon threads that run jobs. The standard executors join their threads at exit, so that one attempt that hangs
would keep the whole module from ending."""

from __future__ import annotations

import queue
import threading
from typing import Callable

Job = Callable[[], None]


class Pool:
    """Up to ``limit`` threads, started when a job finds all others busy; more jobs than that wait in line."""

    def __init__(self, limit: int, name: str, crashed: Callable[[BaseException], None]) -> None:
        self._limit = limit
        self._name = name
        self._crashed = crashed
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open_jobs = 0

    def submit(self, job: Job) -> None:
        with self._lock:
            self._open_jobs += 1
            start = self._open_jobs > self._threads and self._threads < self._limit
            self._threads += start
        self._jobs.put(job)
        if start:
            self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            # A limit on processes: with one thread the work is done all the same, only later.
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    raise

    def stop(self) -> None:
        """Idle threads end now, busy ones after their job; nobody waits for them."""
        for _thread in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except BaseException as exc:
                # A probe lists what it expects. Anything else is a bug, and the main thread raises it with its traceback.
                self._crashed(exc)
            finally:
                with self._lock:
                    self._open_jobs -= 1
