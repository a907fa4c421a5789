"""The file that says what a sweep varies: read field by field, each mistake one line."""

from __future__ import annotations

import sys

import pytest

from mnist_estimator import InputError
from mnist_estimator.sweeps import space
from mnist_estimator.sweeps.space import Parameter

GOOD = """
learning_rate: {type: float, low: 1e-4, high: 1.0E-1, log: true}
dropout_rate: {type: float, low: 0, high: 0.6, step: 0.2}
batch_size: {type: int, low: 32, high: 128, step: 32}
hidden_units:
  type: categorical
  choices:
    - 256,128
    - 64
"""


def read(tmp_path, text, *train_flags):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return space.read(str(path), train_flags)


def test_each_type_is_read(tmp_path):
    assert read(tmp_path, GOOD) == (
        Parameter("learning_rate", "float", 1e-4, 0.1, log=True),
        Parameter("dropout_rate", "float", 0.0, 0.6, 0.2),
        Parameter("batch_size", "int", 32, 128, 32),
        Parameter("hidden_units", "categorical", choices=("256,128", "64")),
    )


def test_choices_are_as_a_command_line_has_them():
    (found,) = space.parse(b"schedule: {type: categorical, choices: [true, 0.5, 3, cosine]}")
    assert found.choices == ("true", "0.5", "3", "cosine") == found.extremes


def test_a_float_keeps_its_bits_on_the_way_through_a_flag():
    value = 0.1 + 0.2
    assert float(space.as_flag("x", value).partition("=")[2]) == value
    assert space.as_flag("x", "a=b c") == "--x=a=b c" and space.as_flag("n", 7) == "--n=7"


