"""The command that trains a stretch of a run again: what it prints, and its exit code."""

from __future__ import annotations

import pytest
from support import flips, programs
from support.datasets import CLASSES, TRAIN, array_source
from support.short_runs import train

from mnist_estimator.data import writer


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A run with a flipped bit between the first two of its three checkpoints."""
    folder = tmp_path_factory.mktemp("work")
    options = {"dataset": "squares", "num_classes": CLASSES, "shards": 1, "validation_split": "0"}
    writer.write_dataset(f"{folder}/data", train=array_source(TRAIN), test=None, **options)
    with pytest.MonkeyPatch.context() as patch:
        flips.plant(patch, after=2)
        options = {"model": "softmax", "save_checkpoints_steps": 4, "max_steps": 8}
        train(folder / "run", f"{folder}/data", **options)
    return folder / "run"


def replay(model_dir, *flags):
    words = programs.command("replay", f"--model_dir={model_dir}", *flags)
    return programs.run_forked(words)


def test_the_stretch_before_the_last_checkpoint_is_trained_again(model_dir):
    done = replay(model_dir)
    assert (done.returncode, done.stdout) == (0, "steps 4 to 8: identical\n"), done.stderr
    assert "training steps 4 to 8 again" in done.stderr


def test_every_stretch_is_and_a_difference_is_the_exit_code(model_dir):
    done = replay(model_dir, "--every")
    first, *lines, last = done.stdout.splitlines()
    assert (done.returncode, first, last) == (
        *(1, "steps 0 to 4: differ", "steps 4 to 8: identical"),
    )
    assert "logits/kernel: " in lines[1] + lines[2] + lines[3]
    assert lines[-1].endswith("so the first result is wrong")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--data_dir=none"], "replay: none: no manifest.json, expected the prepared dataset"),
        (["--model=my:net"], "replay: --model: found my:net, expected softmax"),
        (["--checkpoint=best"], "Unknown command line flag 'checkpoint'"),
        (["5"], "replay: found '5', expected only --flags"),
    ],
)
def test_a_mistake_is_one_line(model_dir, flags, line):
    done = replay(model_dir, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr and done.stderr.count("\n") == 1
