"""run_local.sh and run_tests.sh, with stand-ins for Python, pip, pytest and the commands."""

import fcntl
import pathlib
import shutil
import subprocess
import sys

import pytest

from mnist_estimator import prepare

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHIM = "mnist_estimator/storage/_shim.c"  # The part in C.

# A Python that answers questions about itself as VERSION and MODULES say, does as if it made
# virtual environments and ran modules, and writes down which. All else the test's own Python does.
PYTHON = """#!/bin/bash
if [[ "$1 $2" == "-c "*ensurepip* ]]; then echo "Python {version} {modules}"; exit; fi
if [[ "$1 $2" == "-c "*version_info* ]]; then echo "{version}" | tr " " .; exit; fi
if [[ "$1 $2" == "-c "*importlib.metadata* ]]; then echo "TensorFlow and Python {version}"; exit; fi
if [[ $1 != -m ]]; then PYTHONPATH={root} exec {real} "$@"; fi
shift
echo "$@" >>"$CALLS"
case "$1" in
  venv) mkdir -p "$2/bin"; cp "$0" "$2/bin/python" ;;
  pip) echo "$PIP_SAYS"; [[ -z $PIP_SAYS ]] ;;
  ruff | mypy | mkdocs) [[ $FAILS != "$1 $2" ]] ;;
  pytest)
    [[ -z $OTHER_PYTHON ]] || echo "other: $OTHER_PYTHON" >>"$CALLS"
    exit "$PYTEST_STATUS" ;;
  *.prepare)
    [[ $* != *=sample* && -n $PREPARE_SAYS ]] || exit 0
    echo "$PREPARE_SAYS" >&2
    exit "$PREPARE_STATUS" ;;
esac
"""
TOOLS = ["bash", "basename", "cat", "cp", "dirname", "env", "grep", "mkdir", "mktemp", "rm"]
TOOLS += ["tail", "tr"]
NO_MIRROR = "prepare: MNIST cannot be downloaded: refused; or use --dataset=sample"


class Checkout:
    """A copy of the scripts, and a PATH with nothing but the tools they need."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.bin, self.calls_file = folder / "it", folder / "bin", folder / "calls"
        (self.folder / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("run_local.sh", "run_tests.sh", "setup.py"):
            shutil.copy(ROOT / name, self.folder)
        for name in ("venv.sh", "train_settings.py"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        (self.folder / SHIM).parent.mkdir(parents=True)
        shutil.copy(ROOT / SHIM, self.folder / SHIM)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "CALLS": str(self.calls_file),
            "PIP_SAYS": "",
            "PREPARE_SAYS": "",
            "PREPARE_STATUS": str(prepare.EXIT_NO_MIRROR),
            "PYTEST_STATUS": "0",
            "FAILS": "",
        }

    def add_python(self, name: str, version: str, modules: str = "whole") -> pathlib.Path:
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            PYTHON.format(version=version, modules=modules, root=ROOT, real=sys.executable)
        )
        path.chmod(0o755)
        return path

    def run(self, script: str, *arguments: str, **environment: str):
        done = subprocess.run(
            [f"./{script}", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        print(done.stdout, done.stderr)  # pytest shows it if the test fails.
        return done

    def calls(self) -> list[str]:
        """What ran as `python -m` since the last look, without its paths."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().replace(f"{self.folder}/", "").splitlines()
        self.calls_file.unlink()
        return lines


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout):
    """A checkout with both ends of the range of Pythons."""
    checkout.add_python("python3.13", "3 13")
    checkout.add_python("python3.11", "3 11")
    return checkout


def assert_refused(done, *parts):
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    for part in parts:
        assert part in line


BOTH = pytest.mark.parametrize("script", ["run_local.sh", "run_tests.sh"])


