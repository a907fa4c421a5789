"""`python -m mnist_estimator.compat`: a program runs as by `python`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
from support import programs

from mnist_estimator.compat import VersionError, _environment, _hook, _stores
from mnist_estimator.compat import __main__ as compat_main

# Prints what a program can see of how it was started.
PROGRAM = """
import __main__, json, os, sys
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path[0],
    "name": __name__,
    "file": globals().get("__file__"),
    "package": __package__,
    "main": vars(__main__) is globals(),
}))
"""


def run(folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=programs.TIMEOUT_SECS,
    )


def both(folder, *words):
    """What a program prints when Python runs it, and when `compat` does."""
    plain = run(folder, *words)
    with_compat = run(folder, "-m", "mnist_estimator.compat", *words)
    assert plain.returncode == with_compat.returncode, with_compat.stderr
    return plain, with_compat


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "__init__.py").write_text("")
    for name in ("script.py", "__main__.py"):
        (tmp_path / "programs" / name).write_text(PROGRAM)
    (tmp_path / "link.py").symlink_to("programs/script.py")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("programs/script.py", "--tf1", "-m", "x", "", "--help"),
        ("link.py",),
        ("-m", "programs.script", "--tf1", "-m"),
        ("-m", "programs", "a"),
    ],
)
def test_a_program_sees_what_it_sees_under_python(folder, words):
    plain, with_compat = both(folder, *words)
    assert json.loads(with_compat.stdout.splitlines()[-1]) == json.loads(
        plain.stdout.splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [("import sys; sys.exit(7)", 7), ("raise SystemExit('no')", 1), ("1 / 0", 1), ("def", 1)],
)
def test_it_ends_as_the_program_does(tmp_path, text, code):
    (tmp_path / "script.py").write_text(text)
    plain, with_compat = both(tmp_path, "script.py")
    assert with_compat.returncode == code
    assert with_compat.stderr.replace(f"{tmp_path}/", "") == plain.stderr.replace(
        f"{tmp_path}/", ""
    )


def test_a_package_that_imports_tensorflow_finds_estimator(tmp_path):
    """Python imports the package before the module in it."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("import tensorflow as tf\ntf.estimator\n")
    (tmp_path / "package/train.py").write_text("print('trains')\n")
    finished = run(tmp_path, "-m", "mnist_estimator.compat", "-m", "package.train")
    assert finished.stdout == "trains\n", finished.stderr


def test_a_module_that_a_package_has_not_is_python_s_own_error(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    finished = run(tmp_path, "-m", "mnist_estimator.compat", "-m", "package.train")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "ImportError: No module named package.train"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no_such.py"], "compat: no_such.py: cannot be read: No such file or directory"),
        (["."], "compat: .: cannot be read: Is a directory"),
        (["-m", "no_such"], "compat: -m no_such: there is no such module on the path"),
        (["-m", "no.such"], "compat: -m no.such: there is no such module on the path"),
        (["-m", ".."], "compat: -m ..: there is no such module on the path"),
        (["-m", ""], "compat: -m : there is no such module on the path"),
        ([], "give a script, -m and a module, --enable, or --disable"),
        (["--tf1"], "give a script, -m and a module, --enable, or --disable"),
        (["--enable", "script.py"], "give a script, -m and a module, --enable, or --disable"),
        (["--enable", "--disable"], "not allowed with argument"),
        (["--tf2", "script.py"], "--tf2"),
    ],
)
def test_a_wrong_call_is_one_line(argv, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    try:
        code = compat_main.main(argv)
    except SystemExit as error:
        code = error.code
    assert code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line


def test_a_tensorflow_that_cannot_be_used_is_one_line(tmp_path, capsys, monkeypatch):
    def fails(*, tf1):
        raise VersionError(f"TensorFlow 2.9 is installed, tf1={tf1}")

    (tmp_path / "script.py").write_text("")
    monkeypatch.setattr(_hook, "install", fails)
    for name in ("path", "argv"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    assert compat_main.main(["--tf1", str(tmp_path / "script.py")]) == 2
    assert capsys.readouterr().err == "compat: TensorFlow 2.9 is installed, tf1=True\n"


def test_a_scheme_that_is_missing_is_a_line_after_the_program_s_own_error(
    tmp_path, capsys, monkeypatch
):
    (tmp_path / "script.py").write_text("1 / 0")
    monkeypatch.setattr(_hook, "install", lambda tf1: None)
    monkeypatch.setattr(_stores, "hint", lambda error: f"s3:// is missing: {error}")
    for name in ("path", "argv"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    assert compat_main.main([str(tmp_path / "script.py")]) == 1
    *_, raised, hint = capsys.readouterr().err.splitlines()
    assert raised == "ZeroDivisionError: division by zero"
    assert hint == "compat: s3:// is missing: division by zero"


def test_a_line_that_cannot_be_written_goes_to_the_other_stream(monkeypatch, capsys):
    monkeypatch.setattr(_environment, "disable", lambda: "disabled: programs run as without")
    full = open("/dev/full", "w")  # noqa: SIM115  # It cannot be closed without an error.
    monkeypatch.setattr(sys, "stdout", full)
    assert compat_main.main(["--disable"]) == 1
    with contextlib.suppress(OSError):
        full.close()
    assert capsys.readouterr().err == (
        "compat: standard output: No space left on device; it said: disabled: programs run as "
        "without\n"
    )


def test_help_teaches():
    finished = run(".", "-m", "mnist_estimator.compat", "--help")
    for word in (
        "script.py",
        "-m module",
        "--tf1",
        "--enable",
        "--disable",
        "compat.install()",
        "s3://",
    ):
        assert word in finished.stdout
