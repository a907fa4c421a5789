"""What a sweep is to do: its flags, those of its trials, and what makes two sweeps the same."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import passed_flags
from mnist_estimator.sweeps import plans

SPACE = """
learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
batch_size: {type: int, low: 10, high: 50, step: 10}
"""
VALUES = {"trials": 5, "storage": "", "study": "", "prune": True, "sampler_seed": 0}


@pytest.fixture
def make(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)

    def make(*train_flags: str, **values: object) -> plans.Plan:
        return plans.make_plan(str(path), train_flags, VALUES | values)

    return make


def test_a_trial_has_the_flags_of_all_and_its_own(make):
    plan = make("--model_dir=sweep", "--model=softmax", "--max_steps=7")
    values = {"learning_rate": 0.1 + 0.2, "batch_size": 30}
    given = plan.trial_flags(7, values)
    config, _ = passed_flags.parse(given)
    assert config.model_dir == "sweep/trial-00007" == plan.trial_folder(7)
    assert (config.learning_rate, config.batch_size, config.max_steps) == (0.1 + 0.2, 30, 7)
    # It sees no test data, exports nothing, and is alone whatever the environment says.
    assert (config.final_test, config.export, config.strategy) == (False, "none", "none")
    chosen, _ = passed_flags.parse(plan.chosen_flags(7, values))
    differing = {"final_test": True, "export": "best"}
    assert dataclasses.replace(config, **differing) == chosen


def test_a_strategy_that_trains_alone_is_kept(make):
    assert "--strategy=none" not in make("--strategy=mirrored").trial_flags(0, {})
    assert passed_flags.parse(make("--strategy=mirrored").trial_flags(0, {}))[0].strategy != "none"


def test_flags_that_train_refuses_together_are_refused_before_a_trial(make):
    with pytest.raises(InputError, match="--dropout_rate: found 1.5, expected less than 1"):
        make().trial_flags(0, {"dropout_rate": 1.5})


def test_flagfiles_are_read(make, tmp_path):
    (tmp_path / "more.flags").write_text("# few\n--max_steps=3\n")
    plan = make(f"--flagfile={tmp_path}/more.flags", "--model_dir", "x", "--model_dir=y")
    assert plan.train_flags == ("--model_dir=y", "--max_steps=3")
    assert plan.chosen_flags(2, {"seed": 4}) == [
        *("--max_steps=3", "--strategy=none", "--seed=4", "--model_dir=y/trial-00002"),
    ]


def test_accuracy_is_to_be_large_and_loss_small(make):
    assert (make().metric, make().maximizes) == ("accuracy", True)
    assert make("--best_metric=loss").maximizes is False


@pytest.mark.parametrize(
    ("train_flags", "values", "line"),
    [
        ([], {"trials": 0}, "--trials: found 0, expected 1 to 100000"),
        ([], {"sampler_seed": -1}, "--sampler_seed: found -1, expected 0 to "),
        (["--max_stepps=1"], {}, "train flags, after the --: Unknown command line flag 'max_step"),
        (["--learning_rate=1"], {}, "train flags, .* --learning_rate, which .*space.yaml varies"),
        (["--export=none"], {}, "train flags, after the --: found --export, which the sweep sets"),
        (["--nofinal_test"], {}, "train flags, .*found --final_test, which the sweep sets; drop"),
        (["--eval_split=none"], {}, "train flags, .*found --eval_split=none, expected evaluations"),
        (["--validation_split=0"], {}, "train flags, .*found --validation_split=0, expected eva"),
        (["--strategy=ps"], {}, "train flags, .*found --strategy=ps, expected none or mirrored"),
        (["--strategy=multi_worker"], {}, "train flags, .*found --strategy=multi_worker, expect"),
        (["--evaluator"], {}, "train flags, after the --: found --evaluator, which --evaluator se"),
        (["--model_dir=a,b"], {}, "--model_dir: found a,b, expected no comma in it"),
        (["--model_dir=a\n--x"], {}, r"train flags, .*found '--model_dir=a\\n--x', expected a li"),
        (["--model_dir=a "], {}, "train flags, .*found '--model_dir=a ', expected a line that a"),
        (["--model_dir=s3://b/x"], {}, "--storage: found nothing with --model_dir=s3://b/x, exp"),
    ],
)
def test_a_mistake_is_one_line(make, train_flags, values, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make(*train_flags, **values)
    assert "\n" not in str(error.value)


def test_the_name_of_a_study_follows_from_the_folder(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The file is in the folder, and both may be moved.
    assert make("--model_dir=a").study_name == "sweep"
    shared = {"storage": "postgresql://host/db"}
    assert make("--model_dir=a", **shared).study_name == str(tmp_path / "a")
    assert make("--model_dir=s3://b/a", **shared).study_name == "s3://b/a"
    assert make("--model_dir=a", **shared, study="mine").study_name == "mine"


def test_what_makes_a_sweep_another_one(make):
    def identity(*flags, **values):
        return json.dumps(make(*flags, **values).identity(), sort_keys=True)

    same = identity("--model_dir=a", "--data_dir=here")
    assert identity("--model_dir=b", "--data_dir=there", "--log_steps=3", trials=9) == same
    assert identity("--intra_op_threads=2", storage="sqlite:///x", study="y") == same
    for flag in ("--max_steps=9", "--model=dnn", "--seed=3", "--save_checkpoints_steps=3"):
        assert identity("--model_dir=a", flag) != same, flag
    assert identity(prune=False) != same and identity(sampler_seed=1) != same


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("postgresql://me:se/c@ret@host:1/db?sslpassword=s3cret", "postgresql://host:1/db"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
        ("journal:/shared/a@b.log", "journal:/shared/a@b.log"),
        ("se:cret@host", "a URL"),
        ("postgresql://me:sec?ret@host/db", "a URL"),
        ("postgresql://host:1/db?password=se@cret", "a URL"),
    ],
)
def test_a_storage_is_shown_without_who_and_password(url, shown):
    assert plans.shown_storage(url) == shown


@pytest.mark.parametrize(
    ("url", "tasks", "line"),
    [
        ("", 2, "found nothing with --tasks=2, expected postgresql[+]psycopg://USER@HOST/DATABASE"),
        ("sqlite:///x", 2, "found SQLite with --tasks=2, expected postgresql[+]psycopg://"),
        ("postgresql://me:secret@h/d", 1, "found a password in the URL of postgresql://h/d, exp"),
        ("postgresql://me@h/d?password=secret", 1, "found a password in the URL of postgresql://h"),
    ],
)
def test_what_no_job_file_may_name_or_share(url, tasks, line):
    with pytest.raises(InputError, match=f"^--storage: {line}") as error:
        plans.check_shared_storage(url, tasks)
    assert "secret" not in str(error.value)
    for fine in ("postgresql://me@h/d", "journal:x"):
        plans.check_shared_storage(fine, 9)
    plans.check_shared_storage("", 1)
