"""Writes the parts of docs/ that follow from the package: flags.md, and tables of errors and codes.

  python scripts/make_docs.py           write them
  python scripts/make_docs.py --check   name the pages that are stale; the exit code is then 1

The flags are read from each command's own --help. Lines of errors are those that the package gives
to the inputs listed here. tests/test_readme.py fails if a page is stale.
"""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mnist_estimator import InputError  # noqa: E402
from mnist_estimator.__main__ import COMMANDS  # noqa: E402
from mnist_estimator.data import idx  # noqa: E402
from mnist_estimator.runtime import signals  # noqa: E402

DOCS = ROOT / "docs"
_EDIT = "<!-- Made by scripts/make_docs.py: change the package, then run it again. -->"
_FLAG_LINE = re.compile(r"\s+--(?:\[no\])?(\w+)\b")
_GROUP_LINE = re.compile(r"(\S.*):")


def main(argv: list[str]) -> int:
    """Writes the pages, or names those that are stale."""
    check = "--check" in argv
    stale = {path: text for path, text in pages().items() if _read(path) != text}
    for path, text in stale.items():
        if check:
            print(f"{path.relative_to(ROOT)}: stale; run python scripts/make_docs.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and check else 0


def pages() -> dict[pathlib.Path, str]:
    """Every page that is made here, wholly or in part: path -> its text as it should be."""
    made = {
        "exit-codes": exit_codes(),
        "flag-errors": error_list(flag_errors()),
        "job-errors": error_list(job_errors()),
        "idx-errors": error_list(idx_errors()),
    }
    errors = DOCS / "errors_and_exit_codes.md"
    text = errors.read_text(encoding="utf-8")
    for name, table in made.items():
        text = _replaced(text, name, table)
    return {DOCS / "flags.md": flags_page(), errors: text}


def _read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _replaced(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- begin {name}: made by scripts/make_docs.py -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"errors_and_exit_codes.md: expected the lines {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


# Flags.


def flags_page() -> str:
    """The page of all flags: a section for each command, a table for each group of its flags."""
    head = (
        "# All flags\n\n"
        f"{_EDIT}\n\n"
        "Every command prints this with `--help`. `--flagfile=FILE` reads flags from a file, one a "
        "line. An unknown flag is an error. A command takes no other arguments, except `predict`, "
        "which takes pictures, and `sweep`, `launch` and `submit`, which take the flags of `train` "
        "after `--`; the last two also those of `prepare`.\n"
    )
    texts = help_texts()
    return "\n".join([head, *(_section(name, *texts[name]) for name in COMMANDS)])


# A process that starts all commands takes seconds, a process for each of them a minute.
_RUN_ALL = """
import json, os, runpy, sys
from mnist_estimator import config
from mnist_estimator.engines import jobs
folder, lines = sys.argv[1], json.load(sys.stdin)
for number, (command, *arguments) in enumerate(lines):
    child = os.fork()
    if not child:
        output = os.open(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = [command, *arguments]
        runpy.run_module("mnist_estimator." + command, run_name="__main__", alter_sys=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def printed(lines: list[list[str]]) -> list[str]:
    """What command lines print: each a command of the package and its arguments."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-c", _RUN_ALL, folder],
            input=json.dumps(lines),
            text=True,
            cwd=ROOT,
            check=True,
            timeout=120,
        )
        return [
            (pathlib.Path(folder) / str(number)).read_text(encoding="utf-8")
            for number in range(len(lines))
        ]


def help_texts() -> dict[str, tuple[str, str]]:
    """What each command prints with --help, and with --helpxml."""
    texts = printed([[name, flag] for name in COMMANDS for flag in ("--help", "--helpxml")])
    return dict(zip(COMMANDS, zip(texts[::2], texts[1::2], strict=True), strict=True))


def flags_in(xml: str) -> dict[str, dict[str, str]]:
    """The flags that a command shows: name -> meaning, default, choices."""
    return {
        found.findtext("name"): {
            "meaning": found.findtext("meaning", ""),
            "default": found.findtext("default", ""),
            "choices": ", ".join(choice.text for choice in found.findall("enum_value")),
        }
        for found in ElementTree.fromstring(xml).iter("flag")
        if found.findtext("key") == "yes"
    }


def _section(command: str, text: str, xml: str) -> str:
    known = flags_in(xml)
    parts = [f"## {command}\n\n{text.strip().partition(chr(10))[0]}\n"]
    for group, names in _groups(_without_usage(text, xml), known).items():
        heading = f"### {command}: {group}\n\n" if group else ""
        rows = "\n".join(_row(name, known[name]) for name in names)
        parts.append(
            f'{heading}<div class="flags" markdown>\n\n'
            f"| flag | default | what it does |\n| --- | --- | --- |\n{rows}\n\n</div>\n"
        )
    return "\n".join(parts)


def _without_usage(text: str, xml: str) -> str:
    """What --help prints after the docstring, which may speak of flags, too."""
    usage = ElementTree.fromstring(xml).findtext("usage", "").strip()
    return text.rpartition(usage.splitlines()[-1])[2] if usage else text


