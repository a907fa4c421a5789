"""Runs a program that uses tf.estimator, unchanged, on the TensorFlow of today.

    python -m mnist_estimator.compat [--tf1] script.py ARGUMENTS
    python -m mnist_estimator.compat [--tf1] -m module ARGUMENTS
    python -m mnist_estimator.compat --enable | --disable

The program runs as by `python`: with its own arguments, its folder first on the path, as __main__.
"""

from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import importlib.util
import io
import os
import runpy
import sys
import types
from collections.abc import Callable

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import VersionError, _environment, _hook, _programs, _stores

_COMMAND = "python -m mnist_estimator.compat"
_EXIT_FAILED, _EXIT_USAGE = 1, 2


def main(argv: list[str]) -> int:
    """Runs the command. Returns the exit code, unless the program ends this process itself."""
    arguments = _parse(argv)
    try:
        if arguments.enable:
            return _tell(_environment.enable(tf1=arguments.tf1))
        if arguments.disable:
            return _tell(_environment.disable())
        run = _module(arguments.module) if arguments.module else _script(arguments.script)
    except InputError as error:
        return _fail(error, _EXIT_USAGE)
    except RunError as error:
        return _fail(error, _EXIT_FAILED)
    return _run(run, tf1=arguments.tf1)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        usage=(
            f"{_COMMAND} [--tf1] script.py ARGUMENTS\n"
            f"       {_COMMAND} [--tf1] -m module ARGUMENTS\n"
            f"       {_COMMAND} --enable [--tf1]\n"
            f"       {_COMMAND} --disable"
        ),
        description=(
            "Runs a program that uses tf.estimator, unchanged, on the TensorFlow of today: with "
            "its own arguments, its folder first on the path, as __main__. Its paths may be "
            "s3://bucket/key and others of object stores, if mnist_estimator[storage] is installed."
        ),
        epilog=(
            "From a program's first line: from mnist_estimator import compat; compat.install(). "
            "docs/migrating_from_tf_estimator.md says what is put back."
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--tf1",
        action="store_true",
        help="the program was written for TensorFlow 1: to its own files, tensorflow means "
        "tf.compat.v1, and there is a small tf.contrib",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--enable",
        action="store_true",
        help="have all programs of this Python environment find tf.estimator: python script.py, "
        "notebooks, pytest, and the processes that they start",
    )
    what.add_argument("--disable", action="store_true", help="undo --enable")
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="module",
        help="run a module, as python -m does",
    )
    parser.add_argument("script", nargs=argparse.REMAINDER, help="a script and its arguments")
    arguments = parser.parse_args(argv)
    program = arguments.module or arguments.script
    if bool(program) == (arguments.enable or arguments.disable):
        parser.error("give a script, -m and a module, --enable, or --disable")
    if arguments.script and arguments.script[0].startswith("-"):
        parser.error(f"unknown option {arguments.script[0]}")
    return arguments


def _module(argv: list[str]) -> Callable[[], object]:
    """What runs a module as `python -m` does.

    Raises:
      InputError: if there is no such module.
    """
    name = argv[0]
    sys.argv[:] = argv
    _set_first_path(os.getcwd())
    _programs.give_name_back()
    # To look for what is below a package would import the package.
    top = name.partition(".")[0]
    if not top or importlib.util.find_spec(top) is None:
        raise InputError(f"-m {name}: there is no such module on the path, which begins here")
    return lambda: runpy.run_module(name, run_name="__main__", alter_sys=True)


def _script(argv: list[str]) -> Callable[[], object]:
    """What runs a script as `python script` does, in a module __main__ that stays to the end.

    Raises:
      InputError: if the script cannot be read.
    """
    script = argv[0]
    sys.argv[:] = argv
    try:
        with io.open_code(os.path.abspath(script)) as file:
            source = file.read()
    except OSError as error:
        raise InputError(f"{script}: cannot be read: {error.strerror}") from None
    _set_first_path(os.path.dirname(os.path.realpath(script)))
    _programs.give_name_back(script)
    return lambda: _execute(source, os.path.abspath(script))


def _set_first_path(folder: str) -> None:
    """Puts the program's folder where Python has put the current one, unless told not to (-P)."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _execute(source: bytes, path: str) -> None:
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    vars(module)["__builtins__"] = builtins
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))


def _run(run: Callable[[], object], *, tf1: bool) -> int:
    """Runs the program, and shows its errors as Python does: without the frames of this module."""
    try:
        _hook.install(tf1=tf1)
        run()
    except VersionError as error:
        return _fail(error, _EXIT_USAGE)
    except Exception as error:
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        sys.excepthook(type(error), error.with_traceback(frames), frames)
        hint = _stores.hint(error)
        return _fail(hint, _EXIT_FAILED) if hint else _EXIT_FAILED
    return 0


def _tell(line: str) -> int:
    try:
        print(line, flush=True)
    except OSError as error:  # What the line says is done all the same.
        sys.stdout = None  # Python would try once more at the end.
        return _fail(f"standard output: {error.strerror}; it said: {line}", _EXIT_FAILED)
    return 0


def _fail(error: Exception | str, code: int) -> int:
    print(f"compat: {error}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
