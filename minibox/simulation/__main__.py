"""``python -m minibox.simulation --seeds 0..499``: run seeds on all processors, print what fails.

With ``--seed N --trace`` one seed is run here and its whole trace printed. The exit code is 1 if an
invariant was broken.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from minibox.simulation.run import Result, run_quietly, run_seed

TAIL_LINES = 60
SEEDS_A_TASK = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m minibox.simulation", description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seeds", type=_range, metavar="A..B", help="both included")
    chosen.add_argument("--seed", type=int)
    parser.add_argument("--mode", choices=("safety", "liveness"), default="liveness")
    parser.add_argument("--trace", action="store_true", help="print the whole trace of --seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fail-fast", action="store_true", help="end at the first that fails")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        result = run_seed(options.seed, mode=options.mode)
        _print(result, len(result.lines) if options.trace else TAIL_LINES)
        return 1 if result.problem else 0
    return _run_all(options.seeds, options.mode, options.jobs, fail_fast=options.fail_fast)


def _run_all(seeds: range, mode: str, jobs: int, *, fail_fast: bool) -> int:
    began = time.monotonic()
    failed: list[int] = []
    done = requests = 0
    virtual_seconds = 0.0
    for result in _results(seeds, mode, jobs):
        done += 1
        requests += result.requests
        virtual_seconds += result.virtual_seconds
        if result.problem:
            failed.append(result.seed)
            _print(result, TAIL_LINES)
            if fail_fast:
                break
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{done} seeds, {requests} requests, {virtual_seconds / 3600:.1f} virtual hours"
        f" in {seconds:.0f} s ({done / seconds:.1f} seeds/s): {len(failed)} failed {failed or ''}\n"
    )
    return 1 if failed else 0


def _results(seeds: range, mode: str, jobs: int) -> Iterator[Result]:
    """In the order of the seeds."""
    if jobs == 1:
        yield from map(partial(run_quietly, mode), seeds)
        return
    context = get_context("spawn")  # each process as fresh as the first: nothing is inherited
    with ProcessPoolExecutor(jobs, context) as workers:
        try:
            yield from workers.map(partial(run_quietly, mode), seeds, chunksize=SEEDS_A_TASK)
        finally:
            workers.shutdown(wait=False, cancel_futures=True)


def _print(result: Result, lines: int) -> None:
    sys.stdout.write("\n".join(result.lines[-lines:]) + "\n")
    verdict = f"BROKEN {result.problem}" if result.problem else "every invariant held"
    sys.stdout.write(
        f"seed {result.seed}: {verdict} ({result.requests} requests, "
        f"{result.virtual_seconds:.0f} virtual seconds, trace {result.digest[:16]})\n"
    )
    sys.stdout.flush()


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not dots:
        raise argparse.ArgumentTypeError("write it like 0..99")
    return range(int(first), int(last) + 1)


if __name__ == "__main__":
    sys.exit(main())
