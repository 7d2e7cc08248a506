"""RegModel is replaced on one host after the other, and hosts do not answer. Run by tests/integration/test_cluster_full.py on converged hosts."""

import pytest
from cluster import (
    NOT_YET,
    SPARE,
    SPARE_ADDRESS,
    WITH_SPARE,
    WORKERS,
    boot,
    boot_spare,
    cut_power,
    is_well,
    play,
    predicting,
    predicts,
    recap,
    worker_names,
)
from conftest import eventually
from test_cluster import MODELS


@pytest.fixture(scope="module", autouse=True)
def trained():
    """A second host with RegModel, and a model that both serve."""
    boot_spare()
    play("playbooks/smoke.yml")
    play("site.yml", *WITH_SPARE)


def both_predict() -> None:
    assert predicts(MODELS) and predicts(MODELS) == predicts(SPARE_ADDRESS)


def test_regmodel_is_replaced_on_one_host_after_the_other():
    eventually(both_predict)
    with predicting(MODELS, SPARE_ADDRESS) as moments:
        play("site.yml", *WITH_SPARE, "--extra-vars", "regmodel_poll_seconds=1")
    # Each was away for a while, and never both.
    assert [address for address in (MODELS, SPARE_ADDRESS) if all(address in moment for moment in moments)] == []
    assert set() not in moments


def test_a_rollout_ends_at_the_first_host_that_does_not_predict():
    failed = []
    with predicting(MODELS, SPARE_ADDRESS) as moments:
        # Again too: a host that serves nothing comes first.
        for _time in range(2):
            output = play("site.yml", *WITH_SPARE, "--extra-vars", "regmodel_model_name=nobody regmodel_ready_timeout=10", succeeds=False)
            assert "nobody" in output
            failed += [host for host, counts in recap(output).items() if counts["failed"]]
    assert failed in (["mlops-models"] * 2, [SPARE] * 2)
    other = SPARE_ADDRESS if failed[0] == "mlops-models" else MODELS
    assert moments and all(other in moment for moment in moments)


def test_a_host_that_does_not_answer_is_left_out_and_named_unless_the_others_need_it():
    cut_power("mlops-worker-1")
    output = play("site.yml", *WITH_SPARE, succeeds=False)
    assert "Not done on mlops-worker-1" in output
    counts = recap(output)
    assert counts["mlops-worker-1"]["failed"] == 1
    assert all(counts[host]["failed"] == counts[host]["unreachable"] == 0 for host in ("mlops-control", "mlops-models", SPARE))
    # Prometheus, on a host of the run, asks the one that is left out.
    play("site.yml", *WITH_SPARE, "--limit", "mlops-models")
    assert "mlops-worker-1 does not answer" in play("playbooks/remove-host.yml", *WITH_SPARE, "--extra-vars", "host=mlops-worker-1")
    eventually(lambda: worker_names("mlops-models", SPARE), 60, NOT_YET)
    cut_power("mlops-control")
    output = play("site.yml", *WITH_SPARE, succeeds=False)
    assert "nothing was changed" in output and "mlops-control: does not answer" in output
    boot("mlops-worker-1", "mlops-control")
    is_well(*WORKERS, SPARE)
    eventually(both_predict)
