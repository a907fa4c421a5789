"""What every command does with its arguments, with errors, and with its exit code."""

from __future__ import annotations

import os
import sys

import pytest
from absl import flags
from support import programs

from mnist_estimator import InputError, RunError, __version__
from mnist_estimator.runtime import program, signals


def test_help_has_a_short_name_and_the_version_can_be_asked_for():
    result = programs.run(programs.command("train", "--max_steps=many", "-h"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "--model_dir:" in result.stdout
    for module in ("mnist_estimator", "mnist_estimator.train"):
        result = programs.run([sys.executable, "-m", module, "--version"])
        assert (result.returncode, result.stdout) == (0, f"mnist_estimator {__version__}\n")


def test_a_folder_that_tensorflow_cannot_name_is_one_line():
    result = programs.run(programs.command("train", os.fsdecode(b"--model_dir=latin\xe9")))
    assert result.returncode == 2
    assert result.stderr.startswith(r"train: --model_dir: found latin\xe9, expected UTF-8")
    assert result.stderr.count("\n") == 1


# Says at its end which modules it has imported that take longer than all the rest.
SLOW = (
    "import atexit, runpy, sys\n"
    "slow = {'numpy', 'tensorflow', 'tensorflow_estimator', 'keras', 'pyarrow', 'matplotlib'}\n"
    "atexit.register(lambda: print('slow:', *sorted(slow & set(sys.modules)), file=sys.stderr))\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module(f'mnist_estimator.{sys.argv[0]}', run_name='__main__', alter_sys=True)\n"
)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("train --help", 0),
        ("train --batch_size=0", 2),
        ("train --explain", 0),
        ("prepare --shards=x", 2),
        ("evaluate --help", 0),
        ("predict", 2),
        ("export --foo", 2),
        ("report --help", 0),
        ("launch --help", 0),
        ("submit --engine=slurm --dry_run --name=mnist", 0),
    ],
)
def test_an_answer_without_work_imports_nothing_slow(words, code):
    result = programs.run([sys.executable, "-c", SLOW, *words.split()])
    assert result.returncode == code
    assert result.stderr.splitlines()[-1] == "slow:"


def test_help_may_be_cut_short():
    command = f"{sys.executable} -m mnist_estimator.train --help | true"
    result = programs.run(command, shell=True)
    assert result.stderr == ""


NO_THREAD = "can't start new thread: out of memory, or at a limit (ulimit -v, ulimit -u)"


@pytest.mark.parametrize(("given", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_what_main_returns(given, code):
    assert program._exit_code_of(lambda argv: given, False)(["name"]) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("--a: found 1"), 2, "--a: found 1"),
        (OSError(28, "No space left", "a"), 2, "[Errno 28] No space left: 'a'"),
        (RunError("diverged"), 1, "diverged"),
        (signals.Interruption("SIGTERM", 143, "saved"), 143, "SIGTERM: saved"),
        (MemoryError(), 1, "out of memory"),
        (MemoryError("8 GB"), 1, "out of memory (8 GB)"),
        (RuntimeError("can't start new thread"), 1, NO_THREAD),
    ],
)
def test_an_expected_error_is_one_line_and_a_code(capsys, error, code, line):
    def main(argv):
        raise error

    assert program._exit_code_of(main, False)(["name"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.partition(": ")[2] == f"{line}\n"


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, ZeroDivisionError])
def test_an_error_that_nobody_expects_has_its_traceback(kind):
    def main(argv):
        raise kind("a mistake")

    with pytest.raises(kind, match="a mistake"):
        program._exit_code_of(main, False)(["name"])


def test_an_argument_is_refused_unless_the_command_takes_some(capsys):
    taken = []
    assert program._exit_code_of(taken.append, True)(["name", "a.png"]) == 0
    assert taken == [["name", "a.png"]]
    assert program._exit_code_of(taken.append, False)(["name", "a.png"]) == 2
    assert len(taken) == 1
    assert "found 'a.png', expected only --flags; see --help\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (flags.UnrecognizedFlagError("stpes"), 2, "flag 'stpes'; say --max_steps; see --help"),
        (
            flags.IllegalFlagValueError("flag --a=b: no number"),
            2,
            ": flag --a=b: no number; see ",
        ),
        (InputError("--a: found b, expected c"), 2, ": --a: found b, expected c\n"),
        (RunError("standard output: lost"), 1, ": standard output: lost\n"),
    ],
)
def test_a_wrong_flag_is_one_line_and_a_code(capsys, monkeypatch, error, code, line):
    def parsed(argv):
        raise error

    monkeypatch.setattr(program, "_parsed", parsed)
    with pytest.raises(SystemExit) as raised:
        program._parse(["name"], opens_paths=False, hint="say --max_steps")
    assert raised.value.code == code
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_what_follows_two_dashes_is_no_flag(capsys, monkeypatch):
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    monkeypatch.setattr(program.help_text, "install", lambda: None)
    assert program._parsed(["name", "--", "--version"]) == ["name", "--version"]
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="^0$"):
        program._parsed(["name", "--version", "--", "a"])
    assert capsys.readouterr().out == f"mnist_estimator {__version__}\n"


def test_what_flags_name_in_a_store_is_served_once_tensorflow_is_there(monkeypatch, capsys):
    values, asked, later = flags.FlagValues(), [], []
    flags.DEFINE_string("model_dir", "", "", flag_values=values)
    flags.DEFINE_list("files", [], "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(program.help_text, "install", lambda: None)
    monkeypatch.setattr(program.compat, "on_import", later.append)
    monkeypatch.setattr(program.storage, "install_for", lambda *paths: asked.extend(paths))
    argv = ["name", "--model_dir=a, s3://b/c", "--files=d,gs://e"]
    program._parse(argv, opens_paths=False, hint="")
    assert later == []
    program._parse(argv, opens_paths=True, hint="")
    (call,) = later
    assert asked == []
    call()
    assert {"a", "s3://b/c", "d", "gs://e"} <= set(asked)


def test_a_missing_part_of_storage_is_one_line(monkeypatch, capsys):
    def missing(*paths):
        raise InputError("s3:// needs obstore")

    monkeypatch.setattr(program, "_parsed", lambda argv: argv)
    monkeypatch.setattr(program, "_paths", lambda values: ["s3://a"])
    monkeypatch.setattr(program.compat, "on_import", lambda call: call())
    monkeypatch.setattr(program.storage, "install_for", missing)
    with pytest.raises(SystemExit, match="^2$"):
        program._parse(["name"], opens_paths=True, hint="")
    assert capsys.readouterr().err.endswith(": s3:// needs obstore\n")
