"""Which flags of prepare go together; tests/test_prepare.py has what each of them does."""

from __future__ import annotations

import pytest
from absl import flags

from mnist_estimator import InputError, prepare_config


def parsed(*arguments: str) -> flags.FlagValues:
    values = flags.FlagValues()
    prepare_config.define_flags(values)
    values(["prepare", *arguments])
    return values


def test_flags_are_defined_where_they_are_asked_for():
    assert parsed("--train_csv=a", "--data_dir=b").train_csv == "a"
    assert "train_parquet" not in flags.FLAGS


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--shards=0"], "--shards: found 0"),
        (["--train_csv=a"], "--data_dir: found nothing"),
        (["--data_dir=d", "--train_csv=a", "--npz=b"], "--train_csv and --npz: found both"),
        (["--data_dir=d", "--train_images=a"], "--train_images without --train_labels"),
        (["--data_dir=d", "--test_parquet=a"], "--test_parquet without --train_parquet"),
        (["--data_dir=d", "--verify", "--merge"], "--verify and --merge: found both"),
        (["--data_dir=d", "--merge", "--shards=3"], "--merge and --shards: found both"),
        (["--data_dir=d", "--part=4/3"], "--part"),
        (["--dataset=mnist", "--num_classes=3"], "--num_classes: not without"),
        (["--data_dir=d", "--npz=a", "--label_column=b"], "--label_column: not without"),
        (["--data_dir=d", "--image_folder=a", "--transpose"], "--transpose: not without"),
        (["--data_dir=d", "--npz=a", "--image_shape=3,3"], "--image_shape: not without"),
        (["--data_dir=d", "--image_folder=a", "--image_shape=3,3,2"], "found 2 channels"),
    ],
)
def test_what_contradicts_is_one_line(arguments, line):
    with pytest.raises(InputError, match=line):
        prepare_config.check(parsed(*arguments))


def test_a_part_may_be_merged():
    prepare_config.check(parsed("--data_dir=d", "--part=1/2", "--merge", "--train_csv=a"))


def test_a_merge_that_stands_still_may_have_a_limit():
    prepare_config.check(parsed("--data_dir=d", "--merge", "--stall_timeout_secs=60"))


def test_a_shape_without_channels_has_one():
    assert prepare_config.parse_shape("3,4") == (3, 4, 1)
    with pytest.raises(InputError, match="--image_shape"):
        prepare_config.parse_shape("3x4")
