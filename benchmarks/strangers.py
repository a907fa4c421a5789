"""Runs programs that others wrote for tf.estimator, unchanged, with it and where it is gone.

    git clone https://github.com/tensorflow/models CHECKOUTS/tensorflow/models    # and so on
    python benchmarks/strangers.py CHECKOUTS --python_control=OLD/bin/python \
        --python_new=NEW/bin/python --json=strangers.json

strangers.json beside this file says for each program its repository, commit, command, the
packages that it needs, and what is to be seen; `--list` prints which clones it wants. CHECKOUTS
has a clone of each repository, bare or not, as OWNER/NAME. A program gets a copy of its commit,
a home, and small data that strangers_data.py makes, all in a folder of its own.

The control is TensorFlow 2.15.1, which still has Estimator: there the program runs plain. A
program of TensorFlow 1 cannot; its row says tf1, and its control is the hook with --tf1 there.
On the other Python, with a TensorFlow that has no Estimator, it runs through
`python -m mnist_estimator.compat`. Both print the same metrics, to the row's tolerance.

The table on standard output has a row a program. Exits with 1 if a program failed that its
control passed, or whose metrics differ.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import glob
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import strangers_data

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TABLE = pathlib.Path(__file__).with_suffix(".json")
SITE = pathlib.Path(__file__).with_name("strangers_site")
HOOK = ["-m", "mnist_estimator.compat"]
SIDES = ("control", "new")
POLL_SECS = 0.2
# What Estimator logs when an evaluation is done.
EVALUATION = r"Saving dict for global step \d+: (.*)"
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)\b", re.IGNORECASE)
FRAME = re.compile(r'^ *File "([^"]+)", line \d+', re.MULTILINE)
ERROR = re.compile(
    r"^(?:E\s+)?((?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt)\b.*)$", re.MULTILINE
)
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # Of a notebook's traceback.
MISSING = re.compile(r"No module named '([\w.]+)'")
# Whose an error is, by what its last line says, before by where it was raised.
OWNERS_BY_TEXT = (
    (r"tensorflow\.contrib|tf\.contrib|mnist_estimator", "the hook's"),
    (r"StringDtype|module 'pandas", "pandas's"),
    (r"module 'numpy|\bnp\.|numpy\.", "NumPy's"),
    (r"URLError|ConnectionError|HTTPError|Name or service|getaddrinfo|URL fetch", "network"),
    (r"tensorflow_estimator|\bestimator\b", "Estimator's"),
    (r"\b(?:FileNotFoundError|NotFoundError)", "data"),
    (r"tensorflow|\btf\.", "TensorFlow's"),
)
OWNERS_BY_FOLDER = (
    ("mnist_estimator", "the hook's"),
    ("tensorflow_estimator", "Estimator's"),
    ("tf_keras", "Keras's"),
    ("keras", "Keras's"),
    ("tensorflow", "TensorFlow's"),
    ("numpy", "NumPy's"),
)


@dataclasses.dataclass(frozen=True)
class Program:
    """A row of the table file: {source}, {data} and {work} in it are folders of the run."""

    name: str
    repository: str
    commit: str
    command: list[str]  # After `python`: a script or -m MODULE, and its arguments.
    see: dict[str, Any]  # metric (a regular expression, or "evaluation"), tolerance, file, output.
    paths: list[str] = dataclasses.field(default_factory=list)  # Of the commit; none for all.
    folder: str = "."  # Where it starts, in the source.
    path: list[str] = dataclasses.field(default_factory=list)  # Its own PYTHONPATH.
    before: list[list[str]] = dataclasses.field(default_factory=list)  # Commands to run first.
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    links: dict[str, str] = dataclasses.field(default_factory=dict)  # Fixed paths that it uses.
    mode: str = "plain"  # plain, tf1, notebook, or tf1-notebook.
    until: str = ""  # Ended when it has printed this, for a program whose steps are fixed.
    cluster: dict[str, int] = dataclasses.field(default_factory=dict)  # Tasks of each type.
    requires: list[str] = dataclasses.field(default_factory=list)  # Packages, by distribution.
    prepare: str = ""  # A function of strangers_data.
    note: str = ""

    @property
    def tf1(self) -> bool:
        return self.mode.startswith("tf1")

    @property
    def notebook(self) -> bool:
        return self.mode.endswith("notebook")


@dataclasses.dataclass
class Outcome:
    """How one run of a program ended."""

    status: str  # passed, failed, or not run
    cause: str = ""
    seen: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0
    hooked: bool = False  # Through the hook, not plain.


def main(argv: list[str] | None = None) -> int:
    """Runs the chosen programs and prints the table. Returns the exit status."""
    options = parse_arguments(argv)
    programs = read_table(options.table, options.only)
    if options.list:
        for repository in sorted({program.repository for program in programs}):
            print(f"git clone https://github.com/{repository} {options.checkouts}/{repository}")
        return 0
    # Ended by a signal, it ends the program that runs and takes its links away, as on an error.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    pythons = {"control": options.python_control, "new": options.python_new}
    installed = {side: installed_packages(python) for side, python in pythons.items() if python}
    results = read_results(options.json)
    for number, program in enumerate(programs, 1):
        row = results.setdefault(program.name, {})
        row["program"] = f"{program.repository}@{program.commit[:10]}"
        for side in installed:
            if side not in options.sides:
                continue
            outcome = judge(program, side, pythons[side], installed[side], options)
            row[side] = dataclasses.asdict(outcome)
            progress = f"[{number}/{len(programs)}] {program.name}, {side}: {outcome.status}"
            print(f"{progress}, {outcome.seconds:.0f} s {outcome.cause}", file=sys.stderr)
        row["compared"] = compare(program, row)
        row["note"] = program.note
        if options.json:
            content = {"installed": versions(installed), "programs": results}
            pathlib.Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    rows = {program.name: results[program.name] for program in programs}
    print(table(rows, versions(installed)))
    return 0 if all(good(row) for row in rows.values()) else 1


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", help="a folder with clones as OWNER/NAME")
    parser.add_argument("--python_control", metavar="FILE", help="a Python with TensorFlow 2.15.1")
    parser.add_argument("--python_new", metavar="FILE", help="one with a TensorFlow after 2.15")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these programs")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--timeout_secs", type=float, default=300, help="a command (default 300)")
    parser.add_argument("--work_dir", metavar="DIR", help="keep the runs and their logs here")
    parser.add_argument("--json", metavar="FILE", help="keep the results here, with earlier ones")
    parser.add_argument(
        "--table", default=str(TABLE), metavar="FILE", help="another table of programs"
    )
    parser.add_argument("--list", action="store_true", help="only say which clones are needed")
    options = parser.parse_args(argv)
    if not (options.list or options.python_control or options.python_new):
        parser.error("give --python_control, --python_new, or both")
    if options.work_dir is None:
        options.work_dir = tempfile.mkdtemp(prefix="strangers_")
    return options


def read_table(path: str, only: list[str] | None) -> list[Program]:
    """The programs of a table file, or those with the names in `only`, in that order."""
    rows = json.loads(pathlib.Path(path).read_text())
    programs = [Program(**row) for row in rows]
    names = [program.name for program in programs]
    unknown = set(only or ()) - set(names)
    if unknown or len(set(names)) < len(names):
        raise SystemExit(f"{path}: no programs {sorted(unknown)}, or a name twice in {names}")
    return [programs[names.index(name)] for name in only] if only else programs


def read_results(path: str | None) -> dict[str, dict[str, Any]]:
    """The results that an earlier call left in `path`."""
    if path and os.path.exists(path):
        return json.loads(pathlib.Path(path).read_text())["programs"]
    return {}


def installed_packages(python: str) -> dict[str, str]:
    """The version of every distribution that `python` finds, and its own."""
    program = (
        "import importlib.metadata as m, json, platform, re\n"
        "found = {re.sub('[-_.]+', '-', d.metadata['Name']).lower(): d.version"
        " for d in reversed(list(m.distributions())) if d.metadata['Name']}\n"
        "print(json.dumps({'python': platform.python_version(), **found}))"
    )
    return json.loads(
        subprocess.run([python, "-c", program], stdout=subprocess.PIPE, check=True).stdout
    )


def versions(installed: dict[str, dict[str, str]]) -> dict[str, str]:
    """What each side ran on, in words."""
    names = {
        "python": "Python",
        "tensorflow": "TensorFlow",
        "numpy": "NumPy",
        "tf-keras": "tf-keras",
    }
    return {
        side: ", ".join(
            f"{word} {packages[name]}" for name, word in names.items() if name in packages
        )
        for side, packages in installed.items()
    }


def judge(
    program: Program,
    side: str,
    python: str,
    packages: dict[str, str],
    options: argparse.Namespace,
) -> Outcome:
    """Runs one program on one side and says how it ended."""
    absent = [name for name in program.requires if name not in packages]
    hooked = side == "new" or program.tf1
    if absent:
        return Outcome("not run", f"needs {', '.join(absent)}", hooked=hooked)
    work = pathlib.Path(options.work_dir, program.name, side).absolute()
    shutil.rmtree(work, ignore_errors=True)
    folders = {name: work / name for name in ("source", "data", "home", "work")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    take_commit(pathlib.Path(options.checkouts), program, folders["source"])
    run = Run(program, python, hooked, folders, work / "log.txt", options.timeout_secs)
    if program.prepare:
        getattr(strangers_data, program.prepare)(folders["data"], folders["home"])
    start = time.monotonic()
    with linked({run.fill(place): run.fill(target) for place, target in program.links.items()}):
        cause = run.all()
    seconds = time.monotonic() - start
    log = run.log.read_text(errors="replace") if run.log.exists() else ""
    seen, unseen = look(program.see, log, run)
    if not cause and unseen:
        cause = unseen
    return Outcome("failed" if cause else "passed", cause, seen, seconds, hooked)


def take_commit(checkouts: pathlib.Path, program: Program, folder: pathlib.Path) -> None:
    """Writes the files of the program's commit, or those under the row's paths, into `folder`.

    File by file, and not with `git archive`, which wants every file of the commit to be there.
    """
    clone = checkouts / program.repository
    git = ["git", "-C", str(clone)]
    tree = ["ls-tree", "-r", "-z", "--full-tree", program.commit, "--", *program.paths]
    listed = subprocess.run([*git, *tree], stdout=subprocess.PIPE, check=False).stdout.decode()
    entries = [entry.partition("\t") for entry in listed.split("\0") if entry]
    files = [(*head.split(), path) for head, _, path in entries]
    if not files:
        raise SystemExit(f"{clone}: no commit {program.commit} with {program.paths or 'files'}")
    names = "".join(f"{blob}\n" for _, _, blob, _ in files).encode()
    cat = subprocess.run(
        [*git, "cat-file", "--batch"], input=names, stdout=subprocess.PIPE, check=True
    )
    content = io.BytesIO(cat.stdout)
    for mode, kind, _, path in files:
        if kind == "commit":  # A submodule.
            content.readline()
            continue
        header = content.readline().split()
        if header[1:] == [b"missing"]:  # A clone may lack its largest files.
            continue
        body = content.read(int(header[2]) + 1)[:-1]
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            target.symlink_to(body.decode())
        else:
            target.write_bytes(body)


@contextlib.contextmanager
def linked(places: dict[str, str]) -> Iterator[None]:
    """Links each absolute path that a program has in its code to a folder of the run."""
    made = []
    try:
        for place, target in places.items():
            if os.path.lexists(place):
                raise SystemExit(
                    f"{place}: exists; a program wants this path for itself: move it away"
                )
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.makedirs(target, exist_ok=True)
            os.symlink(target, place)
            made.append(place)
        yield
    finally:
        for place in made:
            os.unlink(place)


@dataclasses.dataclass(frozen=True)
class Run:
    """The processes of one program on one side."""

    program: Program
    python: str
    hooked: bool
    folders: dict[str, pathlib.Path]
    log: pathlib.Path
    timeout_secs: float

    def fill(self, text: str) -> str:
        """`text` with the folders of the run in place of their names."""
        for name, folder in self.folders.items():
            text = text.replace("{" + name + "}", str(folder))
        return text

    def all(self) -> str:
        """Runs every command. Returns what went wrong, or nothing."""
        for command in self.program.before:
            cause = self.wait([self.start(command)])
            if cause:
                return cause
        if not self.program.cluster:
            return self.wait([self.start(self.program.command)])
        return self.run_cluster()

    def run_cluster(self) -> str:
        """Runs a process for each task of the cluster; the chief's log is the program's."""
        addresses = {
            job: [f"127.0.0.1:{port}" for port in free_ports(count)]
            for job, count in self.program.cluster.items()
        }
        tasks = [
            (job, index) for job, count in self.program.cluster.items() for index in range(count)
        ]
        children = []
        for job, index in tasks:
            config = {"cluster": addresses, "task": {"type": job, "index": index}}
            log = self.log if job == "chief" else self.log.with_name(f"log_{job}_{index}.txt")
            children.append(
                self.start(self.program.command, {"TF_CONFIG": json.dumps(config)}, log)
            )
        # A parameter server never ends by itself.
        waited = [c for c, (job, _) in zip(children, tasks, strict=True) if job != "ps"]
        try:
            return self.wait(waited)
        finally:
            for child in children:
                end(child)

    def start(
        self,
        command: list[str],
        environment: dict[str, str] | None = None,
        log: pathlib.Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a command of the program in a process group of its own."""
        hook = [*HOOK, *(["--tf1"] if self.program.tf1 else [])] if self.hooked else []
        folder = self.folders["source"] / self.program.folder
        command = [word for argument in command for word in expand(self.fill(argument), folder)]
        if self.program.notebook:
            arguments = [str(pathlib.Path(__file__)), "--run_notebook", *command, *hook]
        else:
            arguments = [*hook, *command]
        with open(log or self.log, "ab") as output:
            print(" ".join(["$ python", *arguments]), file=Text(output))
            return subprocess.Popen(
                [self.python, *arguments],
                cwd=folder,
                env=self.environment() | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """The variables of a program's process."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        own = [str(self.folders["source"] / path) for path in self.program.path]
        project = [str(PROJECT)] if self.hooked else []
        return {
            **kept,
            "HOME": str(self.folders["home"]),
            "PYTHONPATH": os.pathsep.join([str(SITE), *own, *project]),
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            "MPLBACKEND": "agg",
            "PIP_NO_INDEX": "1",  # What a notebook installs has to be there already.
            **{name: self.fill(value) for name, value in self.program.environment.items()},
        }

    def wait(self, children: list[subprocess.Popen[bytes]]) -> str:
        """Waits for the ends of all. Returns the cause if one failed or none came in time."""
        limit = time.monotonic() + self.timeout_secs
        until = re.compile(self.program.until) if self.program.until else None
        try:
            while any(child.poll() is None for child in children):
                if any(child.poll() for child in children):
                    break
                if until and until.search(self.log.read_text(errors="replace")):
                    return ""
                if time.monotonic() > limit:
                    return f"stopped after {self.timeout_secs:.0f} s"
                time.sleep(POLL_SECS)
            for child in children:
                if child.poll():
                    return cause_of(self.log.read_text(errors="replace"), child.returncode)
        finally:
            for child in children:
                end(child)
        return ""


class Text:
    """The part of a text file that print() needs, on a binary file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())
        self._file.flush()


