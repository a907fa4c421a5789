"""README and the pages of docs/: their commands run, their names exist, their tables agree.

Blocks marked `sh` are run, in the order of the page. Of all other commands the flags are parsed as
the command would parse them, without starting it: training on a cluster or a full MNIST is not for
a test. What is no command of this package stands in `FOREIGN`, with the reason why it is not run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import programs

from mnist_estimator.compat import __main__ as compat_main
from mnist_estimator.data import known_datasets

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
# Cases are records of what was tried, wrong flags too.
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted(DOCS.glob("*.md")) if path.name != "cases.md"),
]
RUN_PAGES = {"README.md", "own_data.md", "own_network.md", "migrating_from_tf_estimator.md"}
# MNIST's files are not here; a short run on the bundled digits stands in for the long one.
EXTRA_FLAGS = {"mnist_estimator.train": ["--max_steps=20", "--log_steps=10"]}
# How a line begins that is no command of this package -> why no test runs it.
FOREIGN = {
    "./run_local.sh": "the tests of the scripts run it",
    "./run_tests.sh": "it runs this test",
    "pip install ": "needs a package registry",
    "tensorboard --logdir": "serves until it is stopped",
    "docker run": "needs Docker",
    "python benchmarks/strangers.py": "needs clones of other repositories",
    "python -m benchmarks.run": "makes environments and measures for hours",
    "python -m benchmarks.robustness": "needs a trained run",
    "python benchmarks/quality.py": "trains for hours",
    "curl": "asks the server that docker runs",
}
# Flags of other programs that the pages name.
FOREIGN_FLAGS = {
    *("ntasks", "nodes", "pty", "exclusive"),  # srun, sbatch
    *(
        "tag",
        "sdist",
        "logdir",
        "ordinary",
        "kills",
        "all-files",
    ),  # docker, build, tensorboard, benchmarks
    *("strict", "check", "quick", "follow"),  # mkdocs, make_docs.py, run_tests.sh, git log
    *("tf1", "enable", "disable", "your", "flags"),  # compat, and a program that it runs
    *("list", "python_control", "python_new"),  # benchmarks/strangers.py
    *("rounds", "seeds", "threads", "work_dir", "docs_dir"),  # benchmarks.run
    *("only", "keep", "again", "only_write"),
    *("examples", "picture", "on", "without"),  # benchmarks.robustness, benchmarks/quality.py
    *("detect_file_replacement", "profile"),  # tensorboard, aws
}


FENCED = re.compile(r"^```(?P<head>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(head: str, text: str = README) -> list[str]:
    """The blocks of a language, each line that ends with a backslash joined with the next one."""
    found = [found["body"] for found in FENCED.finditer(text) if found["head"] == head]
    return [re.sub(r"\\\n\s*", "", body) for body in found]


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in "".join(blocks("sh", text)).splitlines()]


def start(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of a page, with this Python, and without a network to fetch anything from."""
    python, *rest = arguments
    assert python == "python"
    nowhere = "http://127.0.0.1:9"
    environ = {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "127.0.0.1"}
    environ["XDG_STATE_HOME"] = str(folder / "state")
    result = programs.run_forked([sys.executable, *rest], cwd=folder, env=os.environ | environ)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.smoke
def test_the_tour(tmp_path):
    shutil.copytree(known_datasets.sample_dir(), tmp_path / "data/mnist")
    tour = commands(README)
    assert [command[2] for command in tour] == [
        "mnist_estimator.prepare",
        "mnist_estimator.prepare",
        "mnist_estimator.train",
        "mnist_estimator.evaluate",
        "mnist_estimator.predict",
        "mnist_estimator.export",
        "mnist_estimator.export",
        "mnist_estimator.report",
    ]
    pictures = [tmp_path / name for name in ("photo.png", "scans/a.png", "more/b.png")]
    for path in pictures:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(a_picture())
    printed = {}
    for command in tour:
        result = start([*command, *EXTRA_FLAGS.get(command[2], [])], tmp_path)
        printed[command[2]] = result.stdout
    assert json.loads(printed["mnist_estimator.evaluate"])["examples"] == 1000
    answers = printed["mnist_estimator.predict"].splitlines()
    assert [line.partition(":")[0] for line in answers] == [
        "photo.png",
        "scans/a.png",
        "more/b.png",
    ]
    check_the_schemas(tmp_path / "tboard/mod1", tmp_path / "data/mnist")


def check_the_schemas(model_dir: Path, data_dir: Path) -> None:
    """The tables of docs/files.md have the fields that the files have."""
    page = (DOCS / "files.md").read_text()
    for path in (
        *(model_dir / f"{name}.json" for name in ("run", "status", "evaluations", "metrics")),
        data_dir / "manifest.json",
    ):
        found = json.loads(path.read_text())
        names = found.keys() | {f"dataset.{name}" for name in found.get("dataset", ())}
        section = page.partition(f"### {path.name}\n")[2].partition("\n#")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        written = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
        if path.name == "run.json":
            names -= {"dataset"}
        if path.name == "manifest.json":
            names = found.keys()
        assert written == names, path.name


