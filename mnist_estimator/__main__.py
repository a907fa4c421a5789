"""Lists the commands of the package: `python -m mnist_estimator`."""

from __future__ import annotations

import ast
import pathlib
import sys

# In the order in which they are used.
COMMANDS = ("prepare", "train", "evaluate", "predict", "export", "report", "launch", "submit")
_HELP_FLAGS = ("--help", "-help", "-h")
_EXIT_USAGE = 2


def main(argv: list[str]) -> int:
    """Prints the commands; to an argument it answers how to call them, and returns 2."""
    if not argv or argv[0] in _HELP_FLAGS:
        print(_overview())
        return 0
    commands = argv[0] if argv[0] in COMMANDS else "|".join(COMMANDS)
    print(
        f"mnist_estimator: found {argv[0]!r}, expected nothing; commands are called as "
        f"python -m mnist_estimator.{commands}",
        file=sys.stderr,
    )
    return _EXIT_USAGE


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  python -m mnist_estimator.{name:{width}}  {_first_docstring_line(name)}"
        for name in COMMANDS
    ]
    return "\n".join(["Commands, each with --help:", *lines])


def _first_docstring_line(name: str) -> str:
    # Read, not imported: importing some takes TensorFlow, and seconds.
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
