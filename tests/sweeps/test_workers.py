"""Workers: which trial each takes, and that kills change nothing in what a sweep comes to."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mnist_estimator import RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import lock
from mnist_estimator.sweeps import plans, results, studies, trials, workers
from mnist_estimator.sweeps.space import Parameter
from mnist_estimator.sweeps.trials import Outcome

PARAMETERS = (
    Parameter("learning_rate", "float", 1e-4, 0.1, log=True),
    Parameter("batch_size", "int", 10, 50, 10),
)


def make_plan(folder: Path, trials: int = 18) -> plans.Plan:
    config = TrainConfig(model_dir=str(folder))
    folder.mkdir(exist_ok=True)
    return plans.Plan(
        parameters=PARAMETERS,
        train_flags=(),
        config=config,
        trials=trials,
        storage=f"journal:{folder}/study.journal",  # The fastest to open.
    )


class Killed(BaseException):
    """The end of the process, at once."""


@pytest.fixture
def given(monkeypatch):
    """The plans whose results were given; none really is."""
    found = []
    monkeypatch.setattr(results, "give", lambda study, plan: found.append(plan))
    return found


def played(chance: random.Random | None):
    """A trial without training: a curve that follows from its values. Is killed by chance."""

    def may_die() -> None:
        if chance and chance.random() < 0.15:
            raise Killed

    def run(trial, plan, look):
        may_die()
        for parameter in plan.parameters:
            studies.suggest(trial, [parameter])
            may_die()
        best = 1 - abs(trial.params["learning_rate"] - 0.01) - trial.params["batch_size"] / 1000
        known = trial.storage.get_trial(trial._trial_id).intermediate_values
        for step in (10, 20):
            if step not in known:
                trial.report(best - 1 / step, step)
            may_die()
            if trial.should_prune():
                return Outcome(TrialState.PRUNED)
        if trial.number % 11 == 3:  # Before any is pruned.
            return Outcome(TrialState.FAIL, reason="it diverged")
        return Outcome(TrialState.COMPLETE, best)

    return run


def ended(plan: plans.Plan) -> list[tuple]:
    found = studies.open_study(plan).trials
    return [(t.number, t.state, t.value, t.params, t.intermediate_values) for t in found]


def test_a_sweep_killed_again_and_again_has_the_same_trials(tmp_path, monkeypatch, given):
    monkeypatch.setattr(trials, "run", played(None))
    whole = make_plan(tmp_path / "whole")
    workers.work(whole)
    killed, kills = make_plan(tmp_path / "killed"), 0
    monkeypatch.setattr(trials, "run", played(random.Random(3)))
    while killed not in given:
        try:
            workers.work(killed)
        except Killed:
            kills += 1
    assert kills > 10
    assert ended(killed) == ended(whole)
    states = [state for _, state, *_ in ended(whole)]
    assert len(states) == 18
    # So each way to end was among what was compared.
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_a_sweep_that_has_ended_runs_nothing_and_gives_its_result_again(
    tmp_path, monkeypatch, given
):
    plan = make_plan(tmp_path, trials=3)
    monkeypatch.setattr(trials, "run", played(None))
    workers.work(plan)
    before = ended(plan)
    monkeypatch.setattr(trials, "run", lambda *_: pytest.fail("runs a trial"))
    workers.work(plan)
    assert given == [plan, plan] and ended(plan) == before
    monkeypatch.setattr(trials, "run", played(None))
    workers.work(make_plan(tmp_path, trials=4))
    assert ended(plan)[:3] == before and len(ended(plan)) == 4


@contextlib.contextmanager
def at_work(plan: plans.Plan, number: int):
    """Another worker, which has the lock of a trial."""
    with lock.held(plan.trial_folder(number), file=workers.LOCK_FILE):
        yield


def take(plan: plans.Plan):
    study = studies.open_study(plan)
    with workers.taken(study, plan) as trial:
        return trial and trial.number


def test_a_trial_belongs_to_whoever_has_its_lock(tmp_path):
    plan = make_plan(tmp_path, trials=3)
    study = studies.open_study(plan)
    study.ask(), study.ask()
    with at_work(plan, 0):
        assert take(plan) == 1  # One whose worker has died.
        with at_work(plan, 1):
            assert take(plan) == 2
            with at_work(plan, 2):
                assert take(plan) is None
    assert take(plan) == 0


def test_a_trainer_in_the_folder_is_no_worker(tmp_path):
    plan = make_plan(tmp_path)
    studies.open_study(plan).ask()
    with lock.held(plan.trial_folder(0)):
        assert take(plan) == 0


def test_a_trial_that_another_worker_ended_meanwhile_is_not_taken(tmp_path, monkeypatch):
    plan = make_plan(tmp_path, trials=1)
    study = studies.open_study(plan)
    trial = study.ask()
    hold = workers._hold

    def slow(stack, plan, number):
        study.tell(trial, 0.5)
        return hold(stack, plan, number)

    monkeypatch.setattr(workers, "_hold", slow)
    assert take(plan) is None
    with at_work(plan, 0):  # And its lock is free again.
        pass


def test_a_new_trial_that_another_worker_has_taken_is_left_to_it(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    hold = workers._hold
    monkeypatch.setattr(workers, "_hold", lambda *call: call[2] > 0 and hold(*call))
    assert take(plan) == 1


def test_a_worker_that_finds_nothing_left_leaves_the_result_to_the_last(
    tmp_path, monkeypatch, given, capsys
):
    plan = make_plan(tmp_path, trials=2)
    monkeypatch.setattr(trials, "run", played(None))
    study = studies.open_study(plan)
    study.ask()
    with at_work(plan, 0):
        workers.work(plan)
        assert "trials at work in other processes: 1; the last" in capsys.readouterr().out
        assert not given
    workers.work(plan)
    assert given == [plan]


def test_a_sweep_whose_first_trials_all_fail_ends(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    fails = Outcome(TrialState.FAIL, reason="train: no such data")
    monkeypatch.setattr(trials, "run", lambda *_: fails)
    line = "^3 trials have failed and none has succeeded: train: no such data$"
    with pytest.raises(RunError, match=line):
        workers.work(plan)
    assert [trial.user_attrs["reason"] for trial in studies.open_study(plan).trials] == [
        "train: no such data"
    ] * 3


def test_progress_says_how_far_the_trial_and_the_sweep_are(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    study = studies.open_study(plan)
    for value in (0.5, 0.75):
        study.tell(study.ask(), value)
    said = []
    show = workers._show(study, plan, study.ask(), said.append)
    history = [{"global_step": 40, "accuracy": 0.25}]
    for found in ([], history):
        show(type("Evaluations", (), {"history": found}))
    assert said == [
        "trial 2: step 0 of 5000; 2 of 18 trials have ended; best accuracy 0.7500, trial 1",
        "trial 2: step 40 of 5000, accuracy 0.2500; 2 of 18 trials have ended; best accuracy "
        "0.7500, trial 1",
    ]


def test_each_end_of_a_trial_is_a_line_that_stays(tmp_path, monkeypatch, given, capsys):
    plan = make_plan(tmp_path, trials=1)
    monkeypatch.setattr(trials, "run", lambda *_: Outcome(TrialState.COMPLETE, 0.5))
    workers.work(plan)
    assert capsys.readouterr().err.splitlines() == [
        "trial 0 of 1: begins",
        "trial 0: complete, accuracy 0.5000; ",
    ]
