"""Versions of what a run keeps: those of older packages open, those of newer ones are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mnist_estimator import InputError, config
from mnist_estimator.cluster.roles import Task
from mnist_estimator.reporting import panels, results
from mnist_estimator.runs import formats, open_run, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runs.record import parse, read_run
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import exports
from mnist_estimator.training import training

OLD_RUNS = Path(__file__).with_name("old_runs")
FILES = ("run.json", "status.json", "evaluations.json")


@pytest.fixture(params=range(formats.VERSION + 1))
def run_dir(request, work, monkeypatch):
    """A copy of a run of each format, beside its data, in the current folder."""
    monkeypatch.chdir(work)
    shutil.rmtree("run", ignore_errors=True)
    shutil.copytree(OLD_RUNS / f"version_{request.param}", "run")
    assert version_of("run") == {None if request.param == 0 else request.param}
    return Path("run")


def version_of(folder) -> set[int | None]:
    return {json.loads(Path(folder, name).read_text()).get(formats.KEY) for name in FILES}


def test_a_run_of_an_older_format_is_evaluated_exported_reported_and_continued(run_dir, capsys):
    trained = json.loads((run_dir / "metrics.json").read_text())
    opened = open_run.open_run("run")
    data_dir, manifest = opened.data()
    measured = evaluation.evaluate_alone(opened, data_dir, manifest, "test")
    for name in ("accuracy", "loss", "examples", "global_step"):
        assert measured[name] == pytest.approx(trained[name], rel=1e-6)
    exports.export_saved_model(opened, "exported")
    assert Path("exported/20/saved_model.pb").exists()
    page = panels.document([results.evaluate(opened)], "", 0)
    assert "test accuracy 0.6960" in page
    before, name = Evaluations("run"), status.read("run").run_name
    recorded, _ = read_run("run")
    assert recorded.strategy == "none"
    longer = dataclasses.replace(recorded, model_dir="run", data_dir="data", max_steps=30)
    continued = training.train(longer, Task())
    assert continued["global_step"] == 30
    assert version_of("run") == {formats.VERSION}
    assert Evaluations("run").history[: len(before.history)] == before.history
    assert status.read("run").run_name == name
    assert "ignoring" not in capsys.readouterr().err


def changed(folder: Path, name: str, change) -> None:
    record = json.loads((folder / name).read_text())
    change(record)
    (folder / name).write_text(json.dumps(record))


@pytest.fixture
def model_dir(tmp_path):
    newest = OLD_RUNS / f"version_{formats.VERSION}"
    return Path(shutil.copytree(newest, tmp_path / "run"))


READERS = {
    "run.json": lambda folder: read_run(str(folder)),
    "status.json": lambda folder: status.read(str(folder)),
    "evaluations.json": lambda folder: Evaluations(str(folder)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_newer_format_is_one_line_that_says_what_to_do(model_dir, name):
    newer = formats.VERSION + 1
    changed(model_dir, name, lambda record: record.update({formats.KEY: newer, "new": []}))
    with pytest.raises(InputError) as error:
        READERS[name](model_dir)
    assert str(error.value) == (
        f"{model_dir}/{name}: found format version {newer}, this package reads up to "
        f"{formats.VERSION}; install a newer mnist_estimator"
    )


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None, [1]])
def test_a_version_that_is_none_is_named(version):
    with pytest.raises(ValueError, match=r"^format_version is .*, expected 1 to 2147483647$"):
        formats.check({formats.KEY: version})


def test_the_digest_of_the_evaluations_is_also_of_the_version(model_dir):
    changed(model_dir, "evaluations.json", lambda record: record.pop(formats.KEY))
    with pytest.raises(InputError, match="sha256 is not that of the rest"):
        Evaluations(str(model_dir))


def test_flags_that_are_gone_are_named_in_one_warning(model_dir, capsys):
    gone = {"early_bird": True, "late\x1b": [1] * 5, **{f"x{n}": n for n in range(20)}}
    changed(model_dir, "run.json", lambda record: record["flags"].update(gone))
    found, record = read_run(str(model_dir))
    assert set(record["flags"]) == set(config.TrainConfig.__dataclass_fields__)
    assert found.optimizer == "momentum"
    read_run(str(model_dir))
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{model_dir}/run.json: ignoring flags that mnist_estimator " in line
    assert r"does not have: 'early_bird', 'late\x1b', 'x0', " in line
    assert line.endswith("'x7' and 12 more")


def test_a_flag_that_is_new_has_the_value_that_means_what_was_done(model_dir, monkeypatch):
    new = ("strategy", "momentum", "serving_precision")
    changed(model_dir, "run.json", lambda record: [record["flags"].pop(name) for name in new])
    field = config.TrainConfig.__dataclass_fields__["momentum"]
    monkeypatch.setattr(field, "metadata", {**field.metadata, "unrecorded": 0.25})
    found, record = parse((model_dir / "run.json").read_bytes())
    assert config.TrainConfig().strategy == "auto"
    assert (found.strategy, found.momentum, found.serving_precision) == ("none", 0.25, "float32")
    assert record["flags"] == dataclasses.asdict(found)
