"""A run that is read while its trainer saves, and deletes, checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.datasets import TEST, array_source
from support.short_runs import train

from mnist_estimator import InputError, RunError
from mnist_estimator.data import writer
from mnist_estimator.runs import checkpoints, copies, open_run, status
from mnist_estimator.runs.checkpoints import damage
from mnist_estimator.scoring import evaluation

STEPS = 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    writer.write_dataset(
        str(folder / "data"),
        dataset="squares",
        train=array_source(60),
        test=array_source(TEST, seed=1),
        validation_split="10",
    )
    options = {"model": "softmax", "max_steps": STEPS, "export": "best"}
    train(folder / "run", str(folder / "data"), **options)
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    """The model_dir of a run that goes on."""
    monkeypatch.setattr(checkpoints, "_in_memory", {})
    model_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    status.Recorder(str(model_dir), has_evaluator=False).write(status.TRAINING)
    return model_dir


def replaced(folder: Path, step: int) -> str:
    """Has the only checkpoint of a folder give way to one of another step, as its trainer does."""
    old = checkpoints.newest(str(folder))
    new = f"{folder}/model.ckpt-{step}"
    for file in folder.glob(f"{Path(old).name}.*"):
        if not file.name.endswith(".sha256"):
            shutil.copy(file, file.with_name(file.name.replace(Path(old).name, Path(new).name)))
    checkpoints.seal(new)
    checkpoints.keep_newest(new, 0)
    checkpoints.remove([old])
    return new


@pytest.fixture
def replaced_when_verified(monkeypatch):
    """Has each of so many checkpoints give way to the next, once it has been found whole."""

    def prepare(folder: Path, times: int) -> None:
        left = iter(range(times))

        def verify(path: str) -> str:
            problem = damage(path)
            if path.startswith(f"{folder}/") and next(left, None) is not None:
                replaced(folder, checkpoints.step_of(path) + 1)
            return problem

        monkeypatch.setattr(checkpoints, "damage", verify)

    return prepare


def only_the_newest(model_dir: Path) -> None:
    for path in checkpoints.older_than(checkpoints.newest(str(model_dir))):
        checkpoints.remove([path])


@pytest.mark.parametrize("times", [0, 1, 3])
def test_the_newest_is_one_that_stays(run, replaced_when_verified, times):
    only_the_newest(run)
    replaced_when_verified(run, times)
    opened = open_run.open_run(str(run), open_run.NEWEST)
    assert opened.checkpoint == f"{run}/model.ckpt-{STEPS + times}"
    # By now it is gone, too.
    checkpoints.remove([opened.checkpoint])
    metrics = evaluation.evaluate_alone(opened, *opened.data(), "test")
    assert metrics["examples"] == TEST and metrics["checkpoint"] == opened.checkpoint
    assert checkpoints.digest(opened.checkpoint)


def test_the_best_is_one_that_stays(run, monkeypatch):
    """The trainer copies a better one, and deletes the one before, before it records that."""
    best = run / "best"
    new = replaced(best, STEPS + 1)
    waited = []

    def recorded(secs: float) -> None:
        waited.append(secs)
        evaluations = open_run.Evaluations(str(run))
        monkeypatch.setattr(copies, "keep_copy", lambda path, folder, record: record())
        evaluations.add({"global_step": STEPS + 1, "accuracy": 1.1, "loss": 0.0}, new)

    monkeypatch.setattr(open_run.time, "sleep", recorded)
    assert open_run.open_run(str(run)).checkpoint == new and len(waited) == 1


@pytest.mark.parametrize("training", [True, False])
def test_what_never_comes_is_one_line(run, monkeypatch, training):
    if not training:
        status.Recorder(str(run), has_evaluator=False).write(status.DONE, exit_code=0)
    replaced(run / "best", STEPS + 1)
    now = iter(range(100))
    monkeypatch.setattr(open_run.time, "monotonic", lambda: float(next(now)))
    waited = []
    monkeypatch.setattr(open_run.time, "sleep", waited.append)
    with pytest.raises(RunError, match=f"best/model.ckpt-{STEPS}.* take another one"):
        open_run.open_run(str(run))
    assert bool(waited) == training


def test_a_checkpoint_that_goes_while_it_is_copied(run, monkeypatch):
    path = checkpoints.newest(str(run))
    monkeypatch.setattr(checkpoints, "files_of", lambda path: [f"{path}.index"])
    with pytest.raises(RunError, match=f"{path}: deleted while it was read"):
        checkpoints.copy_to_memory(path)
    monkeypatch.setattr(checkpoints, "files_of", lambda path: [f"{path}.gone"])
    with pytest.raises(InputError, match=f"{path}.gone: No such file"):
        checkpoints.copy_to_memory(path)


def test_of_a_run_that_has_ended_nothing_is_copied(trained, monkeypatch):
    monkeypatch.setattr(checkpoints, "_in_memory", {})
    assert open_run.open_run(str(trained)).checkpoint == f"{trained}/best/model.ckpt-{STEPS}"
    assert checkpoints._in_memory == {}


def test_a_checkpoint_that_goes_after_all_is_one_line(trained, tmp_path):
    model_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    opened = open_run.open_run(str(model_dir))
    checkpoints.remove([opened.checkpoint])
    with pytest.raises(RunError, match=f"{opened.checkpoint}: has been deleted"):
        evaluation.evaluate_alone(opened, *opened.data(), "test")
