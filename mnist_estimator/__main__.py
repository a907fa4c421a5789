"""Lists the commands of the package: `python -m mnist_estimator`."""

from __future__ import annotations

import ast
import pathlib
import sys
from collections.abc import Iterable

from mnist_estimator import RunError, __version__
from mnist_estimator.runtime import progress, streams

# In the order in which a user meets them.
COMMANDS = (
    *("prepare", "train", "evaluate", "predict", "export", "serve", "report", "replay"),
    *("sweep", "launch", "submit"),
)
# Not one of a run's commands: it has arguments of its own.
_PROGRAMS = "compat"
_HELP_FLAGS = ("--help", "-help", "-h")
_VERSION_FLAG = "--version"
_EXIT_FAILED, _EXIT_USAGE = 1, 2


def main(argv: list[str]) -> int:
    """Prints the commands; given an argument, says how to call them, and returns 2."""
    streams.guard()
    if argv and argv[0] == _VERSION_FLAG:
        return _print_lines([f"mnist_estimator {__version__}"])
    if not argv or argv[0] in _HELP_FLAGS:
        return _print_lines(_overview())
    commands = argv[0] if argv[0] in COMMANDS else "|".join(COMMANDS)
    progress.say(
        f"mnist_estimator: found {argv[0]!r}, expected nothing; commands are called as "
        f"python -m mnist_estimator.{commands}",
        sys.stderr,
    )
    return _EXIT_USAGE


def _print_lines(lines: Iterable[str]) -> int:
    try:
        progress.tell(*lines)
    except RunError as error:
        progress.say(f"mnist_estimator: {error}", sys.stderr)
        return _EXIT_FAILED
    return 0


def _overview() -> list[str]:
    names = (*COMMANDS, _PROGRAMS)
    width = max(map(len, names))
    lines = [
        f"  python -m mnist_estimator.{name:{width}}  {_first_docstring_line(name)}"
        for name in names
    ]
    return ["Commands, each with --help:", *lines]


def _first_docstring_line(name: str) -> str:
    # Read from the file: importing the command would take longer.
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    if not path.exists():
        path = path.with_suffix("") / "__main__.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
