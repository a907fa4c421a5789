"""The command submit, with stand-ins for the engines' clients; and the image that jobs name."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import stat
import subprocess
import sys

import pytest

from mnist_estimator.engines import catalog

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "mnist_estimator" / "engines" / "templates"
DIRS = ("--model_dir=/data/mod1", "--data_dir=/data/mnist")


# The command itself.

JOB = ("--engine=kubeflow", "--workers=2", "--image=x:1", "--volume_claim=shared")


def run(*arguments, path, cwd):
    # Nothing but the given folder on PATH: whatever clients this machine has are not called.
    environment = {**os.environ, "PATH": str(path), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "mnist_estimator.submit", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def kubectl(tmp_path):
    """A client that keeps what it is given; returns a function that sets how it ends."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(code=0):
        client = folder / "kubectl"
        client.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, sys\n"
            f"seen = pathlib.Path({str(tmp_path)!r}, 'seen')\n"
            "path = pathlib.Path(sys.argv[2].partition('=')[2])\n"
            "seen.write_text(f'{path}\\n' + path.read_text())\n"
            "print('client:', sys.argv[1]); print('client: no quota', file=sys.stderr)\n"
            f"sys.exit({code})\n"
        )
        client.chmod(client.stat().st_mode | stat.S_IXUSR)
        return folder

    return install