RATE = "learning_rate: "
FLOAT = RATE + "{type: float, "


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the whole is no mapping, expected entries as NAME: VALUE"),
        ("{}", "found 0 flags, expected 1 to 100"),
        ("- a", "the whole is no mapping"),
        ("a: [", "not YAML (while parsing"),
        ("a: !!python/object/apply:os.system [id]", "a is no mapping"),
        ("3: {type: int}", "the whole has the key 3, expected a name"),
        ("lerning_rate: {type: float}", "lerning_rate: train has no such flag"),
        ("flagfile: {type: int}", "flagfile: train has no such flag"),
        (f"{FLOAT}low: 1, high: 2}}\n{FLOAT}low: 1, high: 2}}", "the whole has 'learning_rate' tw"),
        (FLOAT + "low: 1, low: 2, high: 3}", "learning_rate has 'low' twice"),
        (RATE + "0.1", "learning_rate is no mapping, expected entries as NAME: VALUE"),
        (RATE + "{low: 1, high: 2}", "learning_rate: type is None, expected one of float, int"),
        (RATE + "{type: real}", "learning_rate: type is 'real', expected one of float, int, cat"),
        (RATE + "{type: [a]}", "learning_rate: type is a list, expected one of"),
        (RATE + "{type: {a: b}}", "found a list or mapping, expected a plain value"),
        (RATE + "{type: float, low: 1}", "learning_rate: found no high, which type: float needs"),
        (FLOAT + "low: 1, high: 2, lgo: true}", "learning_rate: found 'lgo', expected only type"),
        (FLOAT + "low: 1, high: 2, choices: [3]}", "found 'choices', expected only type, low, hi"),
        (FLOAT + "low: x, high: 2}", "learning_rate: low is 'x', expected a number, as 0.1 or 1e"),
        (FLOAT + "low: true, high: 2}", "learning_rate: low is True, expected a number"),
        (FLOAT + "low: 1, high: .inf}", "learning_rate: high is inf, expected a number"),
        (FLOAT + "low: .nan, high: 1}", "learning_rate: low is nan, expected a number"),
        (FLOAT + "low: 1, high: 1}", "low is 1.0 and high is 1.0, expected low to be less"),
        (FLOAT + "low: 2, high: 1}", "low is 2.0 and high is 1.0, expected low to be less"),
        (FLOAT + "low: 0, high: 1, log: true}", "low is 0.0 with log: true, expected more than 0"),
        (FLOAT + "low: 1, high: 2, log: 1}", "log is 1, expected true or false"),
        (FLOAT + "low: 1, high: 2, step: 0}", "step is 0.0, expected more than 0"),
        (FLOAT + "low: 1, high: 2, step: 0.3}", "step is 0.3, expected 2.0 to be whole steps from"),
        (FLOAT + "low: 1, high: 2, step: 3}", "step is 3.0, expected 2.0 to be whole steps"),
        (FLOAT + "low: 1, high: 2, step: 1, log: true}", "found step with log: true, expected one"),
        ("batch_size: {type: int, low: 1.5, high: 2}", "batch_size: low is 1.5, expected a whole"),
        ("batch_size: {type: int, low: 0, high: 9}", "batch_size: --batch_size: found 0, expected"),
        (FLOAT + "low: -1, high: 2}", "learning_rate: --learning_rate: found -1.0, expected at le"),
        ("dropout_rate: {type: float, low: 0, high: 1}", "dropout_rate: --dropout_rate: found 1.0"),
        ("batch_size: {type: float, low: 1, high: 9}", "batch_size: flag --batch_size=1.0: inval"),
        (
            "model: {type: categorical, choices: [cnn, resnet]}",
            "model: --model: found 'resnet', ",
        ),
        ("model: {type: categorical, choices: cnn}", "model: choices is 'cnn', expected a list of"),
        ("model: {type: categorical, choices: [cnn]}", "model: choices is a list, expected a lis"),
        ("model: {type: categorical}", "model: found no choices, which type: categorical needs"),
        ("model: {type: categorical, choices: [cnn, 'cnn']}", "model: choices has 'cnn' twice"),
        ("model: {type: categorical, choices: [cnn, ~]}", "model: choices has None, expected text"),
        ("model: {type: categorical, choices: [cnn, [a]]}", "found a list or mapping, expected a"),
        (
            "model: {type: categorical, choices: [a, b], low: 1}",
            "found 'low', expected only type, ",
        ),
        ("seed: {type: int, low: 0, high: 9}", "seed: found a flag of data, which is the same in"),
        ("model_dir: {type: categorical, choices: [a, b]}", "model_dir: found a flag of place, wh"),
        ("eval_split: {type: categorical, choices: [a, b]}", "eval_split: found a flag of evaluat"),
        ("strategy: {type: categorical, choices: [a, b]}", "found a flag of cluster and machine"),
        ("save_checkpoints_steps: {type: int, low: 1, high: 2}", "found a flag of checkpoints and"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_entry(tmp_path, text, line):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    said = str(error.value)
    assert said.startswith(f"{tmp_path}/space.yaml: ") and "\n" not in said
    assert line in said


def test_what_would_take_memory_or_a_deep_stack_is_refused(tmp_path):
    for text, line in {
        "a: " + "[" * 1000: "nested too deeply",
        "a: 1\n" * 300_000: "has more than 1,048,576 bytes",
        f"model: {{type: categorical, choices: [{'a, ' * 1001}]}}": "choices has more than 1,000",
        "".join(f"x{n}: {{type: int}}\n" for n in range(101)): "found 101 flags, expected 1 to 100",
    }.items():
        with pytest.raises(InputError, match=line):
            read(tmp_path, text)
    (tmp_path / "space.yaml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="space.yaml: not UTF-8"):
        space.read(str(tmp_path / "space.yaml"), ())
    with pytest.raises(InputError, match="none.yaml: No such file or directory, expected a file"):
        space.read(str(tmp_path / "none.yaml"), ())


def test_values_are_checked_beside_the_other_flags(tmp_path):
    text = "early_stop_patience: {type: int, low: 1, high: 3}"
    assert read(tmp_path, text)
    with pytest.raises(InputError, match="early_stop_patience: --early_stop_patience: found it wi"):
        read(tmp_path, text, "--eval_split=none")


def test_a_missing_pyyaml_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match="^PyYAML not found, .*pip install 'mnist_estimator.sweep"):
        read(tmp_path, GOOD)
