"""The whole cluster under seeded faults: some seeds here, thousands in `make simulate`."""

import os
import subprocess
import sys

import pytest
from kept_seeds import KEPT_SEEDS

from minibox.simulation.run import run_seed

SEEDS = range(1000, 1024)
SAFETY_SEEDS = range(2000, 2006)
TRACED_SEED = 7


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_promised_holds_and_the_cluster_converges(seed):
    assert not run_seed(seed).problem


@pytest.mark.parametrize("seed", SAFETY_SEEDS)
def test_what_was_promised_holds_right_after_any_faults(seed):
    assert not run_seed(seed, mode="safety").problem


@pytest.mark.parametrize("seed", KEPT_SEEDS)
def test_a_seed_that_once_failed_still_passes(seed):
    assert not run_seed(seed).problem


def test_the_same_seed_gives_the_same_trace_in_another_process():
    program = (
        "from minibox.simulation.run import run_seed\n"
        f"result = run_seed({TRACED_SEED})\n"
        "print(result.digest, len(result.lines), result.problem)\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    here = run_seed(TRACED_SEED)
    assert told[0] == told[1] == f"{here.digest} {len(here.lines)} \n"
