"""Stretches of a run trained again: what they are compared with, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys

import pytest
from support import flips
from support.datasets import TRAIN, VALIDATION, array_source
from support.saved import flip, save_steps
from support.short_runs import train

from mnist_estimator import InputError, RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import writer
from mnist_estimator.engines import passed_flags
from mnist_estimator.runs import machine, starts, status
from mnist_estimator.training import replaying

# With what may change from start to start, and is no part of a checkpoint.
OPTIONS = {"model": "softmax", "cache_mb": 0, "learning_rate": 0.01, "decay_steps": 0}
OPTIONS |= {"keep_checkpoint_max": 0, "save_checkpoints_steps": 4, "precision": "auto"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with data, a run of two starts with a flipped bit in the second stretch of three."""
    folder = tmp_path_factory.mktemp("work")
    source = array_source(TRAIN + VALIDATION)
    split = {"validation_split": str(VALIDATION), "num_classes": 4, "shards": 2}
    writer.write_dataset(f"{folder}/data", dataset="squares", train=source, test=None, **split)
    with pytest.MonkeyPatch.context() as patch:
        flips.plant(patch, after=6)
        train(folder / "run", f"{folder}/data", **OPTIONS, max_steps=8)
    # The schedule is as long as the training: here the rest follows another one.
    train(folder / "run", f"{folder}/data", **OPTIONS, max_steps=12)
    return folder


def replayed(model_dir, **options):
    run = replaying.open_replayed(str(model_dir), **options)
    return {stretch.steps: replaying.replay(stretch) for stretch in run.stretches}


def test_a_flipped_bit_is_found_in_its_stretch(work, capsys):
    before = {path: path.read_bytes() for path in sorted((work / "run").rglob("*.*"))}
    found = replayed(work / "run")
    assert list(found) == [(0, 4), (4, 8), (8, 12)]
    assert found[0, 4] == found[8, 12] == []
    assert any(line.startswith("logits/kernel: ") for line in found[4, 8])
    assert found[4, 8][-1] == (
        "the second and the third time end with the same bytes, so the first result is wrong"
    )
    # The run is left as it was, and the machine is the same.
    assert {path: path.read_bytes() for path in sorted((work / "run").rglob("*.*"))} == before
    assert "warning" not in capsys.readouterr().err


def copied(work, tmp_path, change=lambda record: None):
    """A copy of the run whose record is another one."""
    shutil.copytree(work / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    change(record)
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    return tmp_path / "run"


def last(model_dir):
    return replaying.open_replayed(str(model_dir)).stretches[-1]


def test_another_machine_is_said_first(work, tmp_path, capsys, monkeypatch):
    def older(record):
        record[starts.KEY][-1]["machine"] |= {"numpy": "1.0"}
        del record[starts.KEY][-1]["machine"]["cores"]

    monkeypatch.setattr(replaying, "_train", lambda *_: {})
    found = replaying.replay(last(copied(work, tmp_path, older)))
    here = machine.describe()
    assert capsys.readouterr().err == (
        f"warning: steps 8 to 12 were trained with numpy 1.0 (here {here['numpy']}); cores unknown "
        f"(here {here['cores']})\n"
    )
    assert found[-1].endswith("; the run had other machines or libraries, which may be the reason")


def test_what_an_older_version_recorded_is_trained_as_its_flags_say(
    work, tmp_path, capsys, monkeypatch
):
    asked = []
    monkeypatch.setattr(replaying, "_train", lambda *given: asked.append(given) or {})
    stretch = last(copied(work, tmp_path, lambda record: record.pop(starts.KEY)))
    assert replaying.replay(stretch)
    assert asked[0][1].learning_rate == 0.01
    said = capsys.readouterr().err
    assert "steps 8 to 12 were trained with what run.json does not tell, as an older" in said


def test_records_that_were_moved_are_named(work, tmp_path):
    model_dir = copied(work, tmp_path, lambda record: record["dataset"].update(data_dir="/gone"))
    with pytest.raises(InputError, match=r"^/gone: no manifest.json, expected the prepared"):
        replaying.open_replayed(str(model_dir))
    run = replaying.open_replayed(str(model_dir), data_dir=f"{work}/data")
    assert run.data.folder == f"{work}/data"
    writer.write_dataset(
        f"{tmp_path}/other",
        dataset="squares",
        train=array_source(TRAIN, seed=5),
        test=None,
        num_classes=4,
    )
    with pytest.raises(InputError, match=r"other: holds other records \(manifest .*--data_dir"):
        replaying.open_replayed(str(model_dir), data_dir=f"{tmp_path}/other")


def test_a_damaged_checkpoint_is_not_compared(work, tmp_path):
    model_dir = copied(work, tmp_path)
    run = replaying.open_replayed(str(model_dir))
    flip(model_dir / "model.ckpt-8.index", 5)
    with pytest.raises(RunError, match=r"model.ckpt-8.index is damaged: .*; cannot be compared"):
        replaying.replay(run.stretches[1])


def test_one_checkpoint_is_too_few(work, tmp_path):
    model_dir = copied(work, tmp_path)
    for path in [*model_dir.glob("model.ckpt-[048]*")]:
        path.unlink()
    with pytest.raises(InputError, match=r"found one checkpoint, expected two .*_checkpoint_max"):
        replaying.open_replayed(str(model_dir))


def test_a_program_of_the_users_own_is_refused(tmp_path):
    save_steps(tmp_path / "own")
    with pytest.raises(InputError, match="holds checkpoints of another program and no run.json"):
        replaying.open_replayed(f"{tmp_path}/own")
    with pytest.raises(InputError, match="run.json: not found, expected the record of a run"):
        replaying.open_replayed(f"{tmp_path}/none")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda r: r["flags"].update(strategy="ps"), "--strategy=ps, whose workers are never in"),
        (
            lambda r: [r["flags"].update(strategy="multi_worker"), r.pop(starts.KEY)],
            "does not tell how many workers there were",
        ),
        (
            lambda r: r[starts.KEY].append({**r[starts.KEY][-1], "step": 10, "trainers": 2}),
            "after step 8 the run went on with other flags or workers, at a step before 12",
        ),
        (
            lambda r: [
                r[starts.KEY].append({**r[starts.KEY][-1], "step": 10, "flags": {}}),
                r[starts.KEY][-2]["flags"].update(learning_rate=0.5),
            ],
            "after step 8 the run went on with other flags or workers, at a step before 12",
        ),
    ],
    ids=["ps", "unknown", "workers", "flags"],
)
def test_what_gives_other_bits_anyway_is_refused(work, tmp_path, change, line):
    with pytest.raises(InputError, match=line):
        replaying.replay(last(copied(work, tmp_path, change)))


