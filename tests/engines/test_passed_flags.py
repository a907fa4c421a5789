"""The train flags of a job: flagfiles are read, and a strategy is added where they have none."""

from __future__ import annotations

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import passed_flags


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], ["--strategy=ps"]),
        (["--seed=1"], ["--strategy=ps", "--seed=1"]),
        (["--strategy=none"], ["--strategy=none"]),
        (["--strategy", "none"], ["--strategy", "none"]),
        (["--strategy=auto"], ["--strategy=auto", "--strategy=ps"]),
    ],
)
def test_a_strategy_is_added_where_none_is_given(given, found):
    assert passed_flags.with_strategy(given, "ps") == found
    assert passed_flags.parse(found)[0].strategy in ("ps", "none")


def test_flagfiles_are_read_here_as_tasks_cannot(tmp_path):
    path = tmp_path / "x.flags"
    path.write_text("# The result's own.\n--seed=3\n\n--dropout_rate=0.2\n")
    found = passed_flags.read_flagfiles([f"--flagfile={path}", "--max_steps=5"])
    assert found == ("--seed=3", "--dropout_rate=0.2", "--max_steps=5")
    with pytest.raises(InputError, match="^--flagfile: .*No such file"):
        passed_flags.read_flagfiles([f"--flagfile={path}x"])
