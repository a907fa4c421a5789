"""Settings: each wrong value is one line that names the flag."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys

import pytest
from absl import flags
from support import programs

from mnist_estimator import InputError, config
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import known_datasets
from mnist_estimator.runtime import flag_fields


def test_the_defaults_are_valid_and_every_setting_is_explained():
    TrainConfig()
    assert all(len(f.metadata["help"]) > 15 for f in dataclasses.fields(TrainConfig))


@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_every_flag_says_what_it_affects(field):
    affects = field.metadata["affects"]
    assert affects and set(affects) <= set(config.EFFECTS)
    assert len(affects) == len(set(affects))


# A change of one of these lists changes what `train` refuses or warns of, and what a report shows.
def test_lists_of_flags_follow_from_what_each_flag_says():
    assert config.DATA_FLAGS == ("data_dir", "dataset", "validation_split", "shards", "seed")
    network = ("model", "hidden_units", "batch_norm", "pixel_max")
    assert config.flags_affecting(config.NETWORK) == network
    assert set(config.flags_affecting(config.LEARNING)) == {
        *("cache_mb", "shuffle_buffer", "batch_size", "seed", "dropout_rate", "deterministic"),
        *("initializer", "initial_stddev", "initial_bias", "optimizer", "loss_reduction"),
        *("learning_rate", "schedule", "warmup_steps", "decay_steps", "decay_rate", "momentum"),
        *("clip_norm", "weight_decay", "label_smoothing", "ema_decay"),
        *("rotate", "scale", "shear", "shift", "flip", "elastic", "erase", "mixup"),
    }
    fields = dataclasses.fields(TrainConfig)
    assert {field.name for field in fields if field.metadata["set_by"]} == {
        *("job_name", "task_index", "chief_hosts", "worker_hosts", "ps_hosts", "num_ps"),
        "evaluator",
    }
    assert {field.name for field in fields if field.metadata["report_line"]} == {
        *("model", "hidden_units", "optimizer", "learning_rate", "schedule", "batch_size"),
        *("max_steps", "seed", "precision", "data_dir", "dataset", "validation_split"),
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("model_dir", "", "expected a folder"),
        ("data_dir", "https://user:word@host/data", "user, password or signature in the URL"),
        ("data_dir", "http://host/data?sig=abc", "user, password or signature in the URL"),
        ("model", "resnet", "expected one of cnn, softmax, dnn, or a function as"),
        ("model", "my_module:", "expected one of cnn"),
        ("model", "../x:network", "expected one of cnn"),
        ("hidden_units", "", "expected whole numbers with commas"),
        ("hidden_units", "256,0", "expected whole numbers with commas"),
        ("hidden_units", "256;128", "expected whole numbers with commas"),
        ("batch_norm", "layer", "expected one of none, dense, all"),
        ("pixel_max", 0.0, "expected more"),
        ("initializer", "zeros", "expected one of glorot_uniform, truncated_normal"),
        ("initial_stddev", 0.0, "expected more"),
        ("initial_bias", float("nan"), "expected at least"),
        ("loss_reduction", "none", "expected one of mean, sum"),
        ("profile_steps", "100", "expected the first step and the last"),
        ("profile_steps", "110,100", "expected the first step and the last"),
        ("profile_steps", "a,b", "expected whole numbers with commas"),
        ("optimizer", "lamb", "expected one of sgd, momentum, adagrad, adam"),
        ("schedule", "step", "expected one of constant, exponential, cosine"),
        ("precision", "float16", "expected one of float32, bfloat16, auto"),
        ("strategy", "tpu", "expected one of auto, none, mirrored, multi_worker, ps"),
        ("eval_split", "test", "expected one of validation, none"),
        ("batch_size", 0, "expected at least 1"),
        ("max_steps", 0, "expected at least 1"),
        ("shards", 0, "expected at least 1"),
        ("learning_rate", -0.1, "expected at least 0"),
        ("learning_rate", 0.0, "expected more"),
        ("learning_rate", float("nan"), "expected at least 0"),
        ("learning_rate", float("inf"), "expected at most 2147483647"),
        ("intra_op_threads", 2**31, "expected at most 2147483647"),
        ("save_checkpoints_steps", 2**70, "expected at most 2147483647"),
        ("shards", 257, "expected at most 256"),
        ("dropout_rate", 1.0, "expected less than 1"),
        ("dropout_rate", -0.1, "expected at least 0"),
        ("clip_norm", -1.0, "expected at least 0"),
        ("seed", -1, "expected at least 0"),
        ("seed", 2**31, "expected at most 2147483647"),
        ("save_checkpoints_steps", 0, "expected at least 1"),
        ("keep_checkpoint_max", -1, "expected at least 0"),
        ("log_steps", 0, "expected at least 1"),
        ("replay_steps", 501, "expected at most --save_checkpoints_steps=500"),
        ("intra_op_threads", -1, "expected at least 0"),
        ("task_index", -1, "expected at least 0"),
        ("cache_dir", "s3://bucket/cache", "expected a local folder"),
        ("cache_limit", "much", "expected a size, as in 500MB or 20GB"),
        ("cache_limit", "-1", "expected a size"),
        ("cache_limit", "5 PB", "expected a size"),
        ("cache_limit", "\u0665", "expected a size"),
    ],
)
def test_a_wrong_value_is_named(name, value, expected):
    with pytest.raises(InputError, match=f"^--{name}: found .*{expected}"):
        TrainConfig(**{name: value})


def test_a_schedule_by_which_nothing_is_learned_is_refused():
    with pytest.raises(InputError, match="--decay_rate: found 0, expected more: nothing would be"):
        TrainConfig(schedule="exponential", decay_rate=0.0)


def test_one_example_a_step_is_not_normalized_by_its_own_mean():
    with pytest.raises(InputError, match="--batch_norm: found it with --batch_size=1, expected"):
        config.TrainConfig(batch_norm="dense", batch_size=1)
    config.TrainConfig(batch_norm="none", batch_size=1)


def test_mixup_needs_pairs_and_shares_that_can_be_drawn():
    with pytest.raises(InputError, match="--mixup: found it with --batch_size=1, expected more"):
        config.TrainConfig(mixup=0.2, batch_size=1)
    with pytest.raises(InputError, match="--mixup: found 0.001, expected 0 or at least 0.01"):
        config.TrainConfig(mixup=0.001)
    mixes, plain = config.TrainConfig(mixup=0.01, batch_size=3), config.TrainConfig()
    assert [each.batch_unit(4) for each in (mixes, plain)] == [8, 4]
    assert mixes.batch_unit(1) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"strategy": "ps"}, "--strategy=ps, expected a process that trains alone"),
        ({"strategy": "multi_worker"}, "--strategy=multi_worker, expected a process that"),
        ({"deterministic": False}, "--nodeterministic, expected no difference"),
    ],
)
def test_steps_that_cannot_be_done_again_are_refused(options, expected):
    assert TrainConfig(replay_steps=500).replay_steps == 500
    with pytest.raises(InputError, match=f"^--replay_steps: found it with {expected}"):
        TrainConfig(replay_steps=500, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0", 0),
        ("123", 123),
        ("20GB", 20 * 10**9),
        ("1.5 tb", 1_500_000_000_000),
        ("2Gi", 2 * 2**30),
        ("500m", 500_000_000),
        ("3 KiB", 3072),
        ("7B", 7),
    ],
)
def test_a_size_has_a_unit(text, expected):
    assert TrainConfig(cache_limit=text).cache_bytes == expected


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "report", "replay"])
def test_help_shows_the_command_and_its_flags(name):
    result = programs.run(programs.command(name, "--help"))
    assert result.returncode == 0
    assert f"python -m mnist_estimator.{name}" in result.stdout
    assert "--model_dir:" in result.stdout


def test_flags_are_answered_without_tensorflow():
    script = (
        "import sys\n"
        "from mnist_estimator import config, evaluate, train\n"
        "config.define_train_flags()\n"
        "config.flags.FLAGS(['train'])\n"
        "config.train_config()\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("tboard/mod1", "tboard/mod1"),
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ('"my run"', "my run"),
        ("'my run'", "my run"),
        ('"~/my run"', "/home/me/my run"),
        ('my "best" run', 'my "best" run'),
        ('"', '"'),
        ("it's", "it's"),
        ("a/~/b", "a/~/b"),
        ("./~", "./~"),
        ("gs://bucket/~run", "gs://bucket/~run"),
        ("$5 run", "$5 run"),
        ("a/$HOME", "a/$HOME"),
        ("lr=[0.1]/*", "lr=[0.1]/*"),
    ],
)
def test_a_path_is_read_as_a_shell_would(home, text, path):
    assert flag_fields.as_path(text) == path
    # As every setting is that is a path, also in the flags of another program.
    for name in ("model_dir", "data_dir"):
        values = flags.FlagValues()
        flag_fields.define(flag_fields.fields_of(TrainConfig), values)
        values(["train", f"--{name}={text}"])
        assert values[name].value == path


@pytest.mark.parametrize("text", ["~nobody-of-that-name/x", "$HOME/x", "${HOME}/x", '"$HOME"'])
def test_what_only_a_shell_could_read_is_refused(home, text):
    values = flags.FlagValues()
    flag_fields.define_path("output", "", "A file.", values)
    with pytest.raises(flags.IllegalFlagValueError, match="--output=.*found .*, expected a path"):
        values(["report", f"--output={text}"])


PATHS = {
    "prepare": {
        *("data_dir", "source_dir", *known_datasets.ROLES, "npz"),
        *("train_csv", "test_csv", "image_folder", "test_image_folder"),
        *("train_parquet", "test_parquet"),
    },
    "evaluate": {"model_dir", "checkpoint", "data_dir", "images", "labels", "csv", "output"},
    "predict": {"model_dir", "checkpoint", "export_dir"},
    "export": {"model_dir", "checkpoint", "data_dir", "output"},
    "report": {"model_dir", "checkpoint", "data_dir", "output"},
    "replay": {"model_dir", "data_dir"},
    "sweep": {"space"},
    "submit": {"output", "sweep"},
}


@pytest.mark.parametrize("name", PATHS)
def test_every_flag_that_is_a_path_is_read_as_one(name):
    module = importlib.import_module(f"mnist_estimator.{name}")
    before = set(flags.FLAGS)
    module.define_flags()
    defined = set(flags.FLAGS) - before
    found = {
        flag for flag in defined if isinstance(flags.FLAGS[flag].parser, flag_fields.PathParser)
    }
    for flag in defined:
        delattr(flags.FLAGS, flag)
    assert found == PATHS[name]
