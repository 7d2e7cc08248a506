"""The alias moves, fails, disappears. Clients notice only what they should."""

import pytest
from regmodel_docker import wait_for
from regmodel_hammer import ROWS, Hammer, predictions_of

# Versions of the model `steps` that load for long, or not at all.
SLOW = "5"
UNSERVABLE = {
    "6": "OSError: the weights are missing",
    "7": "ZeroDivisionError: no warm-up for me",
    "8": "it has no signature",
    "9": "no named columns",
    "11": "column 'a' is of type binary",
}


@pytest.fixture(scope="module")
def launched(models, regmodels):
    """The services of this file, which start side by side."""
    models.set_alias("steps", 1)
    return {"steps": regmodels(models.uri), "newcomer": regmodels(models.uri, "newcomer")}


@pytest.fixture
def service(models, launched):
    """A service that serves version 1 of `steps`."""
    models.set_alias("steps", 1)
    launched["steps"].start().wait_model(version="1", problem=None)
    return launched["steps"]


def test_no_request_is_lost_or_mixed_while_models_are_swapped(models, service):
    loads = service.metric("regmodel_model_loads_total")
    answered = service.metric('regmodel_predict_requests_total{status="200"}') or 0
    with Hammer(service) as hammer:
        for version in ("2", "3", "4", "1", "2", "4", "3"):
            models.set_alias("steps", version)
            service.wait_model(version=version)
            seen = len(hammer.versions)
            wait_for(lambda seen=seen: len(hammer.versions) > seen + 20)
    assert hammer.wrong == []
    assert set(hammer.versions) == {"1", "2", "3", "4"}
    assert service.metric('regmodel_predict_requests_total{status="200"}') == answered + hammer.answers
    assert service.metric("regmodel_model_loads_total") == loads + 7
    # Nor is anything left of the versions on disk; the root file system is read-only.
    assert service.run("find", "/tmp", "/dev/shm", "-type", "f") == ""


def test_a_slow_load_blocks_nobody_and_the_old_version_serves_meanwhile(models, service):
    with Hammer(service, clients=1) as hammer:
        models.set_alias("steps", SLOW)
        service.wait_model(loading=SLOW, version="1")
        rounds = 0
        while service.get("/model").json()["loading"]:
            assert service.get("/health").status_code == 200
            assert service.get("/ready").status_code == 200
            rounds += 1
        service.wait_model(version=SLOW, loading=None)
        wait_for(lambda: SLOW in hammer.versions)
    # The load computes for three seconds; were it on the event loop, nothing would have been answered in that time.
    assert rounds >= 3
    assert hammer.wrong == []
    assert set(hammer.versions) == {"1", SLOW}


def test_a_version_that_cannot_be_served_leaves_the_old_one(models, service):
    for failures, (version, why) in enumerate(UNSERVABLE.items(), 1):
        models.set_alias("steps", version)
        body = service.wait_problem(f"model failed to load: version {version}: ")
        assert (body["version"], body["alias_version"]) == ("1", version)
        assert why in body["problem"]
        assert service.predict(ROWS).json()["predictions"] == predictions_of(1)
        assert service.get("/ready").json()["problem"] == body["problem"]
        assert service.metric("regmodel_model_load_failures_total") >= failures
        assert service.metric("regmodel_model_version") == 1
        assert service.metric("regmodel_alias_version") == int(version)
        assert why in service.output()
    models.set_alias("steps", 2)
    service.wait_model(version="2", problem=None)


def test_without_a_model_the_reason_is_said_and_a_removed_alias_ends_serving(models, launched):
    service = launched["newcomer"].start_empty()
    assert service.wait_detail("registered") == "no such registered model: newcomer"
    models.call("POST", "registered-models/create", name="newcomer")
    reason = service.wait_detail("alias")
    assert reason == "alias champion is not set on newcomer"
    for path in ("/ready", "/model"):
        assert service.get(path).status_code == 503
    refused = service.predict(ROWS)
    assert (refused.status_code, refused.json()["detail"]) == (503, reason)
    assert reason in service.get("/").text
    assert service.get("/health").status_code == 200

    models.set_alias("newcomer", models.copy_version("steps", 6, to="newcomer"))
    assert service.wait_detail("weights").startswith("model failed to load: version 1: OSError")

    models.set_alias("newcomer", models.copy_version("steps", 2, to="newcomer"))
    service.wait_model(version="2")
    assert service.get("/ready").status_code == 200
    assert service.predict(ROWS).json()["predictions"] == predictions_of(2)

    models.remove_alias("newcomer")
    assert service.wait_detail("alias") == reason
    assert service.metric("regmodel_model_loaded") == 0
    assert service.predict(ROWS).status_code == 503
    assert service.metric('regmodel_predict_requests_total{status="503"}') == 2


def test_sigterm_does_not_wait_for_a_load(models, service):
    models.set_alias("steps", SLOW)
    loads = service.output().count(f"serving steps version {SLOW}")
    service.wait_model(loading=SLOW)
    assert service.stop() == 0
    assert service.output().count(f"serving steps version {SLOW}") == loads
