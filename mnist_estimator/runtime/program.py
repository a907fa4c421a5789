"""Runs a command: parses its flags, prints an error as one line, exits with its code."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from mnist_estimator import InputError, RunError, __version__, compat, storage
from mnist_estimator.runtime import help_text, progress, signals, stall_report, streams
from mnist_estimator.runtime.progress import complain


def run(
    main: Callable[[list[str]], int | None],
    *,
    takes_arguments: bool = False,
    opens_paths: bool = True,
    phase: str = "",
    hint: str = "",
) -> None:
    """Runs a command: parses the flags, calls `main` and exits.

    The exit code is what `main` returns, 0 for None. A wrong flag or an expected error prints one
    line on stderr, and `signals.exit_code_of` decides the code: 2 for an `InputError` or an
    `OSError`, 1 for a `RunError`, 128 or more for a signal.

    Args:
      main: gets the program's name and the arguments that are not flags.
      takes_arguments: whether such arguments are allowed.
      opens_paths: whether this process itself opens what flags name, which may be in a store.
      phase: what the command does, of `watchdog`, where --stall_timeout_secs ends all of it.
      hint: is added to the error about an unknown flag.
    """
    streams.guard()
    compat.quiet()
    compat.defer_keras()
    # What is there then stays to the end: the garbage collector need not look through it, neither
    # while graphs are built nor when Python ends, which takes as long as a fifth of the import.
    compat.on_import(gc.freeze)
    atexit.register(gc.freeze)
    # TensorFlow takes oneDNN by itself only on processors with AVX512-VNNI or newer, and without it
    # a training step costs 2.2 times as much on one with AVX2.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Estimator's log is for its developers; the hooks report progress and results.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    parse = functools.partial(_parse, opens_paths=opens_paths, hint=hint)
    app.run(_exit_code_of(main, takes_arguments, phase), flags_parser=parse)


def _exit_code_of(
    main: Callable[[list[str]], int | None], takes_arguments: bool, phase: str = ""
) -> Callable[[list[str]], int]:
    def guarded(argv: list[str]) -> int:
        try:
            with signals.handled(), signals.replacing_errors(), _watched(phase):
                if len(argv) > 1 and not takes_arguments:
                    raise InputError(f"found {argv[1]!r}, expected only --flags; see --help")
                return main(argv) or 0
        except (InputError, OSError, RunError, signals.Interruption) as error:
            complain(error)
            return signals.exit_code_of(error)
        except MemoryError as error:
            complain(f"out of memory ({error})" if str(error) else "out of memory")
            return signals.EXIT_FAILED
        except RuntimeError as error:
            if str(error) != "can't start new thread":
                raise
            complain(f"{error}: out of memory, or at a limit (ulimit -v, ulimit -u)")
            return signals.EXIT_FAILED

    return guarded


def _watched(phase: str) -> contextlib.AbstractContextManager[None]:
    """Watches a command that is one phase; one that stands still reports to its model_dir."""
    if not phase:
        return contextlib.nullcontext()
    values, name = flags.FLAGS, pathlib.Path(sys.argv[0]).stem
    folder = values.model_dir if "model_dir" in values else ""
    return stall_report.watching(values.stall_timeout_secs, phase, folder, name)


def _parse(argv: Sequence[str], opens_paths: bool, hint: str) -> list[str]:
    try:
        rest = _parsed(argv)
        if opens_paths:
            # TensorFlow is imported when all flags have been found right.
            paths = _paths(flags.FLAGS)
            storage.before_tensorflow(*paths)
            compat.on_import(functools.partial(storage.install_for, *paths))
        return rest
    except flags.UnrecognizedFlagError as error:
        complain("; ".join(filter(None, [str(error), hint, "see --help"])))
    except flags.Error as error:
        complain(f"{error}; see --help")
    except InputError as error:
        complain(error)
    except RunError as error:
        complain(error)
        sys.exit(signals.EXIT_FAILED)
    sys.exit(signals.EXIT_INPUT)


def _parsed(argv: Sequence[str]) -> list[str]:
    ours = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
    if "--version" in ours:
        progress.tell(f"mnist_estimator {__version__}")
        sys.exit(0)
    help_text.install()
    try:
        rest = flags.FLAGS([argv[0], "--help"] if "-h" in ours else argv)
    except SystemExit:
        # absl exits with 1 after --help, which a script would take for a failure.
        progress.check_told()
        sys.exit(0)
    _check_text(flags.FLAGS)
    return rest


def _paths(values: flags.FlagValues) -> list[str]:
    """All that may be a path among the values of flags, of which some are lists with commas."""
    given = values.flag_values_dict().values()
    texts = [text for value in given for text in (value if isinstance(value, list) else [value])]
    return [part.strip() for text in texts if isinstance(text, str) for part in text.split(",")]


def _check_text(values: flags.FlagValues) -> None:
    """Raises InputError for a flag whose bytes are not UTF-8, as in an old file name."""
    for name, value in values.flag_values_dict().items():
        if not streams.is_text(str(value)):
            raise InputError(
                f"--{name}: found {value}, expected UTF-8, as TensorFlow wants all names; "
                "rename the file or folder"
            )
