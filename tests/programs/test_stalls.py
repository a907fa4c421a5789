"""A task that is stopped, and one that waits for it. benchmarks/stalls.py has more of this."""

from __future__ import annotations

import json
import pathlib
import signal
import sys

from support import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import stalls  # noqa: E402

LIMIT = 10  # More than anything in these runs takes on a busy machine.
JOBS = {"chief": 1, "worker": 1}


def test_a_chief_ends_that_waits_for_a_synchronous_worker_which_is_stopped(work):
    hosts = stalls.free_hosts(JOBS)
    flags = stalls.FLAGS | {"max_steps": 100_000, "model_dir": "run", "strategy": "multi_worker"}
    flags |= {"stall_timeout_secs": LIMIT, "eval_split": "none"}
    with stalls.started(work, "run", JOBS, hosts, flags, popen=programs.fork) as tasks:
        programs.wait_for_checkpoint(work / "run", stalls.FIRST_SAVE, tasks["chief 0"])
        tasks["worker 0"].send_signal(signal.SIGSTOP)
        code = tasks["chief 0"].wait(programs.TIMEOUT_SECS)
    log = (work / "run.chief0.log").read_text()
    assert code == 138, log
    *_, last = log.splitlines()
    silent = f"worker 0 at {hosts['worker'][0]} does not answer"
    path = "run/stalled-chief-1.txt"
    assert last.startswith("train: stands still: step after step ")
    assert f"; {silent}; the stacks of all threads are in {path}; step " in last
    assert "\nThread MainThread:\n" in (work / path).read_text()
    found = json.loads((work / "run/status.json").read_text())
    assert (found["state"], found["exit_code"]) == ("stalled", 138)
    assert silent in found["reason"]