@BOTH
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_needs_no_python(checkout, script, flag):
    done = checkout.run(script, flag, PYTHON="nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"./{script}" in done.stdout and "PYTHON=" in done.stdout
    assert not (checkout.folder / ".venv").exists()


@BOTH
def test_a_python_that_is_missing(checkout, script):
    done = checkout.run(script, PYTHON="python4")
    assert_refused(done, f"{script}: PYTHON=python4 is no command", "Python 3.10 to 3.13")


def test_a_python_that_is_none(checkout):
    done = checkout.run("run_local.sh", PYTHON="cat")
    assert_refused(done, "PYTHON=cat does not run as a Python")


def test_a_python_that_is_a_folder(checkout):
    assert_refused(checkout.run("run_local.sh", PYTHON="/"), "PYTHON=/")


@BOTH
@pytest.mark.parametrize("version", ["2 7", "3 9", "3 14", "4 10"])
def test_a_python_of_another_version(checkout, script, version):
    path = checkout.add_python("other", version)
    dotted = version.replace(" ", ".")
    assert_refused(checkout.run(script, PYTHON=str(path)), f"is Python {dotted}", "3.10 to 3.13")


def test_a_python_without_venv(checkout):
    checkout.add_python("python3.12", "3 12", modules="bare")
    assert_refused(checkout.run("run_local.sh", PYTHON="python3.12"), "no venv", "python3.12-venv")


def test_no_python_at_all(checkout):
    assert_refused(checkout.run("run_local.sh"), "found no Python 3.10 to 3.13;")


def test_no_python_that_will_do(checkout):
    checkout.add_python("python3", "3 9")
    assert_refused(checkout.run("run_local.sh"), "(python3 is Python 3.9)")


@pytest.mark.parametrize("version", ["2.14", "2.22", "2", "newest", "2.15.1rc0", "2.150"])
def test_a_wrong_tensorflow(ready, version):
    done = ready.run("run_local.sh", TENSORFLOW=version)
    assert_refused(done, f"TENSORFLOW={version}: expected a version from 2.15 to 2.21")


@pytest.mark.parametrize("tensorflow, newest", [("2.15.1", 11), ("2.19", 12)])
def test_a_python_that_is_too_new_for_the_tensorflow(ready, tensorflow, newest):
    done = ready.run("run_local.sh", PYTHON="python3.13", TENSORFLOW=tensorflow)
    assert_refused(done, "is Python 3.13", f"3.10 to 3.{newest} for TensorFlow {tensorflow}")


@pytest.mark.parametrize(
    "tensorflow, requirement, name",
    [
        ("", "tensorflow", "local-3.13"),
        ("2.21", "tensorflow==2.21.*", "local-3.13-tf2.21"),
        ("2.15.1", "tensorflow==2.15.1", "local-3.11-tf2.15.1"),
    ],
)
def test_the_newest_python_that_suits_is_taken(ready, tensorflow, requirement, name):
    assert ready.run("run_local.sh", TENSORFLOW=tensorflow).returncode == 0
    venv, pip = ready.calls()[:2]
    assert venv == f"venv .venv/{name}"
    assert pip.startswith("pip install ") and pip.endswith(f" {requirement}")


def test_a_python_that_pyenv_has_but_not_active(checkout):
    """pyenv puts a python3.12 on the PATH that fails, as long as that version is not active."""
    checkout.add_python("../versions/3.12.1/bin/python3.12", "3 12")
    for name, body in {"python3.12": "exit 127", "pyenv": f"echo {checkout.bin.parent}"}.items():
        (checkout.bin / name).write_text(f"#!/bin/bash\n{body}\n")
        (checkout.bin / name).chmod(0o755)
    assert checkout.run("run_local.sh").returncode == 0
    assert checkout.calls()[0] == "venv .venv/local-3.12"
    assert checkout.run("run_local.sh", PYTHON="python3.12").returncode == 0


def test_a_set_up_is_used_again(ready):
    ready.run("run_local.sh")
    assert [call.split()[0] for call in ready.calls()[:2]] == ["venv", "pip"]
    done = ready.run("run_local.sh")
    assert ready.calls()[0].startswith("mnist_estimator.prepare")
    assert "setting up" not in done.stderr


@pytest.mark.parametrize("name", ["setup.py", SHIM])
def test_a_change_of_what_is_installed_is_installed(ready, name):
    ready.run("run_local.sh")
    ready.calls()
    with (ready.folder / name).open("a") as file:
        file.write("\n")
    ready.run("run_local.sh")
    assert ready.calls()[1].startswith("pip install")


def test_a_checkout_that_was_moved_is_set_up_again(ready):
    ready.run("run_local.sh")
    ready.calls()
    ready.folder = ready.folder.rename(ready.folder.with_name("moved"))
    ready.run("run_local.sh")
    assert ready.calls()[0] == "venv .venv/local-3.13"


def test_a_set_up_whose_python_is_gone_is_made_again(ready):
    ready.run("run_local.sh")
    ready.calls()
    (ready.folder / ".venv/local-3.13/bin/python").unlink()
    assert ready.run("run_local.sh").returncode == 0
    assert ready.calls()[0] == "venv .venv/local-3.13"


@BOTH
def test_a_registry_out_of_reach_is_one_line(ready, script):
    done = ready.run(script, PIP_SAYS="WARNING: Retrying NewConnectionError\nERROR: none")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2
    line = done.stderr.splitlines()[-1]
    assert "could not reach the package registry" in line
    assert "NewConnectionError" in pathlib.Path(line.split()[-1]).read_text()


def test_a_failed_set_up_is_named_and_not_trusted_later(ready):
    done = ready.run("run_local.sh", PIP_SAYS="ERROR: no room\nfor you")
    assert done.returncode == 1
    assert "installing failed: ERROR: no room;" in done.stderr.splitlines()[-1]
    ready.calls()
    assert ready.run("run_local.sh").returncode == 0
    assert ready.calls()[1].startswith("pip install")


def test_of_two_set_ups_at_once_one_waits(ready):
    (ready.folder / ".venv").mkdir()
    with (ready.folder / ".venv/local-3.13.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = subprocess.Popen(
            ["./run_local.sh"],
            cwd=ready.folder,
            env=ready.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "waiting for another set-up to end" in script.stderr.readline()
        assert not ready.calls()
    script.communicate(timeout=60)
    assert script.returncode == 0
    assert ready.calls()[0] == "venv .venv/local-3.13"


def test_local_prepares_trains_evaluates_and_says_where(ready):
    done = ready.run("run_local.sh", "--max_steps=5", "--seed=3", "--model_dir=my models")
    assert done.returncode == 0
    assert ready.calls()[2:] == [
        "mnist_estimator.prepare --seed=3 --data_dir=data/mnist",
        "mnist_estimator.train --max_steps=5 --seed=3 --model_dir=my models "
        "--seed=3 --data_dir=data/mnist --model_dir=my models --max_steps=5",
        "mnist_estimator.evaluate --model_dir=my models --data_dir=data/mnist --split=test",
    ]
    assert "are in my models\n" in done.stdout
    assert r".venv/local-3.13/bin/tensorboard --logdir my\ models" in done.stdout


def test_local_takes_a_prepared_dataset_at_once(ready):
    (ready.folder / "data/mnist").mkdir(parents=True)
    (ready.folder / "data/mnist/manifest.json").touch()
    assert ready.run("run_local.sh", PREPARE_SAYS=NO_MIRROR).returncode == 0
    assert ready.calls()[2] == (
        "mnist_estimator.train --data_dir=data/mnist --model_dir=tboard/mod1 --max_steps=5000"
    )


@pytest.mark.parametrize("flag", ["--max_step=5", "--batch_size=0", "--max_steps=many", "500"])
def test_local_refuses_a_wrong_flag_before_it_does_anything(ready, flag):
    done = ready.run("run_local.sh", flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert flag.strip("-").split("=")[0] in done.stderr.splitlines()[-1]
    assert [call.split()[0] for call in ready.calls()] == ["venv", "pip"]


CHECK_ONLY = "--only_check_args"


@pytest.mark.parametrize(
    "flag",
    ["--helpshort", "--help=true", "--helpxml", "--version", "--flagfile=help", CHECK_ONLY],
)
def test_local_prints_help_and_runs_none_of_it(ready, flag):
    (ready.folder / "help").write_text("--help\n")
    (ready.bin / "mnist_estimator").symlink_to(shutil.which("touch"))  # As the version begins.
    done = ready.run("run_local.sh", "--model_dir=$(touch run)", flag)
    assert done.returncode == 0
    assert "command not found" not in done.stderr and "syntax error" not in done.stderr
    assert bool(done.stdout) == (flag != CHECK_ONLY)
    assert [call.split()[0] for call in ready.calls()] == ["venv", "pip"]
    assert {path.name for path in ready.folder.iterdir()} == {
        ".venv",
        "help",
        "mnist_estimator",
        "run_local.sh",
        "run_tests.sh",
        "scripts",
        "setup.py",
    }


def test_local_takes_any_value_for_what_it_is(ready):
    value = "$(touch run)`touch run`';touch run;' \t\"\n"
    done = ready.run("run_local.sh", f"--model_dir={value}", f"--data_dir={value}")
    assert done.returncode == 0
    assert not (ready.folder / "run").exists()
    calls = f"mnist_estimator.prepare --data_dir={value} --data_dir={value}\n"
    assert calls in ready.calls_file.read_text()
    done = ready.run("run_local.sh", "--model_dir=a\x07b")
    assert "are in a?b" in done.stdout and "training in a?b" in done.stderr
    assert "\x07" not in done.stdout + done.stderr


def test_local_uses_the_sample_where_mnist_cannot_be_had(ready):
    done = ready.run("run_local.sh", "--log_steps=5", PREPARE_SAYS=NO_MIRROR)
    assert done.returncode == 0
    assert NO_MIRROR in done.stderr and "5,000 digits" in done.stderr
    assert "are in tboard/sample\n" in done.stdout
    sample = "--data_dir=data/mnist --dataset=sample --data_dir=data/sample"
    assert ready.calls()[3:] == [
        f"mnist_estimator.prepare {sample}",
        f"mnist_estimator.train --log_steps=5 {sample} --model_dir=tboard/sample --max_steps=1000",
        "mnist_estimator.evaluate --model_dir=tboard/sample --data_dir=data/sample --split=test",
    ]


def test_local_keeps_what_was_given_with_the_sample(ready):
    done = ready.run("run_local.sh", "--model_dir=m", "--max_steps=7", PREPARE_SAYS=NO_MIRROR)
    assert "are in m\n" in done.stdout
    assert ready.calls()[4].endswith(" --model_dir=m --max_steps=7")


@pytest.mark.parametrize("flags", [["--dataset=mnist"], ["--data_dir", "d"]])
def test_local_never_replaces_data_that_were_asked_for(ready, flags):
    done = ready.run("run_local.sh", *flags, PREPARE_SAYS=NO_MIRROR)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == NO_MIRROR


def test_local_uses_the_sample_for_no_other_mistake(ready):
    done = ready.run("run_local.sh", PREPARE_SAYS=NO_MIRROR, PREPARE_STATUS="2")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(ready.calls()) == 3


EXTRAS = "[test,keras,report,engines,docs,serve]"
PARALLEL = "--numprocesses=2 --dist=loadfile --no-loadscope-reorder"


def test_tests_run_on_both_ends(ready):
    done = ready.run("run_tests.sh")
    assert done.returncode == 0
    newest, oldest = ".venv/tests-3.13", ".venv/tests-3.11-tf2.15.1"
    assert ready.calls() == [
        f"venv {newest}",
        f"pip install --no-compile --editable {ready.folder}{EXTRAS} tensorflow",
        "ruff check",
        "ruff format --check",
        "mypy",
        "mkdocs build --strict --quiet --site-dir .venv/site",
        f"venv {oldest}",
        f"pip install --no-compile --editable {ready.folder}[test,report] tensorflow==2.15.1",
        f"pytest {PARALLEL} --durations=10",
        f"other: {oldest}/bin/python",
        f"pytest {PARALLEL} -m smoke",
        f"other: {newest}/bin/python",
    ]
    assert len([line for line in done.stdout.splitlines() if line.startswith("passed: ")]) == 6


def test_tests_with_arguments_run_pytest_alone(ready):
    assert ready.run("run_tests.sh", "-k", "idx", "-x").returncode == 0
    assert ready.calls()[2:] == ["pytest -k idx -x"]


@pytest.mark.parametrize("status", ["1", "5"])
@pytest.mark.parametrize("arguments", [[], ["-k", "idx"]])
def test_tests_that_fail_or_are_none_fail(ready, status, arguments):
    assert ready.run("run_tests.sh", *arguments, PYTEST_STATUS=status).returncode == 1


def test_the_quick_tests_run_in_two_processes(ready):
    assert ready.run("run_tests.sh", "--quick", "-k", "idx").returncode == 0
    assert ready.calls()[2:] == [f"pytest {PARALLEL} -r fE --quick -k idx"]


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("ruff check", "ruff check"),
        ("ruff format", "ruff format"),
        ("mypy ", "mypy"),
        ("mkdocs build", "the documentation"),
    ],
)
def test_a_check_that_complains_fails_after_the_tests_ran(ready, command, stage):
    done = ready.run("run_tests.sh", FAILS=command)
    assert done.returncode == 1
    assert f"FAILED: {stage}" in done.stdout
    assert f"pytest {PARALLEL} -m smoke" in ready.calls()


def test_all_tests_on_the_oldest_tensorflow(ready):
    assert ready.run("run_tests.sh", TENSORFLOW="2.15.1").returncode == 0
    assert ready.calls()[6:] == [
        f"pytest {PARALLEL} --durations=10",
        "other: .venv/tests-3.11-tf2.15.1/bin/python",
    ]


@pytest.mark.parametrize("ci, status", [("", 0), ("true", 1)])
def test_no_python_for_the_oldest_end_is_said(checkout, ci, status):
    checkout.add_python("python3.13", "3 13")
    done = checkout.run("run_tests.sh", CI=ci)
    assert done.returncode == status
    assert "TensorFlow 2.15.1: found no Python 3.10 or 3.11\n" in done.stdout


def test_help_is_found_behind_other_flags(checkout):
    done = checkout.run("run_local.sh", "--max_steps=5", "--help", PYTHON="nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    assert "./run_local.sh" in done.stdout
