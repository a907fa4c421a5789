"""What a run.json may say, and the one line for each that it may not."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from mnist_estimator import InputError, RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.pictures import methods
from mnist_estimator.reporting import panels
from mnist_estimator.runs import open_run
from mnist_estimator.runs.record import parse, read_run, trained_on
from mnist_estimator.runtime import json_files
from mnist_estimator.serving import predictors

DIGEST = "0123456789abcdef" * 4
RECORD = {
    "flags": dataclasses.asdict(TrainConfig(model_dir="m", data_dir="d", strategy="none")),
    "compute_dtype": "float32",
    "versions": {"mnist_estimator": "0.1.0", "python": "3.13.0"},
    "dataset": {
        "name": "mnist",
        "data_dir": "/d",
        "manifest_sha256": DIGEST,
        "sources": {"train_images": DIGEST},
        "split_rule": "first 5000",
        "image_shape": [28, 28, 1],
        "num_classes": 3,
        "class_names": ["a", "b", "c"],
        "brightest_pixel": 16,
        "pictures": "plain",
        "examples": {"train": 3, "validation": 0, "test": 0},
    },
}
REMOVED = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    record = copy.deepcopy(RECORD)
    *above, last = path.split()
    node = record
    for name in above:
        node = node[name]
    node[last] = value
    if value is REMOVED:
        del node[last]
    return record


def refusal(record: Any) -> str:
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    with pytest.raises(ValueError) as error:
        parse(text)
    return str(error.value)


def test_a_record_gives_the_flags_and_what_the_run_was_trained_on():
    config, record = parse(json.dumps(RECORD).encode())
    assert (config, record) == (TrainConfig(model_dir="m", data_dir="d", strategy="none"), RECORD)
    trained = trained_on(record)
    assert trained.image_shape == (28, 28, 1)
    assert (trained.class_names, trained.brightest_pixel) == (("a", "b", "c"), 16)


# What each version has added, the latest first.
ADDED = ["versions", "dataset brightest_pixel", "dataset pictures", "dataset split_rule"]
ADDED += ["dataset class_names", "dataset examples", "flags serving_precision", "flags export"]


@pytest.mark.parametrize("path", ADDED)
def test_a_record_of_an_earlier_version_is_read(path):
    config, record = parse(json.dumps(changed(path, REMOVED)).encode())
    assert config == TrainConfig(model_dir="m", data_dir="d", strategy="none")
    trained = trained_on(record)
    if path == "dataset class_names":
        assert trained.class_names == ("0", "1", "2")
    if path == "dataset brightest_pixel":
        assert trained.brightest_pixel == 255
    if path == "dataset pictures":
        assert trained.pictures == methods.DIGIT


def test_a_record_without_label_smoothing_is_of_a_run_without_it():
    config, _ = parse(json.dumps(changed("flags label_smoothing", REMOVED)).encode())
    assert config.label_smoothing == 0 != TrainConfig().label_smoothing


def test_what_a_later_version_adds_for_others_to_read_is_no_error():
    record = RECORD | {"later": {"a": [1]}, "dataset": RECORD["dataset"] | {"later": None}}
    assert parse(json.dumps(record).encode())[1] == record


def test_a_flag_of_another_version_is_ignored_and_named():
    lines = []
    config, record = parse(json.dumps(changed("flags later", 1)).encode(), lines.append)
    assert config == TrainConfig(model_dir="m", data_dir="d", strategy="none")
    assert "later" not in record["flags"]
    (line,) = lines
    assert line.endswith("does not have: 'later'")


WRONG = [
    ("flags", [], "flags is a list, expected a dict"),
    ("flags", REMOVED, "the whole has no flags"),
    ("flags learning_rate", "nan", "flags: --learning_rate: found 'nan', expected a number"),
    ("flags learning_rate", True, "--learning_rate: found True, expected a number"),
    ("flags learning_rate", None, "--learning_rate: found None, expected a number"),
    ("flags batch_size", "x", "--batch_size: found 'x', expected a whole number"),
    ("flags batch_size", 1.5, "--batch_size: found 1.5, expected a whole number"),
    ("flags batch_size", True, "--batch_size: found True, expected a whole number"),
    ("flags batch_size", 0, "--batch_size: found 0, expected at least 1"),
    ("flags evaluator", 1, "--evaluator: found 1, expected true or false"),
    ("flags task_index", "0", "--task_index: found '0', expected a whole number"),
    ("flags optimizer", ["sgd"], "--optimizer: found a list, expected text"),
    ("flags optimizer", "sgdd", "--optimizer: found 'sgdd', expected one of"),
    ("flags model", {}, "--model: found a dict, expected text"),
    ("flags model", "a b:c", "--model: found 'a b:c'"),
    ("flags model_dir", 7, "--model_dir: found 7, expected text"),
    ("flags ps_hosts", "a" * 10**6, "--ps_hosts is 'a{56}... of 1,000,000 characters"),
    ("flags ps_hosts", "\ud800", r"--ps_hosts is '\\ud800' of 1 characters"),
    ("flags hidden_units", "3," * 30_000 + "3", "--hidden_units: found"),
    ("compute_dtype", "float64", "compute_dtype is 'float64', expected float32 or bfloat16"),
    ("compute_dtype", ["float32"], "compute_dtype is a list"),
    ("compute_dtype", REMOVED, "the whole has no compute_dtype"),
    ("versions", [], "versions is a list"),
    ("versions", {"a": 1}, "versions, 'a', has 1, expected printable text"),
    ("dataset", REMOVED, "the whole has no dataset"),
    ("dataset", "mnist", "dataset is 'mnist', expected a dict"),
    ("dataset", [], "dataset is a list"),
    ("dataset name", {}, "dataset name has a dict"),
    ("dataset name", "a\nb", r"dataset name has 'a\\nb', expected printable text"),
    ("dataset data_dir", None, "dataset data_dir is None, expected a str"),
    ("dataset manifest_sha256", "0", "manifest_sha256 is '0', expected 64 hex digits"),
    ("dataset sources", [], "sources is a list"),
    ("dataset sources", {"train": 1}, "sources is 1"),
    ("dataset split_rule", 5, "split_rule has 5"),
    ("dataset image_shape", "28", "image_shape is '28', expected a list"),
    ("dataset image_shape", [28, 28], "image_shape has 2 numbers, expected 3"),
    ("dataset image_shape", [28, "28", 1], "image_shape is '28'"),
    ("dataset image_shape", [2**20, 2**20, 1], "expected at most 1073741824 bytes"),
    ("dataset num_classes", 10**12, "num_classes is 1000000000000, expected 2 to 1048576"),
    ("dataset num_classes", "10", "num_classes is '10'"),
    ("dataset num_classes", 3.0, "num_classes is 3.0"),
    ("dataset class_names", ["a"], "class_names has 1, expected 3"),
    ("dataset class_names", ["a", "b", "\x1b"], r"class_names has '\\x1b', expected printable"),
    ("dataset class_names", {"a": 1}, "class_names is a dict"),
    ("dataset brightest_pixel", 0, "brightest_pixel is 0, expected 1 to 255"),
    ("dataset pictures", "x", "pictures is 'x', expected"),
]


@pytest.mark.parametrize(
    ("path", "value", "line"), WRONG, ids=[f"{w[0]}-{n}" for n, w in enumerate(WRONG)]
)
def test_a_wrong_field_is_named(path, value, line):
    with pytest.raises(ValueError, match=line):
        parse(json.dumps(changed(path, value)).encode())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"flags":' * 9 + b"1" + b"}" * 9, "nested too deeply"),
        (b"[" + b"[]," * 2**21 + b"0]", "more than 2,097,152 lists and objects"),
        (b"9" * 5000, "a number has 5,000 digits, expected at most 40"),
        (b"1e999", "1e999 is too large a number"),
        (b"NaN", "NaN is no JSON number"),
        (b"-Infinity", "-Infinity is no JSON number"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"\xff{}", "not JSON .*utf-8"),
        (b'"flags"', "the whole is 'flags', expected a dict"),
        (b"", "not JSON"),
    ],
)
def test_what_is_no_json_of_ours_is_named(text, line):
    with pytest.raises(ValueError, match=line):
        parse(text)


def test_a_wrong_record_is_one_line_that_names_the_file(tmp_path):
    text = json.dumps(changed("flags hidden_units", "3," * 30_000))
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="run.json: found no record of a run .*hidden_units") as e:
        read_run(str(tmp_path))
    assert len(str(e.value)) < 800 and "\n" not in str(e.value)


def test_a_record_makes_no_more_threads_than_machines_have(tmp_path, monkeypatch):
    text = json.dumps(changed("flags intra_op_threads", 2**31 - 1))
    (tmp_path / "run.json").write_text(text)
    monkeypatch.setattr(open_run, "chosen_checkpoint", lambda config: "model.ckpt-1")
    assert open_run.open_run(str(tmp_path)).config.intra_op_threads == 1024


def test_a_record_has_a_largest_size(tmp_path):
    with open(tmp_path / "run.json", "wb") as file:
        file.truncate(json_files.MOST_BYTES + 1)
    with pytest.raises(InputError, match="run.json: longer than 67,108,864 bytes"):
        read_run(str(tmp_path))


def test_numbers_that_json_has_not_are_read_where_python_wrote_them():
    assert json_files.parse(b"[Infinity, 0.5]", finite=False) == [float("inf"), 0.5]


METRICS = {"accuracy": 0.5, "loss": 0.25, "global_step": 1000}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (json.dumps(METRICS), "test accuracy 0.5000, loss 0.2500 at step 1,000"),
        (
            json.dumps(METRICS | {"loss": float("inf")}),
            "test accuracy 0.5000, loss inf at step 1,000",
        ),
        (json.dumps(METRICS | {"loss": "0"}), "damaged (loss is '0', expected a number)"),
        (json.dumps(METRICS | {"accuracy": None}), "damaged (accuracy is None, expected a number)"),
        (json.dumps(METRICS | {"global_step": [1]}), "damaged (global_step is a list"),
        (json.dumps([METRICS]), "damaged (the whole is a list, expected a dict)"),
        ("[" * 100_000, "damaged (nested too deeply)"),
        ("{}", "damaged (accuracy is None"),
    ],
)
def test_a_report_says_what_metrics_say_or_what_is_wrong_with_them(tmp_path, text, shown):
    (tmp_path / "metrics.json").write_text(text)
    assert panels._recorded(str(tmp_path)).startswith(shown)


def test_a_report_says_that_metrics_are_of_another_checkpoint(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    assert "of another" not in panels._recorded(str(tmp_path), "a" * 64)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS | {"checkpoint_sha256": "a" * 64}))
    assert "of another" not in panels._recorded(str(tmp_path), "a" * 64)
    assert panels._recorded(str(tmp_path), "b" * 64).endswith(", of another checkpoint")


@pytest.mark.parametrize(
    "text", ["[]", "7", '{"pictures": []}', '{"pictures": "x"}', "[" * 100_000, '{"a": NaN}']
)
def test_an_export_that_says_no_such_preparation_is_named(tmp_path, text):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/model.json").write_text(text)
    with pytest.raises(RunError, match=r"model.json: damaged \(.*\); export the model again$"):
        predictors._pictures_of(str(tmp_path))


def test_an_export_of_an_earlier_version_prepares_pictures_as_digits(tmp_path):
    assert predictors._pictures_of(str(tmp_path)) == methods.DIGIT


def test_the_class_names_of_an_export_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "assets").mkdir()
    file = tmp_path / "assets/class_names.txt"
    file.write_bytes("a\u2028b\nc\x0bd\n\n".encode())
    assert predictors._class_names_of(str(tmp_path)) == ["a\u2028b", "c\x0bd", ""]
    file.write_bytes(b"\xff\n")
    with pytest.raises(RunError, match=r"class_names.txt: damaged, expected UTF-8; export"):
        predictors._class_names_of(str(tmp_path))