def expand(argument: str, folder: pathlib.Path) -> list[str]:
    """The files in place of an argument `glob:PATTERN`; any other argument as it is."""
    pattern = argument.removeprefix("glob:")
    if pattern == argument:
        return [argument]
    return sorted(glob.glob(pattern, root_dir=folder))


def end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def cause_of(log: str, status: int) -> str:
    """The error that a program ended with, and whose it is."""
    # TensorFlow says what went wrong in a graph in the error before this one.
    log = COLOUR.sub("", log)
    errors = [error for error in ERROR.findall(log) if not error.endswith("execution error:")]
    if not errors:
        last = log.strip().splitlines()[-1:] or [""]
        return f"exit {status}: {last[0][:160]}"
    error = re.sub(r"\s+", " ", errors[-1])[:200]
    return f"{error} ({owner_of(error, log)})"


def owner_of(error: str, log: str) -> str:
    """Whose an error is: a package's, the data's, or the program's."""
    missing = MISSING.search(error)
    if missing and not missing.group(1).startswith(("tensorflow.", "mnist_estimator")):
        return "missing package" if missing.group(1) != "imp" else "Python's"
    for pattern, owner in OWNERS_BY_TEXT:
        if re.search(pattern, error):
            return owner
    frames = FRAME.findall(log)
    package = re.search(r"site-packages/(\w+)", frames[-1]) if frames else None
    if package:
        return dict(OWNERS_BY_FOLDER).get(package.group(1), f"{package.group(1)}'s")
    return "the program's"


