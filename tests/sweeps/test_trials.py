"""A trial: how it ends by what its child did, and by what the record of its evaluations says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support import datasets, programs

from mnist_estimator import InputError, RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import writer
from mnist_estimator.runs import copies, lock
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import files, signals
from mnist_estimator.sweeps import plans, studies, trials
from mnist_estimator.sweeps.space import Parameter
from mnist_estimator.sweeps.trials import Outcome

RATE = Parameter("learning_rate", "float", 0.001, 0.1)


def make_plan(folder: Path, *train_flags: str, **options: object) -> plans.Plan:
    flags = (f"--model_dir={folder}", *train_flags)
    config = plans.passed_flags.parse(flags)[0]
    folder.mkdir(exist_ok=True)
    storage = f"journal:{folder}/study.journal"  # The fastest to open.
    options = {"parameters": (RATE,), "trials": 9, "storage": storage} | options
    return plans.Plan(train_flags=flags, config=config, **options)


def add(folder: str, step: int, accuracy: float) -> None:
    os.makedirs(folder, exist_ok=True)
    result = {"global_step": step, "accuracy": accuracy, "loss": 1 - accuracy}
    Evaluations(folder).add(result, "")


@pytest.fixture
def no_copies(monkeypatch):
    """Evaluations whose checkpoints there are none of."""
    monkeypatch.setattr(copies, "keep_copy", lambda path, folder, record: record())


@pytest.fixture
def child(monkeypatch):
    """Has children run a Python program in place of a command; counts them."""
    started = []
    monkeypatch.setattr(trials, "_POLL_SECS", 0.01)
    monkeypatch.setattr(trials, "_check_data", lambda *call: None)  # They write no run.json.

    def program(text: str) -> list[list[str]]:
        def start(name, flags, output):
            started.append([name, *flags])
            words = [sys.executable, "-S", "-c", text]
            return subprocess.Popen(words, stdout=output, stderr=output)

        monkeypatch.setattr(trials, "_start", start)
        return started

    return program


def run(plan: plans.Plan, look=lambda evaluations: None) -> Outcome:
    study = studies.open_study(plan)
    running = study.get_trials(states=(TrialState.RUNNING,))
    trial = studies.resumed(study, running[0]) if running else study.ask()
    return trials.run(trial, plan, look)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep's folder with a trial that a real `train` has run, and how that ended."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "_POLL_SECS", 0.05)

        def start(name, flags, output):
            words = programs.command(name, *flags)
            return programs.fork(words, stdout=output, stderr=output)

        patch.setattr(trials, "_start", start)
        writer.write_dataset(
            str(folder / "data"),
            dataset="squares",
            train=datasets.array_source(82),
            test=datasets.array_source(23, seed=1),
            num_classes=datasets.CLASSES,
            shards=1,
            validation_split="12",
        )
        plan = make_plan(
            folder / "sweep",
            *(f"--data_dir={folder}/data", "--model=softmax", "--max_steps=20"),
            *("--save_checkpoints_steps=10", "--batch_size=16"),
        )
        seen = []
        outcome = run(plan, lambda evaluations: seen.append(len(evaluations.history)))
    return plan, outcome, seen


def test_a_trial_is_a_run_of_train_that_sees_no_test_data(trained):
    plan, outcome, _ = trained
    folder = Path(plan.trial_folder(0))
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    record = json.loads((folder / "run.json").read_text())
    (trial,) = studies.open_study(plan).trials
    assert record["flags"]["learning_rate"] == trial.params["learning_rate"]
    evaluations = Evaluations(str(folder))
    assert outcome == Outcome(TrialState.COMPLETE, evaluations.best["accuracy"])
    assert trial.intermediate_values == {
        entry["global_step"]: entry["accuracy"] for entry in evaluations.history
    }
    assert list(trial.intermediate_values) == [10, 20]
    # The data has a test split, of which there is no trace.
    assert not (folder / "metrics.json").exists() and not (folder / "eval_test").exists()
    assert not (folder / "export").exists()


def test_a_trial_that_was_trained_but_not_recorded_is_not_trained_again(trained, child):
    plan, outcome, _ = trained
    started = child("")  # As `train` does with a run that is complete.
    assert run(plan) == outcome
    assert len(started) == 1


@pytest.mark.parametrize(
    ("text", "reason", "starts"),
    [
        (
            "print('a'); print('train: loss is not finite'); raise SystemExit(1)",
            "train: loss is not finite",
            1,
        ),
        ("raise SystemExit(2)", "it printed nothing", 1),
        ("import os; os.kill(os.getpid(), 9)", "ended with 137, 3 times", 3),
        ("raise SystemExit(143)", "ended with 143, 3 times", 3),
    ],
)
def test_a_child_that_fails(tmp_path, child, text, reason, starts):
    started = child(text)
    assert run(make_plan(tmp_path)) == Outcome(TrialState.FAIL, reason=reason)
    assert len(started) == starts


def test_a_store_that_does_not_answer_is_no_failure_of_the_trial(tmp_path, child):
    started = child("print('train: s3://x: no answer'); raise SystemExit(138)")
    with pytest.raises(files.OutageError, match="trial 0: train: s3://x: no answer; the same comm"):
        run(make_plan(tmp_path))
    assert len(started) == 3


def test_without_evaluations_nothing_can_be_compared(tmp_path, child):
    child("")
    with pytest.raises(InputError, match="trial-00000: nothing was evaluated, expected data with"):
        run(make_plan(tmp_path))


def test_a_value_that_is_not_finite_is_a_failure(tmp_path, child, no_copies):
    child("")
    plan = make_plan(tmp_path, prune=False)
    add(plan.trial_folder(0), 10, float("inf"))
    assert run(plan) == Outcome(TrialState.FAIL, reason="the best accuracy is inf")


def test_flags_that_train_refuses_together_are_a_failure(tmp_path, child, monkeypatch):
    started = child("")
    monkeypatch.setattr(studies, "suggest", lambda *_: {"dropout_rate": 2.0})
    assert run(make_plan(tmp_path)).reason == "--dropout_rate: found 2.0, expected less than 1"
    assert not started


def test_a_run_that_the_study_does_not_know_is_left_alone(tmp_path, child):
    started = child("")
    plan = make_plan(tmp_path)
    folder = Path(plan.trial_folder(0))
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with pytest.raises(InputError, match="trial-00000: holds a run that the study knows nothing"):
        run(plan)
    assert not started
    # The trial's own run is gone on with.
    (folder / "run.json").unlink()
    child("raise SystemExit(1)")
    run(plan)
    (folder / "run.json").write_text("{}")
    assert run(plan).state == TrialState.FAIL


def with_ended(plan: plans.Plan, *values: float) -> optuna.Study:
    """A study with complete trials, which had these values at step 10."""
    study = studies.open_study(plan)
    for value in values:
        trial = study.ask()
        studies.suggest(trial, plan.parameters)
        trial.report(value, 10)
        study.tell(trial, value)
    return study


MEDIAN_IS_A_HALF = (0.3, 0.4, 0.5, 0.6, 0.7)


def test_a_trial_below_the_median_ends_its_child(tmp_path, child, no_copies):
    plan = make_plan(tmp_path)
    study = with_ended(plan, *MEDIAN_IS_A_HALF)
    started = child("import time; time.sleep(60)")
    folder = plan.trial_folder(5)

    def look(evaluations: Evaluations) -> None:
        if not evaluations.history:
            add(folder, 10, 0.45)

    assert run(plan, look) == Outcome(TrialState.PRUNED)
    assert len(started) == 1
    assert study.trials[5].intermediate_values == {10: 0.45}
    # Killed before it was recorded: the same is found without a child.
    assert run(plan) == Outcome(TrialState.PRUNED)
    assert len(started) == 1


def test_a_trial_that_was_looked_at_late_is_pruned_at_the_same_step(tmp_path, child, no_copies):
    plan = make_plan(tmp_path)
    study = with_ended(plan, *MEDIAN_IS_A_HALF)
    started = child("")
    for step, accuracy in ((10, 0.45), (20, 0.9), (5000, 0.9)):
        add(plan.trial_folder(5), step, accuracy)
    assert run(plan) == Outcome(TrialState.PRUNED)
    assert study.trials[5].intermediate_values == {10: 0.45}
    assert not started


def test_the_last_evaluation_ends_no_trial(tmp_path, child, no_copies):
    plan = make_plan(tmp_path, "--max_steps=10")
    with_ended(plan, *MEDIAN_IS_A_HALF)
    child("")
    add(plan.trial_folder(5), 10, 0.1)
    assert run(plan) == Outcome(TrialState.COMPLETE, 0.1)


def test_without_pruning_every_trial_goes_to_its_end(tmp_path, child, no_copies):
    plan = make_plan(tmp_path, prune=False)
    with_ended(plan, *MEDIAN_IS_A_HALF)
    child("")
    add(plan.trial_folder(5), 10, 0.1)
    assert run(plan) == Outcome(TrialState.COMPLETE, 0.1)


def test_the_length_of_a_trial_may_be_varied(tmp_path):
    steps = Parameter("max_steps", "int", 10, 90)
    plan = plans.Plan(parameters=(steps,), train_flags=(), config=TrainConfig(), trials=1)
    study = optuna.create_study()
    trial = study.ask()
    assert trials.trial_length(trial, plan) == 5000
    values = studies.suggest(trial, plan.parameters)
    assert trials.trial_length(trial, plan) == values["max_steps"]


def test_a_trainer_that_still_saves_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_POLL_SECS", 0)
    tries = []

    def held(folder):
        tries.append(folder)
        if len(tries) < 3:
            raise lock.LockedError("in use")
        return lock.contextlib.nullcontext()

    monkeypatch.setattr(lock, "held", held)
    trials._wait_for_trainer("a")
    assert tries == ["a"] * 3
    monkeypatch.setattr(trials, "_END_SECS", -1)
    tries.clear()
    with pytest.raises(lock.LockedError):
        trials._wait_for_trainer("a")


SAYS_ITS_SIGNAL = """
import signal, time
def told(number, frame):
    print("warning: told", signal.Signals(number).name, flush=True)
    raise SystemExit(143)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, told)
