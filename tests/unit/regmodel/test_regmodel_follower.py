"""The follower's decisions, one step at a time, against a scripted registry and a clock that the test turns."""

import pytest
from regmodel.follower import Follower
from regmodel.metrics import Metrics
from regmodel.model import Model, Version
from regmodel.registry import NothingToServe, Unreachable
from regmodel.schema import Schema

UNSET = NothingToServe("alias champion is not set on regmodel")
AWAY = Unreachable("connection refused")


def version(number, created_ms=1000):
    return Version("regmodel", str(number), f"run{number}", created_ms)


class ScriptedRegistry:
    """`target` is a version or what resolve raises; `broken` are the version numbers that do not load."""

    def __init__(self):
        self.target = UNSET
        self.broken = set()
        self.loads = []
        self.during_load = None

    def resolve(self):
        if isinstance(self.target, Exception):
            raise self.target
        return self.target

    def load(self, wanted):
        self.loads.append(wanted.version)
        if self.during_load:
            self.during_load()
        if wanted.version in self.broken:
            raise ValueError("weights\nare missing")
        return Model(wanted, None, Schema(()), None, {}, [], "2026-01-01T00:00:00+00:00")


class Stage:
    """A follower with its registry, metrics and clock."""

    def __init__(self):
        self.registry = ScriptedRegistry()
        self.metrics = Metrics()
        self.time = 100.0
        self.follower = Follower(
            self.registry, self.metrics, poll_seconds=2, clock=lambda: self.time, now=lambda: self.time
        )

    def step(self, target=None, after=2.0):
        self.time += after
        if target is not None:
            self.registry.target = target
        self.follower.step()
        return self.follower.status

    def metric(self, name):
        return self.metrics.registry.get_sample_value(name)


@pytest.fixture
def stage():
    return Stage()


def served(status):
    return status.model and status.model.version.version


def test_before_the_first_answer_it_says_so(stage):
    assert served(stage.follower.status) is None
    assert "has not been asked yet" in stage.follower.status.reason


def test_the_alias_is_followed_and_each_version_loaded_once(stage):
    assert served(stage.step(version(1))) == "1"
    assert served(stage.step()) == "1"
    assert served(stage.step(version(2))) == "2"
    assert served(stage.step(version(1))) == "1"
    assert stage.registry.loads == ["1", "2", "1"]
    assert stage.metric("regmodel_model_loads_total") == 3
    assert stage.metric("regmodel_model_version") == 1


def test_a_version_made_anew_under_the_same_number_is_loaded(stage):
    stage.step(version(1, created_ms=1))
    stage.step(version(1, created_ms=2))
    assert stage.registry.loads == ["1", "1"]


def test_an_alias_that_is_removed_ends_serving(stage):
    stage.step(version(1))
    status = stage.step(UNSET)
    assert served(status) is None
    assert status.reason == "alias champion is not set on regmodel"
    assert stage.metric("regmodel_model_loaded") == 0
    assert stage.metric("regmodel_alias_version") == 0


def test_mlflow_going_away_leaves_the_model_serving(stage):
    stage.step(version(1))
    polled = stage.time
    status = stage.step(AWAY, after=1000)
    assert served(status) == "1"
    assert status.problem == "MLflow unreachable: connection refused"
    assert stage.metric("regmodel_registry_last_success_timestamp_seconds") == polled
    assert stage.metric("regmodel_registry_errors_total") == 1
    assert stage.step(version(1)).problem is None


def test_mlflow_away_from_the_start_is_the_reason(stage):
    assert stage.step(AWAY).reason == "MLflow unreachable: connection refused"
    status = stage.step(version(1))
    assert (served(status), status.reason) == ("1", "")


def test_a_new_version_that_fails_leaves_the_old_one_serving(stage):
    stage.step(version(1))
    stage.registry.broken = {"2"}
    status = stage.step(version(2))
    assert served(status) == "1"
    assert status.alias_version == "2"
    assert status.problem == "model failed to load: version 2: ValueError: weights are missing"
    assert status.loading is None
    assert stage.metric("regmodel_model_load_failures_total") == 1
    assert (stage.metric("regmodel_model_version"), stage.metric("regmodel_alias_version")) == (1, 2)
    status = stage.step(version(1))
    assert (served(status), status.problem) == ("1", None)
    assert stage.registry.loads == ["1", "2"]


def test_the_first_version_failing_is_the_reason(stage):
    stage.registry.broken = {"1"}
    status = stage.step(version(1))
    assert status.reason == "model failed to load: version 1: ValueError: weights are missing"


def test_a_failed_version_is_tried_again_ever_more_rarely_and_heals(stage):
    stage.registry.broken = {"1"}
    tries = []
    for _attempt in range(200):
        before = len(stage.registry.loads)
        stage.step(version(1), after=1.0)
        if len(stage.registry.loads) > before:
            tries.append(stage.time)
    gaps = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert gaps == [2, 4, 8, 16, 32, 60, 60]
    stage.registry.broken = set()
    status = stage.step(after=60)
    assert (served(status), status.problem, status.reason) == ("1", None, "")


def test_another_version_does_not_wait_for_the_retry_of_a_failed_one(stage):
    stage.registry.broken = {"1", "2"}
    stage.step(version(1), after=0.1)
    stage.step(version(2), after=0.1)
    stage.step(version(3), after=0.1)
    assert stage.registry.loads == ["1", "2", "3"]


def test_the_failure_is_said_again_after_mlflow_was_away(stage):
    stage.step(version(1))
    stage.registry.broken = {"2"}
    stage.step(version(2))
    assert "unreachable" in stage.step(AWAY, after=0.1).problem
    assert "version 2" in stage.step(version(2), after=0.1).problem


def test_the_old_version_serves_while_the_new_one_loads(stage):
    stage.step(version(1))
    seen = []
    stage.registry.during_load = lambda: seen.append(stage.follower.status)
    stage.step(version(2))
    (during,) = seen
    assert (served(during), during.loading, during.alias_version) == ("1", "2", "2")


def test_the_first_load_is_announced(stage):
    seen = []
    stage.registry.during_load = lambda: seen.append(stage.follower.status)
    stage.step(version(1))
    assert seen[0].reason == "loading version 1"


def test_a_bug_in_the_look_up_is_reported_and_does_not_end_the_thread(stage):
    stage.step(version(1))
    calls = []

    def resolve():
        calls.append(stage.time)
        if len(calls) == 2:
            stage.follower.stop()
        raise KeyError("surprise")

    stage.registry.resolve = resolve
    stage.follower._poll_seconds = 0.001
    stage.follower._run()
    assert len(calls) == 2
    assert served(stage.follower.status) == "1"
    assert "KeyError: 'surprise'" in stage.follower.status.problem