def test_dry_run_prints_the_file_alone_and_submits_nothing(kubectl, tmp_path):
    done = run(*JOB, "--dry_run", "--", *DIRS, path=kubectl(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    options = {"workers": 2, "image": "x:1", "volume_claim": "shared"}
    assert done.stdout == catalog.make_job("kubeflow", train_flags=DIRS, **options).render()
    assert not (tmp_path / "seen").exists()


def test_the_client_gets_the_file_and_its_words_pass_through(kubectl, tmp_path):
    done = run(*JOB, "--namespace=team", "--", *DIRS, path=kubectl(), cwd=tmp_path)
    assert done.returncode == 0
    path, _, text = (tmp_path / "seen").read_text().partition("\n")
    assert "kind: TFJob" in text and path.endswith("mnist.yaml")
    assert not pathlib.Path(path).exists(), "the file of the time of the submission is left behind"
    assert "client: create" in done.stdout and "client: no quota" in done.stderr
    assert f"submit: kubectl create --filename={path}" in done.stderr
    assert (
        "kubectl logs -f --prefix --max-log-requests=2 --namespace=team -l training" in done.stdout
    )
    assert "kubectl delete tfjob,networkpolicy mnist --namespace=team" in done.stdout
    assert "--logdir=/data/mod1" in done.stdout


def test_a_dataset_in_parts(kubectl, tmp_path):
    flags = ("--data_dir=s3://b/d", "--dataset=sample")
    job = ("--engine=jobset", "--command=prepare", "--parts=5", "--image=x:1")
    done = run(*job, "--", *flags, path=kubectl(), cwd=tmp_path)
    assert done.returncode == 0
    text = (tmp_path / "seen").read_text()
    assert "completions: 5" in text and '- "--dataset=sample"' in text
    assert "kubectl delete job mnist" in done.stdout and "TensorBoard" not in done.stdout


SPACE = "learning_rate: {type: float, low: 0.01, high: 0.1}\n"
SWEEP = ("--engine=slurm", "--sweep=space.yaml", "--tasks=4", "--storage=journal:study")


def test_a_sweep_is_an_array_job(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    given = (*SWEEP, "--trials=9", "--noprune", "--dry_run", "--", "--model_dir=a b")
    done = run(*given, path=tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "#SBATCH --array=0-3\n" in done.stdout
    command = done.stdout.partition("\nsrun ")[2].partition("\n#")[0]
    assert shlex.split(command.replace("\\\n", ""))[3:] == [
        *("mnist_estimator.sweep", "--space=space.yaml", "--trials=9", "--storage=journal:study"),
        *("--prune=False", "--", "--model_dir=a b"),
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--storage: found nothing with --tasks=4, expected postgresql+psycopg://"),
        (("--storage=postgresql://a:secret@h/d",), "--storage: found a password in the URL of"),
        (("--command=prepare", "--parts=2"), "--command=prepare: found it with --sweep, expected"),
        (("--sweep=none.yaml",), "none.yaml: No such file or directory, expected a file"),
        (("--sweep=", "--trials=3"), "--tasks: found it without --sweep, expected both"),
        (("--", "--learning_rate=1"), "train flags, after the --: found --learning_rate, which"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(tmp_path, arguments, line):
    (tmp_path / "space.yaml").write_text(SPACE)
    job = SWEEP[:3] if not arguments else SWEEP
    done = run(*job, "--dry_run", *arguments, path=tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"submit: {line}") and len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_output_keeps_the_file(kubectl, tmp_path):
    (tmp_path / "job.yaml").write_text("old")
    done = run(*JOB, "--output=job.yaml", "--", *DIRS, path=kubectl(), cwd=tmp_path)
    assert done.returncode == 0 and "submit: wrote job.yaml" in done.stderr
    path, _, text = (tmp_path / "seen").read_text().partition("\n")
    assert path.endswith("mnist.yaml") and (tmp_path / "job.yaml").read_text() == text
    assert not list(tmp_path.glob("*.tmp"))


def test_a_failure_of_the_client_is_its_own_message(kubectl, tmp_path):
    done = run(*JOB, "--", *DIRS, path=kubectl(7), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("client: no quota\n") and "watch" not in done.stdout


def test_a_missing_client_is_one_line(tmp_path):
    done = run(*JOB, "--", *DIRS, path=tmp_path / "none", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "submit: kubectl: not found on PATH, expected the client of --engine=kubeflow; install it, "
        "or keep the job file with --dry_run --output=PATH\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--", *DIRS], "submit: --engine: found '', expected one of slurm"),
        ([*JOB, *DIRS], "submit: Unknown command line flag 'model_dir'.*; see --help"),
        ([*JOB, "--", *DIRS, "--max_stepps=1"], "submit: train flags, .*Did you mean: max_steps"),
        (
            [*JOB, "extra", "--", *DIRS],
            "submit: train flags, after the --: found 'extra', expected",
        ),
        ([*JOB, "--dry_run", "--output=no/x", "--", *DIRS], "submit: --output=no/x: No such file"),
        ([*JOB, "--name=a\nb", "--", *DIRS], r"submit: --name: found 'a\\nb', expected text"),
    ],
)
def test_a_mistake_is_one_line(kubectl, tmp_path, arguments, line):
    done = run(*arguments, path=kubectl(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(line, done.stderr) and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "seen").exists()


def test_help_shows_the_engines_flags(tmp_path):
    done = run("--help", path=tmp_path, cwd=tmp_path)
    assert done.returncode == 0
    for name in ("engine", "command", "parts", *(field.name for field in catalog.all_fields())):
        assert f"{name}:" in done.stdout


# The image that the job files name.


def test_the_image_runs_train_without_a_shell_and_not_as_root():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    last = dict(steps)
    job = catalog.make_job("kubeflow", train_flags=DIRS)
    assert json.loads(last["ENTRYPOINT"]) == job.train_command[:3]
    assert int(last["USER"]) > 0
    # What job files give the volume to is the user's group.
    assert f"--uid {last['USER']} " in str(steps)
    assert f'"fsGroup": {last["USER"]}' in (TEMPLATES / "jobset_task.yaml").read_text()
    assert not [rest for name, rest in steps if name == "CMD"]


def test_the_image_gets_what_setup_needs_and_no_more():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*" and "**/__pycache__" in ignored
    assert kept == {"LICENSE", "MANIFEST.in", "README.md", "mnist_estimator", "pyproject.toml"} | {
        "setup.py"
    }
    assert all((ROOT / name).exists() for name in kept)
