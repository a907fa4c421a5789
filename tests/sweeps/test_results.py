"""What a sweep comes to: the table, the flagfile, and what the report gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from mnist_estimator import InputError, RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.engines import passed_flags
from mnist_estimator.sweeps import plans, results, studies, trials
from mnist_estimator.sweeps.space import Parameter

PARAMETERS = (
    Parameter("learning_rate", "float", 0.001, 0.1),
    Parameter("optimizer", "categorical", choices=("adam", "momentum")),
)


@pytest.fixture
def called(monkeypatch):
    """The commands that are called, with their flags."""
    found = []
    monkeypatch.setattr(trials, "call", lambda *call: found.append(call))
    return found


def make(folder: Path, *values: float | None, metric: str = "accuracy"):
    """A plan and its study, with a trial for each value; None: one that was pruned."""
    flags = (f"--model_dir={folder}", "--max_steps=9", f"--best_metric={metric}")
    config = TrainConfig(model_dir=str(folder), max_steps=9, best_metric=metric)
    folder.mkdir(exist_ok=True)
    plan = plans.Plan(
        parameters=PARAMETERS,
        train_flags=flags,
        config=config,
        trials=len(values),
        storage=f"journal:{folder}/study.journal",  # The fastest to open.
    )
    study = studies.open_study(plan)
    for value in values:
        trial = study.ask()
        studies.suggest(trial, PARAMETERS)
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.tell(trial, value, state)
    return plan, study


def test_the_table_has_a_line_for_each_trial(tmp_path, called, capsys):
    plan, study = make(tmp_path, 0.5, None, 0.75)
    study.tell(study.ask(), state=TrialState.FAIL)
    rows = results.table(studies.counted(study), plan)
    words = [row.split() for row in rows]
    assert words[0] == ["trial", "state", "accuracy", "learning_rate", "optimizer"]
    first = study.trials[0].params
    rate = f"{first['learning_rate']:.6g}"
    assert words[1] == ["0", "complete", "0.5000", rate, first["optimizer"]]
    assert words[2][:2] == ["1", "pruned"] and words[4] == ["3", "failed"]
    assert rows[1].index(rate) == rows[0].index("learning_rate")
    results.give(study, plan)
    assert capsys.readouterr().out.splitlines()[: len(rows)] == rows


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 2), ("loss", 0)])
def test_the_best_is_the_largest_accuracy_or_the_smallest_loss(tmp_path, metric, best):
    _, study = make(tmp_path, 0.25, None, 0.75, 0.75, 0.25, metric=metric)
    assert results.best_of(study).number == best


def test_the_flagfile_trains_what_the_best_trial_has_trained(tmp_path, called, capsys):
    plan, study = make(tmp_path / "a b", 0.5, 0.75)
    results.give(study, plan)
    path = tmp_path / "a b/best.flags"
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert comments[0] == ("# Trial 1 of a sweep of 2: accuracy 0.7500 on the validation split.")
    found = passed_flags.parse(passed_flags.read_flagfiles([f"--flagfile={path}"]))[0]
    wanted, _ = passed_flags.parse(plan.chosen_flags(1, study.trials[1].params))
    assert found == wanted and found.model_dir == plan.trial_folder(1)
    assert found.learning_rate == study.trials[1].params["learning_rate"]
    command = f"python -m mnist_estimator.train --flagfile='{path}'"
    assert command in capsys.readouterr().out and f"#   {command}" in lines


def test_the_report_compares_the_best_five_on_the_validation_split(tmp_path, called):
    plan, study = make(tmp_path, 0.1, 0.6, 0.3, None, 0.5, 0.4, 0.2)
    results.give(study, plan)
    ((name, flags),) = called
    folders = ",".join(plan.trial_folder(number) for number in (1, 4, 5, 2, 6))
    assert (name, flags) == (
        "report",
        [
            f"--model_dir={folders}",
            "--checkpoint=best",
            "--split=validation",
            "--title=The best of 7 trials",
            f"--output={tmp_path}/report.html",
        ],
    )


def test_without_a_complete_trial_there_is_no_best(tmp_path, called, capsys):
    plan, study = make(tmp_path, None)
    with pytest.raises(RunError, match="no trial is complete, so none is the best"):
        results.give(study, plan)
    assert not called and "pruned" in capsys.readouterr().out


def test_the_end_of_a_trial_is_one_line():
    plan = plans.Plan(parameters=PARAMETERS, train_flags=(), config=TrainConfig(), trials=3)
    failed = trials.Outcome(TrialState.FAIL, reason="it diverged")
    values = {"learning_rate": 0.1 + 0.2, "optimizer": "adam"}
    assert results.line_of(7, failed, values, plan) == (
        "trial 7: failed (it diverged); learning_rate=0.3, optimizer=adam"
    )


@pytest.mark.parametrize("name", [results.FLAGS_FILE, results.REPORT_FILE])
def test_a_file_of_another_program_is_not_replaced(tmp_path, called, name):
    plan, study = make(tmp_path, 0.5)
    results.check_folder(plan)
    results.give(study, plan)
    results.check_folder(plan)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name}: a file of another program is there"):
        results.check_folder(plan)