def test_differences_without_determinism_need_not_mean_anything(work, tmp_path, capsys):
    stretch = last(copied(work, tmp_path, lambda r: r["flags"].update(deterministic=False)))
    replaying._how_trained(stretch, starts.between(stretch.run.record, 8, 12))
    assert "--nodeterministic: differences need not mean anything" in capsys.readouterr().err


def test_only_what_the_weights_follow_from_is_as_it_was(work):
    stretch = last(work / "run")
    config, trainers = replaying._how_trained(stretch, starts.between(stretch.run.record, 8, 12))
    assert trainers == 1
    assert (config.max_steps, config.decay_steps, config.learning_rate) == (12, 12, 0.01)
    run = replaying.open_replayed(str(work / "run"))
    config, _ = replaying._how_trained(run.stretches[0], starts.between(run.record, 0, 4))
    assert (config.max_steps, config.decay_steps) == (4, 8)
    assert config.precision == run.record["compute_dtype"]
    assert (config.eval_split, config.export, config.replay_steps) == ("none", "none", 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"deterministic": True, "use_ema": False, "seed": 7, "model_dir": "a b", "clip_norm": 0.5},
        {"hidden_units": "3,4", "precision": "bfloat16", "strategy": "multi_worker"},
    ],
)
def test_a_config_is_told_to_a_cluster_by_its_flags(options):
    config = TrainConfig(**{"data_dir": "d"} | options)
    # What the launcher sets is left to it.
    words = replaying._as_flags(dataclasses.replace(config, job_name="worker", task_index=3))
    assert passed_flags.parse(words)[0] == config


@pytest.mark.parametrize("code", [0, 7])
def test_a_cluster_is_started_with_as_many_workers(work, tmp_path, monkeypatch, code):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit {code}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def workers(record):
        record["flags"]["strategy"] = "multi_worker"
        record[starts.KEY][-1]["trainers"] = 3

    expected = "workers on this machine ended with 7" if code else "training again ended at step 8"
    with pytest.raises(RunError, match=expected):
        replaying.replay(last(copied(work, tmp_path, workers)))
    words = (tmp_path / "words").read_text().split()
    assert words[:4] == ["-m", "mnist_estimator.launch", "--workers=3", "--"]
    assert {"--strategy=multi_worker", "--max_steps=12", "--export=none"} <= set(words)


def test_a_damaged_record_is_named(work, tmp_path):
    shutil.copytree(work / "data", tmp_path / "data")
    shard = sorted((tmp_path / "data").glob("train-*"))[0]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    run = replaying.open_replayed(str(work / "run"), data_dir=f"{tmp_path}/data")
    with pytest.raises(RunError, match=f"{shard.name}: record 0 is corrupt"):
        replaying.replay(run.stretches[0])


def test_the_status_of_another_program_is_known(tmp_path):
    status.Recorder(str(tmp_path), False).write(status.DONE, exit_code=0)
    with pytest.raises(InputError, match="another program"):
        replaying.open_replayed(str(tmp_path))