def _groups(text: str, known: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Groups of flags in the order in which --help shows them; "" for flags of no named group."""
    groups: dict[str, list[str]] = {}
    group, seen = "", set()
    for line in text.splitlines():
        heading, flag = _GROUP_LINE.fullmatch(line), _FLAG_LINE.match(line)
        if heading:
            # absl's own heading is the path of the module.
            group = "" if heading[1].endswith(".py") else heading[1]
        elif flag and flag[1] in known and flag[1] not in seen:
            seen.add(flag[1])
            groups.setdefault(group, []).append(flag[1])
    left = [name for name in known if name not in seen]
    if left:
        groups.setdefault("", []).extend(left)
    return groups


def _row(name: str, flag: dict[str, str]) -> str:
    default = f"`{flag['default']}`" if flag["default"] else ""
    # absl puts the choices before the text.
    meaning = re.sub(r"^<[^>]*>: ", "", flag["meaning"])
    choices = f" One of {flag['choices']}." if flag["choices"] else ""
    return f"| `--{name}` | {default} | {_cell(meaning + choices)} |"


# Exit codes and errors.

_MEANINGS = {
    0: ("done", "nothing"),
    signals.EXIT_FAILED: ("failed while it ran", "the job fails: the same would happen again"),
    signals.EXIT_INPUT: ("wrong flags or bad input", "the job fails: the same would happen again"),
    signals.EXIT_HUNG_UP: ("the terminal closed; the last step is saved", "starts it again"),
    signals.EXIT_INTERRUPTED: ("interrupted; the last step is saved", "starts it again"),
    signals.EXIT_LOST: ("a task or a store does not go on", "starts it again"),
    signals.EXIT_PREEMPTED: ("preempted; the last step is saved", "starts it again"),
}


def exit_codes() -> str:
    """The table of exit codes, with the signals that cause each."""
    names = {
        value: name
        for name, value in vars(signals).items()
        if name.startswith("EXIT_") and isinstance(value, int)
    }
    missing = names.keys() - _MEANINGS.keys()
    if missing:
        raise SystemExit(f"make_docs.py: say what the exit codes {missing} mean")
    rows = ["| code | constant | signals | what it says | what an engine does |"]
    rows.append("| ---: | --- | --- | --- | --- |")
    for code, (meaning, engine) in sorted(_MEANINGS.items()):
        constant = f"`signals.{names[code]}`" if code in names else ""
        asked = [number.name for number, value in signals._CODES.items() if value == code]
        rows.append(f"| {code} | {constant} | {', '.join(asked)} | {meaning} | {engine} |")
    return "\n".join(rows) + "\n"


Errors = Iterator[tuple[str, str]]


def error_list(errors: Errors) -> str:
    """A list of inputs and the lines that they got."""
    return "".join(f"- {given}<br>\n  `{' '.join(line.split())}`\n" for given, line in errors)


def flag_errors() -> Errors:
    """Command lines of train with a mistake."""
    return _refused(
        ["train", "--batch_sise=3"],
        ["train", "--batch_size=many"],
        ["train", "--batch_size=0"],
        ["train", "--model_dir="],
        ["train", "--model=resnet"],
        ["train", "--hidden_units=256;128"],
        ["train", "--optimizer=lamb"],
        ["train", "--schedule=step"],
        ["train", "--learning_rate=0"],
        ["train", "--dropout_rate=1"],
        ["train", "--pixel_max=0"],
        ["train", "--profile_steps=110,100"],
        ["train", "--dataset=cifar"],
        ["train", "--validation_split=1.5"],
        ["train", "--early_stop_patience=3", "--eval_split=none"],
        ["train", "--deterministic", "--strategy=ps"],
        ["train", "--strategy=ps"],
        ["train", "--seed=-1"],
        ["train", "extra"],
    )


def job_errors() -> Errors:
    """Jobs that no engine can run."""
    slurm, passed = ["submit", "--engine=slurm"], ["--", "--model_dir=/shared/mod1"]
    return _refused(
        ["submit", "--engine=condor", *passed],
        [*slurm, "--name=My_job", *passed],
        [*slurm, "--workers=0", *passed],
        [*slurm, "--grace_secs=5", *passed],
        [*slurm, "--image=registry.example/mnist:1", *passed],
        [*slurm, "--namespace=vision", *passed],
        [*slurm, *passed, "--task_index=1"],
        [*slurm, "--workers=3", *passed, "--batch_size=100"],
        [*slurm, "--batch_size=100"],
    )


def _refused(*lines: list[str]) -> Errors:
    for arguments, text in zip(lines, printed([*lines]), strict=True):
        line = text.strip()
        if "\n" in line or not line.startswith(f"{arguments[0]}: "):
            raise SystemExit(f"make_docs.py: {arguments}: expected one line, found {line!r}")
        yield f"`{' '.join(arguments)}`", line


def idx_errors() -> Errors:
    """Files that are no IDX file, or a damaged one."""
    file = io.BytesIO()
    idx.write_idx(file, np.zeros([5, 4, 3], np.uint8))
    whole = file.getvalue()
    for given, name, content in (
        ("an empty file", "a.idx", b""),
        ("other bytes", "a.idx", b"\1\2\3\4"),
        ("a zip archive, such as an .npz", "a.idx", b"PK\3\4"),
        ("an HTML page", "a.idx", b"<!DOCTYPE html><html>404 Not Found</html>"),
        ("a CSV file", "a.idx", b"label,1x1\n5,0\n"),
        ("a Git LFS pointer", "a.idx", b"version https://git-lfs.github.com/spec/v1\n"),
        ("a header that is cut off", "a.idx", whole[:7]),
        ("data that are cut off", "a.idx", whole[:-1]),
        ("a byte too many", "a.idx", whole + b"\0"),
        ("gzip data that are cut off", "a.gz", gzip.compress(whole, mtime=0)[:-9]),
        ("gzip in gzip", "a.gz", gzip.compress(gzip.compress(whole, mtime=0), mtime=0)),
        ("33 dimensions", "a.idx", b"\0\0\x08\x21" + b"\0\0\0\1" * 33),
    ):
        try:
            idx.read_idx(io.BytesIO(content), name=name)
        except InputError as error:
            yield given, str(error)
        else:
            raise SystemExit(f"make_docs.py: {given} was taken for an IDX file")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