def look(see: dict[str, Any], log: str, run: Run) -> tuple[list[str], str]:
    """What a row wants to see: the numbers found, and what was not found."""
    if "file" in see and not glob.glob(run.fill(see["file"]), recursive=True):
        return [], f"no file {see['file']}"
    if "output" in see and not re.search(see["output"], log):
        return [], f"nothing printed like {see['output']}"
    if "metric" not in see:
        return [], ""
    pattern = EVALUATION if see["metric"] == "evaluation" else see["metric"]
    found = list(re.finditer(pattern, log))
    if not found:
        return [], f"nothing printed like {pattern}"
    return NUMBER.findall(" ".join(found[-1].groups())), ""


def compare(program: Program, row: dict[str, Any]) -> str:
    """Whether both sides printed the same numbers: equal, near, differ, or nothing to compare."""
    sides = [row[side]["seen"] for side in SIDES if row.get(side, {}).get("status") == "passed"]
    if len(sides) < 2 or "metric" not in program.see:
        return ""
    old, new = sides
    if old == new:
        return "equal"
    tolerance = program.see["tolerance"]
    near = len(old) == len(new) and all(
        abs(float(a) - float(b)) <= tolerance * max(abs(float(a)), abs(float(b)))
        for a, b in zip(old, new, strict=True)
    )
    return f"within {tolerance:g}" if near else f"differ by more than {tolerance:g}"