def a_picture() -> bytes:
    """A bar in black on white: a digit to look at, if not much of one."""
    from mnist_estimator.compat import tf, v1

    picture = np.full([90, 70, 1], 255, np.uint8)
    picture[20:70, 30:38] = 0
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(tf.io.encode_png(picture))


def write_programs(text: str, folder: Path) -> None:
    """Writes the programs of a page under the names that their blocks have."""
    for found in FENCED.finditer(text):
        title = re.fullmatch(r'python title="([\w.]+)"', found["head"])
        if title:
            (folder / title[1]).write_text(found["body"])


def test_own_data_from_a_csv_file_to_a_served_model(tmp_path):
    page = (DOCS / "own_data.md").read_text()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    write_programs(page.replace("8080", port), tmp_path)
    *before, ask = commands(page)
    for command in before:
        result = start(command, tmp_path)
    assert len((tmp_path / "sides.csv").read_text().splitlines()) == 31
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "evaluation.json",
        "per_class.csv",
        "confusion_matrix.csv",
    }
    assert json.loads((tmp_path / "results/evaluation.json").read_text())["accuracy"] == 1
    with served(tmp_path, int(port)):
        result = start(ask, tmp_path)
    assert f"It prints `{result.stdout.strip()}`" in page


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """Runs serve.py of the page while the block runs, which begins when it answers."""
    server = subprocess.Popen([sys.executable, "serve.py"], cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait(60)


def test_a_network_of_ones_own_trains_and_is_found_again(tmp_path):
    page = (DOCS / "own_network.md").read_text()
    write_programs(page, tmp_path)
    train, evaluate = commands(page)
    done = start(train, tmp_path)
    found = re.search(r"test accuracy (0\.\d+)", done.stdout)
    assert float(found[1]) > 0.7
    assert f"accuracy {found[1]}" in start(evaluate, tmp_path).stdout


def test_the_migrated_program_trains(tmp_path):
    page = (DOCS / "migrating_from_tf_estimator.md").read_text()
    write_programs(page, tmp_path)
    (command,) = commands(page)
    done = start(command, tmp_path)
    # It learns labels that are twice the features.
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(2, abs=0.01)


def test_only_pages_that_are_run_have_blocks_that_say_so():
    assert {path.name for path in PAGES if blocks("sh", path.read_text())} == RUN_PAGES


def test_every_line_of_a_block_is_a_known_command():
    for path in PAGES:
        text = path.read_text()
        for line in "".join([*blocks("", text), *blocks("sh", text)]).splitlines():
            line = line.partition(" #")[0].strip()
            known = re.search(r"python -m mnist_estimator\.\w+", line)
            is_program = re.fullmatch(r"python \w+\.py", line)
            assert known or is_program or line.startswith(tuple(FOREIGN)), f"{path.name}: {line}"


# Parses each command line as its command does: a process that forks takes seconds for all of them.
PARSE = """
import contextlib, io, json, os, runpy, sys
from absl import flags
from mnist_estimator import config
from mnist_estimator.engines import passed_flags, prepare_flags
from mnist_estimator.runtime import program
from mnist_estimator.sweeps import plans

def parse(main, **_):
    rest = flags.FLAGS(sys.argv)
    if command == "train":
        config.train_config()
    elif command == "launch":
        prepares = flags.FLAGS.command == "prepare"
        (prepare_flags.merge_flags if prepares else passed_flags.parse)(rest[1:])
    elif command == "sweep":
        values = {name: flags.FLAGS[name].value for name in plans.FLAGS}
        plans.make_plan(flags.FLAGS.space, tuple(rest[1:]), values)
    elif command == "submit":
        flags.FLAGS.dry_run = True
        with contextlib.redirect_stdout(io.StringIO()):
            main(rest)
    elif len(rest) > 1 and command != "predict":
        raise SystemExit(f"found {rest[1:]}")

program.run = parse
for command, *arguments in json.load(sys.stdin):
    child = os.fork()
    if not child:
        sys.argv = [command, *arguments]
        runpy.run_module("mnist_estimator." + command, run_name="__main__", alter_sys=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"refused: {command} {arguments}")
"""


def test_the_flags_of_every_command_are_taken():
    found = []
    for path in PAGES:
        text = re.sub(r"\\\n\s*", "", path.read_text())
        for name, rest in re.findall(r"python -m mnist_estimator\.(\w+)([^`\n]*)", text):
            arguments = shlex.split(rest, comments=True)
            if name == "compat":
                assert not arguments or compat_main._parse(arguments)
            elif "--help" not in arguments:
                found.append([name, *arguments])
    assert {line[0] for line in found} >= {"prepare", "train", "launch", "submit", "report"}
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps(found),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def make_docs():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts/make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(make_docs):
    return make_docs.pages()


def test_pages_that_follow_from_the_package_are_fresh(made):
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name} is stale: run python scripts/make_docs.py"


