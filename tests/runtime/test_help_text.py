"""What --help prints: groups in order, short defaults, choices once; absl's other helps stay."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from mnist_estimator import __main__ as overview
from mnist_estimator.config import TrainConfig
from mnist_estimator.runtime import help_text


@pytest.fixture
def values(monkeypatch):
    monkeypatch.setattr(flags, "get_help_width", lambda: 60)
    values = flags.FlagValues()
    flags.DEFINE_string("where", "", "Folder. Default: the usual one.", values)
    flags.DEFINE_integer("count", 0, "How many.", flag_values=values)
    flags.DEFINE_bool("dry", None, "Only say.", values)
    flags.DEFINE_bool("policy", True, "Keep it.", values)
    flags.DEFINE_enum("kind", "b", ["a", "b"], "Which one.", values)
    flags.DEFINE_enum("told", "x", ["x", "y"], "x: this. y: that.", values)
    flags.DEFINE_float("rate", 0.5, "A long text that says much. " * 4 + "So.", flag_values=values)
    return values


def test_flags_are_shown_in_groups_in_the_order_of_the_calls(values):
    help_text.group("Second", ["told", "where"], values)
    help_text.group("First", ["policy"], values)
    help_text.group("Second", ["count"], values)
    lines = help_text.render("What it does.\n", "no module", values).splitlines()
    assert lines[:11] == [
        "What it does.",
        "",
        "Second:",
        "  --told: x: this. y: that. Default: x.",
        "  --where: Folder. Default: the usual one.",
        "  --count: How many. Default: 0.",
        "",
        "First:",
        "  --[no]policy: Keep it. Default: yes.",
        "",
        "--flagfile=FILE reads flags from a file. --helpfull lists",
    ]


def test_a_default_that_says_nothing_is_left_out_and_long_texts_are_wrapped(values):
    help_text.group("All", ["dry", "kind", "rate"], values)
    lines = help_text.render("", "no module", values).splitlines()
    assert lines[:4] == [
        "All:",
        "  --[no]dry: Only say.",
        "  --kind: Which one. One of a, b. Default: b.",
        "  --rate: A long text that says much. A long text that says",
    ]
    assert all(line.startswith("      ") and len(line) <= 60 for line in lines[4:6])
    assert lines[5].endswith("Default: 0.5.") and not lines[6]


def test_a_flag_of_the_command_that_no_group_has_is_shown_last(values):
    values.register_key_flag_for_module("command.py", values["dry"])
    values.register_key_flag_for_module("command.py", values["count"])
    help_text.group("All", ["count"], values)
    lines = help_text.render("", "command.py", values).splitlines()
    assert lines[3:5] == ["Other flags:", "  --[no]dry: Only say."]
    assert sum(line.startswith("  --count") for line in lines) == 1


def test_fields_are_grouped_by_their_headings(values):
    @dataclasses.dataclass
    class Fields:
        count: int = dataclasses.field(default=0, metadata={"heading": "Numbers"})
        rate: float = dataclasses.field(default=0, metadata={})
        dry: bool = dataclasses.field(default=False, metadata={"heading": "Others"})

    help_text.group_fields(dataclasses.fields(Fields), values)
    text = help_text.render("", "no module", values)
    places = [
        text.index(part) for part in ("Numbers:", "--count", "--rate", "Others:", "--[no]dry")
    ]
    assert places == sorted(places)


def run(command, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"mnist_estimator.{command}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", overview.COMMANDS)
def test_every_flag_of_a_command_is_in_a_group(command):
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m mnist_estimator.{command}" in done.stdout
    assert "Other flags" not in done.stdout
    assert "None" not in done.stdout and "default:" not in done.stdout


def test_the_groups_of_train_follow_the_way_of_a_run():
    done = run("train", "-?")
    places = [done.stdout.index(f"  --{name}: ") for name in ("model_dir", "data_dir", "model")]
    places += [done.stdout.index(f"  --{name}: ") for name in ("max_steps", "export", "strategy")]
    assert places == sorted(places)
    for field in dataclasses.fields(TrainConfig):
        assert f"{field.name}: " in done.stdout


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--helpshort", "\nThe network:\n"),
        ("--help=true", "\nThe network:\n"),
        ("--helpfull", "\nabsl.app:\n"),
        ("--helpxml", "<name>model_dir</name>"),
    ],
)
def test_the_other_helps_are_there(flag, part):
    done = run("train", flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert part in done.stdout and "help" in done.stdout
