"""Runs a command: parses its flags, prints an error as one line, exits with its code."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from mnist_estimator import InputError, RunError, signals
from mnist_estimator.progress import complain


def run(
    main: Callable[[list[str]], int | None], *, takes_arguments: bool = False, hint: str = ""
) -> None:
    """Runs a command: parses the flags, calls `main`, exits with the code of the contract.

    What is not a flag is an error, unless the command takes arguments. An unknown flag is answered
    with the hint, too.

    Exits with 0 when `main` returns nothing, else with what it returns. A wrong flag, and an error
    that is foreseen, are one line on stderr and the exit code of `signals.exit_code_of`: 2 for an
    `InputError` or an `OSError`, 1 for a `RunError`, 143 on SIGTERM and SIGUSR1, 130 on SIGINT.
    """
    # What Estimator logs is for its developers; progress and results are reported by the hooks.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    app.run(_exit_code_of(main, takes_arguments), flags_parser=functools.partial(_parse, hint=hint))


def _exit_code_of(
    main: Callable[[list[str]], int | None], takes_arguments: bool
) -> Callable[[list[str]], int]:
    def guarded(argv: list[str]) -> int:
        try:
            with signals.handled():
                if len(argv) > 1 and not takes_arguments:
                    raise InputError(f"found {argv[1]!r}, expected only --flags; see --help")
                return main(argv) or 0
        except (InputError, OSError, RunError, signals.Interruption) as error:
            complain(error)
            return signals.exit_code_of(error)

    return guarded


def _parse(argv: Sequence[str], hint: str) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        complain("; ".join(filter(None, [str(error), hint, "see --help"])))
        sys.exit(signals.EXIT_INPUT)
    except flags.Error as error:
        complain(f"{error}; see --help")
        sys.exit(signals.EXIT_INPUT)
    except SystemExit:
        # absl ends --help with 1, which a script would take for a failure.
        sys.exit(0)
    except BrokenPipeError:
        # `--help | head`. Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