def test_every_flag_that_a_page_names_is_one(made):
    known = set(re.findall(r"^\| `--(\w+)`", made[DOCS / "flags.md"], re.MULTILINE))
    assert {"model_dir", "strategy", "engine", "ps"} <= known
    known |= {f"no{name}" for name in known} | {"help", "flagfile"} | FOREIGN_FLAGS
    for path in PAGES:
        if path in made:
            continue  # Wrong flags on purpose.
        named = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", path.read_text()))
        assert named <= known, path.name


def test_the_way_to_every_function_leads_somewhere():
    page = (DOCS / "architecture.md").read_text()
    _, _, table = page.partition("## I want to ...")
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 20
    for row in rows:
        names = re.findall(r"`([\w.]+)`", row)
        assert names, row
        for name in names:
            assert resolved(name) is not None, name


def test_every_package_is_in_the_table_of_packages():
    page = (DOCS / "architecture.md").read_text()
    table = page.partition("## The packages")[2].partition("## I want to")[0]
    named = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    package = ROOT / "mnist_estimator"
    there = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    there |= {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert set(named) == there - {"sample"}


def resolved(name: str) -> object:
    """The module, or what is in a module, that a dotted name in `mnist_estimator` means."""
    module, rest = "mnist_estimator", name.split(".")
    while rest and importlib.util.find_spec(f"{module}.{rest[0]}"):
        module += f".{rest.pop(0)}"
        if not hasattr(importlib.import_module(module), "__path__"):
            break
    found = importlib.import_module(module)
    for part in rest:
        found = getattr(found, part)
    return found


def test_links_between_pages_lead_somewhere():
    for path in [*PAGES, ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_recipe_is_in_the_table_and_says_its_command_and_results():
    results = (DOCS / "results.md").read_text()
    for path in (ROOT / "recipes").glob("*.flags"):
        head = path.read_text()
        assert f"--flagfile=recipes/{path.name}" in head
        assert "# Published: " in head and "# Measured: " in head
        assert f"| `{path.stem}` |" in results


def test_every_recipe_is_made_of_flags():
    script = (
        "import sys\n"
        "from mnist_estimator import config\n"
        "config.define_train_flags()\n"
        "for path in sys.argv[1:]:\n"
        "    config.flags.FLAGS(['train', f'--flagfile={path}'])\n"
        "    assert config.train_config().model_dir != 'tboard/mod1', path\n"
        "    config.flags.FLAGS.unparse_flags()\n"
    )
    recipes = sorted(map(str, (ROOT / "recipes").glob("*.flags")))
    assert len(recipes) >= 6
    done = subprocess.run(
        [sys.executable, "-c", script, *recipes], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_csv_of_the_recipes_is_a_seeded_sample(tmp_path):
    texts = []
    for seed in ("0", "0", "1"):
        flags = [f"--source_dir={known_datasets.sample_dir()}", f"--output={tmp_path}/s.csv"]
        subprocess.run(
            [sys.executable, ROOT / "scripts/sample_csv.py", *flags, "--rows=50", f"--seed={seed}"],
            check=True,
            timeout=120,
        )
        texts.append((tmp_path / "s.csv").read_text())
    assert texts[0] == texts[1] != texts[2]
    rows = [line.split(",") for line in texts[0].splitlines()]
    assert {len(row) for row in rows} == {785} and len(rows) == 50
    assert {row[0] for row in rows} <= set("0123456789")


def test_the_estimator_code_trains(tmp_path):
    (code,) = [code for code in blocks("python") if "Estimator(" in code]
    install, use = code.split("classifier =")
    (tmp_path / "train.py").write_text(
        f"{install}"
        "def model_fn(features, labels, mode):\n"
        "    v1 = tf.compat.v1\n"
        "    loss = v1.get_variable('x', [], initializer=v1.ones_initializer()) ** 2\n"
        "    step = v1.train.get_global_step()\n"
        "    train_op = v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)\n"
        "    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)\n"
        "def input_fn():\n"
        "    return tf.data.Dataset.from_tensors({'one': tf.ones([1])}).repeat()\n"
        f"classifier ={use}"
        "print(classifier.get_variable_value('global_step'))\n"
    )
    assert start(["python", "train.py"], tmp_path).stdout == "1000\n"


def test_the_files_of_tests_that_cases_name_are_there():
    named = set(re.findall(r"\btest_\w+\.py", (DOCS / "cases.md").read_text()))
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}
