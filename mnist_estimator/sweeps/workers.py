"""A worker of a sweep: takes one trial after the other until there are enough.

Any number of workers, on one machine or on many, work on one study. A trial belongs to whoever
holds the lock in its folder, so that of a worker that has died is taken over by another one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_estimator import RunError
from mnist_estimator.runs import lock
from mnist_estimator.runs.evaluations import STEP, Evaluations
from mnist_estimator.runtime import progress
from mnist_estimator.sweeps import results, studies, trials
from mnist_estimator.sweeps.plans import Plan

LOCK_FILE = ".worker"  # In a trial's folder, beside that of its trainer.
_MOST_FAILED = 3  # In a row, at the start of a sweep.
REASON = "reason"  # The attribute of a trial that says why it has failed.


def work(plan: Plan) -> None:
    """Runs trials until there are enough; the last worker prints the result of the sweep.

    Raises:
      InputError: if the study, the folder of a trial, or a file to be written is not this sweep's.
      RunError: if the first trials all fail.
      OutageError: if the study's storage, or a store that a trial needs, does not answer any more.
      signals.Interruption: if a signal ended it; its trial goes on next time.
    """
    results.check_folder(plan)
    study = studies.open_study(plan)
    with studies.outages(plan):
        plan = studies.with_precision(study, plan)
        with progress.ProgressLine() as line:
            while _run_one(study, plan, line):
                pass
        elsewhere = studies.counted(study, TrialState.RUNNING)
        if elsewhere:
            progress.say(
                f"trials at work in other processes: {len(elsewhere)}; the last one to end gives "
                "the result of the sweep",
                sys.stdout,
            )
            return
        results.give(study, plan)


def _run_one(study: optuna.Study, plan: Plan, line: progress.ProgressLine) -> bool:
    """Runs a trial to its end; says whether there was one to run."""
    with taken(study, plan) as trial:
        if trial is None:
            return False
        line.say(f"trial {trial.number} of {plan.trials}: {_begun(trial)}")
        outcome = trials.run(trial, plan, _show(study, plan, trial, line))
        if outcome.reason:
            trial.set_user_attr(REASON, outcome.reason)
        study.tell(trial, outcome.value, outcome.state)
        line.say(results.line_of(trial.number, outcome, trial.params, plan))
        _check_not_all_failed(study, outcome)
    return True


@contextlib.contextmanager
def taken(study: optuna.Study, plan: Plan) -> Iterator[Trial | None]:
    """Yields a trial that is this process's while the block runs; None if there are enough.

    One that nobody works on any more comes before a new one.
    """
    with contextlib.ExitStack() as stack:
        for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _hold(stack, plan, frozen.number):
                continue
            # It may have ended before the lock was had.
            if _is_running(study, frozen):
                trial = studies.resumed(study, frozen)
                if not studies.drop_if_surplus(study, trial, plan.trials):
                    yield trial
                    return
            stack.pop_all().close()
        while len(studies.counted(study)) < plan.trials:
            trial = study.ask()
            # Another worker may have taken it for one that nobody works on.
            if _hold(stack, plan, trial.number):
                if not studies.drop_if_surplus(study, trial, plan.trials):
                    yield trial
                    return
                stack.pop_all().close()
        yield None


def _hold(stack: contextlib.ExitStack, plan: Plan, number: int) -> bool:
    """Takes the lock of a trial until the stack is left; False if another worker has it."""
    try:
        stack.enter_context(lock.held(plan.trial_folder(number), file=LOCK_FILE))
    except lock.LockedError:
        return False
    return True


def _is_running(study: optuna.Study, frozen: FrozenTrial) -> bool:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(trial.number == frozen.number for trial in running)


def _begun(trial: Trial) -> str:
    return "goes on" if trial.params else "begins"


def _show(
    study: optuna.Study, plan: Plan, trial: Trial, line: progress.ProgressLine
) -> Callable[[Evaluations], None]:
    """Shows how far a trial and the sweep are, as often as it is called."""
    done = len(studies.counted(study, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    best = results.best_of(study)
    so_far = f"; best {plan.metric} {best.value:.4f}, trial {best.number}" if best else ""

    def show(evaluations: Evaluations) -> None:
        newest = evaluations.history[-1] if evaluations.history else None
        value = f", {plan.metric} {newest[plan.metric]:.4f}" if newest else ""
        step = newest[STEP] if newest else 0
        length = trials.trial_length(trial, plan)
        line(
            f"trial {trial.number}: step {step} of {length}{value}; {done} of {plan.trials} trials "
            f"have ended{so_far}"
        )

    return show


def _check_not_all_failed(study: optuna.Study, outcome: trials.Outcome) -> None:
    if outcome.state != TrialState.FAIL:
        return
    succeeded = studies.counted(study, TrialState.COMPLETE, TrialState.PRUNED)
    failed = len(studies.counted(study, TrialState.FAIL))
    if not succeeded and failed >= _MOST_FAILED:
        raise RunError(f"{failed} trials have failed and none has succeeded: {outcome.reason}")