def good(row: dict[str, Any]) -> bool:
    """Whether a program did on the new side what it did on the control."""
    control, new = (row.get(side, {}).get("status", "") for side in SIDES)
    return (control != "passed" or new in ("passed", "")) and not row["compared"].startswith(
        "differ"
    )


def table(results: dict[str, dict[str, Any]], installed: dict[str, str]) -> str:
    """The results as a Markdown table, and the totals."""
    lines = [f"- {side}: {words}" for side, words in installed.items()]
    lines += [
        "",
        "| program | repository | control | new | metrics | compared | cause |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(table_row(name, row) for name, row in results.items()),
    ]
    control, new = (
        sum(row.get(side, {}).get("status") == "passed" for row in results.values())
        for side in SIDES
    )
    repositories = len({row["program"].partition("@")[0] for row in results.values()})
    lines += [
        "",
        f"{len(results)} programs of {repositories} repositories: {control} pass on the control, "
        f"{new} on the new; {sum(map(good, results.values()))} do what their control does.",
    ]
    return "\n".join(lines)


def table_row(name: str, row: dict[str, Any]) -> str:
    """One program's row of the Markdown table."""
    outcomes = {side: row[side] for side in SIDES if side in row}
    statuses = [outcomes.get(side, {}).get("status", "") for side in SIDES]
    if outcomes.get("control", {}).get("hooked"):
        statuses[0] += " (tf1)"
    metrics = " / ".join(" ".join(o["seen"][:3]) for o in outcomes.values() if o["seen"])
    causes = [*(outcome["cause"] for outcome in outcomes.values()), row["note"]]
    cause = "; ".join(filter(None, dict.fromkeys(causes)))
    cells = [name, row["program"], *statuses, metrics, row["compared"], cause]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def run_notebook(path: str, hook: list[str]) -> None:
    """Executes a notebook in a kernel that starts through the hook, and prints what it prints."""
    import jupyter_client
    import jupyter_client.kernelspec
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    manager = jupyter_client.AsyncKernelManager()
    manager._kernel_spec = jupyter_client.kernelspec.KernelSpec(
        argv=[sys.executable, *hook, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        language="python",
    )
    client = nbclient.NotebookClient(notebook, km=manager, timeout=None)
    try:
        client.execute()
    finally:
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                print(output.get("text") or output.get("data", {}).get("text/plain", ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run_notebook"]:
        run_notebook(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
