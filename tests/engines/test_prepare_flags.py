"""What launch and submit take for prepare, and what they refuse."""

from __future__ import annotations

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import prepare_flags


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--data_dir=a", "--part=1/2"], "found --part, which is set for each"),
        (["--data_dir=a", "-merge"], "found --merge, which is set for each"),
        (["--data_dir=a", "--noverify"], "found --noverify, which is set for each"),
        (["--data_dir=a", "--flagfile=x"], "found --flagfile, expected the flags"),
        (["--data_dir", "a"], "found 'a', expected only --NAME=VALUE"),
        (["--data_dir="], "found no --data_dir=FOLDER"),
        (["--data_dir=a\0"], "expected text without NUL"),
        (["--", "--data_dir=a"], "found '--', expected only"),
    ],
)
def test_flags_that_are_not_for_parts(given, line):
    with pytest.raises(InputError) as error:
        prepare_flags.data_dir_of(given)
    assert line in str(error.value) and str(error.value).startswith("prepare flags")


def test_the_last_data_dir_counts_as_for_absl():
    assert prepare_flags.data_dir_of(["--data_dir=a", "--seed=1", "-data_dir=b=c"]) == "b=c"


def test_the_merge_gets_what_it_needs():
    given = ["--train_csv=x", "--data_dir=a b", "--shards=3"]
    assert prepare_flags.merge_flags(given) == ["--data_dir=a b", "--merge"]
    assert prepare_flags.merge_flags([*given, "--force=true"])[-1] == "--force=true"
    assert prepare_flags.merge_flags([*given, "--noforce"]) == ["--data_dir=a b", "--merge"]
