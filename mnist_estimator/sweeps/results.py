"""What a sweep comes to: a table of its trials, the flags of the best one, and a report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mnist_estimator import RunError
from mnist_estimator.runs import layout
from mnist_estimator.runtime import files, progress
from mnist_estimator.sweeps import studies, trials
from mnist_estimator.sweeps.plans import Plan

FLAGS_FILE = "best.flags"
REPORT_FILE = "report.html"
_TRIAL = "# Trial "  # How the file of flags begins.
_IN_REPORT = 5
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def check_folder(plan: Plan) -> None:
    """Raises InputError if the folder of a sweep has another program's file that it would replace.

    That is for the beginning: trials take long.
    """
    marks = {FLAGS_FILE: _TRIAL, REPORT_FILE: layout.REPORT_MARK}
    for name, mark in marks.items():
        files.check_ours(os.path.join(plan.folder, name), mark.encode())


def give(study: optuna.Study, plan: Plan) -> None:
    """Prints the table, and writes `best.flags` and `report.html` into the folder of the sweep.

    Raises:
      RunError: if no trial is complete, or the report fails.
    """
    progress.tell(*table(studies.counted(study), plan))
    best = best_of(study)
    if best is None:
        raise RunError(f"{plan.folder}: no trial is complete, so none is the best")
    path = os.path.join(plan.folder, FLAGS_FILE)
    files.write_text(path, flagfile(best, plan))
    report = os.path.join(plan.folder, REPORT_FILE)
    trials.call("report", _report_flags(study, plan, report))
    progress.tell(
        f"best: trial {best.number}, {plan.metric} {best.value:.4f} on the validation split",
        f"report of the best: {report}",
        f"test and export it: {_command(path)}",
    )


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The best complete trial; of equal ones the first. None if none is complete."""
    ranked = _ranked(study)
    return ranked[0] if ranked else None


def table(shown: list[FrozenTrial], plan: Plan) -> list[str]:
    """The lines of a table of trials: number, state, value and flags of each."""
    names = [parameter.name for parameter in plan.parameters]
    rows = [["trial", "state", plan.metric, *names]]
    for trial in shown:
        value = "" if trial.value is None else f"{trial.value:.4f}"
        values = [_text(trial.params.get(name, "")) for name in names]
        rows.append([str(trial.number), _STATES[trial.state], value, *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def line_of(number: int, outcome: trials.Outcome, values: Mapping[str, Any], plan: Plan) -> str:
    """How a trial has ended, in a line."""
    value = "" if outcome.value is None else f", {plan.metric} {outcome.value:.4f}"
    reason = f" ({outcome.reason})" if outcome.reason else ""
    flags = ", ".join(f"{name}={_text(each)}" for name, each in values.items())
    return f"trial {number}: {_STATES[outcome.state]}{value}{reason}; {flags}"


def flagfile(best: FrozenTrial, plan: Plan) -> str:
    """The text of a flagfile of the best trial: with it `train` tests and exports its model."""
    path = os.path.join(plan.folder, FLAGS_FILE)
    lines = [
        f"{_TRIAL}{best.number} of a sweep of {plan.trials}: {plan.metric} {best.value:.4f} on the "
        "validation split.",
        "#",
        f"#   {_command(path)}",
        "#",
        "# evaluates its model, which is trained, on the test split and exports it. With another",
        "# --model_dir after the flagfile the same training begins anew.",
        *plan.chosen_flags(best.number, best.params),
    ]
    return "\n".join(lines) + "\n"


def _ranked(study: optuna.Study) -> list[FrozenTrial]:
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    complete = studies.counted(study, TrialState.COMPLETE)
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))


def _report_flags(study: optuna.Study, plan: Plan, path: str) -> list[str]:
    folders = [plan.trial_folder(trial.number) for trial in _ranked(study)[:_IN_REPORT]]
    return [
        f"--model_dir={','.join(folders)}",
        "--checkpoint=best",
        "--split=validation",
        f"--title=The best of {len(studies.counted(study))} trials",
        f"--output={path}",
    ]


def _command(path: str) -> str:
    return f"python -m mnist_estimator.train --flagfile={shlex.quote(path)}"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