open({ready!r}, "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_to_the_child_first(tmp_path, child, capsys, monkeypatch, number):
    ready = tmp_path / "ready"
    child(SAYS_ITS_SIGNAL.format(ready=str(ready)))
    monkeypatch.setattr(trials, "_repeated", set())

    def look(_) -> None:
        if ready.exists():
            raise signals.Interruption(number.name, 128 + number)

    with pytest.raises(signals.Interruption):
        run(make_plan(tmp_path / "sweep"), look)
    assert capsys.readouterr().err == f"warning: told {number.name}\n"


def test_a_warning_of_several_children_is_said_once(child, capsys, monkeypatch):
    monkeypatch.setattr(trials, "_repeated", set())
    child("print('warning: few examples'); print('step 1')")
    for _ in range(2):
        trials.call("report", [])
    assert capsys.readouterr().err == "warning: few examples\n"


def test_a_command_that_fails_says_its_last_line(child):
    child("print('report: no such run'); raise SystemExit(2)")
    with pytest.raises(RunError, match="^report ended with 2: report: no such run$"):
        trials.call("report", [])


def test_trials_on_other_data_do_not_compare(tmp_path, monkeypatch):
    found = iter("aab")

    def read_run(folder):
        return None, {"dataset": {"manifest_sha256": next(found) * 64}}

    monkeypatch.setattr(trials, "read_run", read_run)
    study = studies.open_study(make_plan(tmp_path))
    for _ in range(2):
        trials._check_data(study.ask(), "trial")
    line = (
        r"trial: was trained on other data \(manifest bbbbbbbb\) than the trials before it \(aaaaa"
    )
    with pytest.raises(InputError, match=line):
        trials._check_data(study.ask(), "trial")


def test_a_study_keeps_the_digest_of_its_data(trained):
    plan, _, _ = trained
    record = json.loads((Path(plan.trial_folder(0)) / "run.json").read_text())
    digest = record["dataset"]["manifest_sha256"]
    assert studies.open_study(plan).user_attrs[trials._DATA] == digest
