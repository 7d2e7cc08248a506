"""Clients that predict all the time, and look at every answer."""

import threading

import pytest
import requests

ROWS = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
SUMS = [5.0, 11.0]


def predictions_of(version):
    """What a version N of the model `steps` answers to ROWS: a + 2 b + 1000 N."""
    return pytest.approx([total + 1000 * int(version) for total in SUMS])


class Hammer:
    """Predicts from some clients at once while its block runs; what is wrong with an answer is kept in `wrong`.

    pause: seconds between the requests of a client; without one, as many as the service takes.
    """

    def __init__(self, service, clients=4, pause=0.0):
        self.service = service
        self.pause = pause
        self.wrong = []
        self.versions = []
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _client in range(clients)]

    def _run(self):
        session = requests.Session()
        while not self._stop.wait(self.pause):
            try:
                answer = session.post(f"{self.service.url}/predict", json={"inputs": ROWS}, timeout=60)
            except requests.RequestException as error:
                self.wrong.append(repr(error))
                continue
            self.answers += 1
            if answer.status_code != 200:
                self.wrong.append((answer.status_code, answer.text))
                continue
            body = answer.json()
            version = body["model"]["version"]
            if body["predictions"] != predictions_of(version):
                self.wrong.append(body)
            self.versions.append(version)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
