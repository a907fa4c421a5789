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
        (["--data_dir=a", "--noverify"], "found --verify, which is set for each part"),
        (["--data_dir=a", "--flagfile=x"], "found --flagfile, expected the flags"),
        (["--data_dir=a", "b"], "found 'b', expected only --flags"),
        (["--data_dir=a", "--trian_csv=b"], "Unknown command line flag 'trian_csv'"),
        (["--data_dir=a", "--shards=0"], "--shards: found 0"),
        (["--data_dir=a", "--test_csv=b"], "--test_csv without --train_csv"),
        (["--data_dir="], "found no --data_dir=FOLDER"),
        (["--data_dir=a\0"], "expected text without NUL"),
        (["--", "--data_dir=a"], "found '--data_dir=a', expected only"),
    ],
)
def test_flags_that_are_not_for_parts(given, line):
    with pytest.raises(InputError) as error:
        prepare_flags.data_dir_of(given)
    assert line in str(error.value) and str(error.value).startswith("prepare flags")


def test_the_last_data_dir_counts_as_for_absl():
    assert prepare_flags.data_dir_of(["--data_dir=a", "--seed=1", "-data_dir=b=c"]) == "b=c"
    assert prepare_flags.data_dir_of(["--data_dir", "a"]) == "a"


def test_the_merge_gets_what_it_needs():
    given = ["--train_csv=x", "--data_dir=a b", "--shards=3"]
    assert prepare_flags.merge_flags(given) == ["--data_dir=a b", "--merge"]
    assert prepare_flags.merge_flags([*given, "--force=true"])[-1] == "--force"
    assert prepare_flags.merge_flags([*given, "--noforce"]) == ["--data_dir=a b", "--merge"]
