"""What is submitted, and how: jobs and their flags, templates, and the command with its clients."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pathlib
import re
import stat
import string
import subprocess
import sys
import unicodedata

import pytest
from absl import flags

from mnist_estimator import InputError, config, submit
from mnist_estimator.engines import jobs, passed_flags
from mnist_estimator.runtime import flag_fields

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEMPLATES = pathlib.Path(jobs.__file__).with_name("templates")
DIRS = ("--model_dir=/data/mod1", "--data_dir=/data/mnist")


def make(**options):
    return jobs.Job(**{"engine": "kubeflow", "train_flags": DIRS} | options)


@pytest.mark.parametrize(
    ("options", "strategy", "tasks"),
    [
        ({}, "none", 1),
        ({"workers": 4}, "multi_worker", 4),
        ({"workers": 4, "ps": 2, "evaluator": True}, "ps", 7),
        ({"ps": 1}, "ps", 2),
        ({"evaluator": True}, "none", 2),
        ({"gpus": 2}, "mirrored", 1),
        ({"gpus": 1}, "none", 1),
        ({"gpus": 2, "workers": 2}, "multi_worker", 2),
        ({"gpus": 2, "train_flags": (*DIRS, "--strategy=none")}, "none", 1),
        ({"train_flags": (*DIRS, "--strategy=mirrored")}, "mirrored", 1),
        ({"workers": 2, "train_flags": (*DIRS, "--strategy=auto")}, "multi_worker", 2),
        ({"train_flags": (*DIRS, "--strategy", "multi_worker")}, "multi_worker", 1),
    ],
)
def test_the_strategy_follows_from_the_tasks(options, strategy, tasks):
    job = make(**options)
    assert (job.strategy, job.train_config.strategy, job.num_tasks) == (strategy, strategy, tasks)
    command = job.train_command
    assert command[:3] == ["python", "-m", "mnist_estimator.train"]
    assert " ".join(command).count(f"--strategy={strategy}") + command.count(strategy) == 1
    values = flags.FlagValues()
    config.define_train_flags(values)
    assert values(command[2:])[1:] == [] and values["strategy"].value == strategy


def test_roles_are_told_where_tasks_are_only_numbered():
    assert make(workers=2, ps=2, evaluator=True).rank_flags == ["--num_ps=2", "--evaluator"]
    assert make(workers=2).rank_flags == []
    assert make(workers=2).num_plain_workers == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"engine": ""}, "--engine: found '', expected one of slurm, kubeflow"),
        ({"engine": "yarn"}, "--engine: found 'yarn', expected one of slurm, kubeflow"),
        ({"name": ""}, "--name: found '', expected lower-case letters"),
        ({"name": "Mnist"}, "--name: found 'Mnist', expected lower-case letters"),
        ({"name": "1st"}, "--name: found '1st', expected lower-case letters"),
        ({"name": "a-"}, "--name: found 'a-', expected lower-case letters"),
        ({"name": "a.b"}, "--name: found 'a.b', expected lower-case letters"),
        ({"name": "a" * 41}, "--name: found 'a+', expected .* 40 characters at most"),
        ({"name": "a\nb"}, r"--name: found 'a\\nb', expected text without control"),
        ({"workers": 0}, "--workers: found 0, expected at least 1"),
        ({"workers": 1001}, "--workers: found 1001, expected at most 1000"),
        ({"ps": -1}, "--ps: found -1, expected at least 0"),
        ({"cpus": 0}, "--cpus: found 0, expected at least 1"),
        ({"memory_gb": 0}, "--memory_gb: found 0, expected at least 1"),
        ({"gpus": -1}, "--gpus: found -1, expected at least 0"),
        ({"grace_secs": 29}, "--grace_secs: found 29, expected at least 30"),
        ({"max_restarts": -1}, "--max_restarts: found -1, expected at least 0"),
        ({"time_limit_minutes": -1}, "--time_limit_minutes: found -1, expected at least 0"),
        ({"image": "a\r\nrun: x"}, r"--image: found 'a\\r\\nrun: x', expected text without"),
        ({"image": "a\u2028b"}, r"--image: found 'a\\u2028b', expected text without"),
        ({"image": "a\udcff"}, r"--image: found 'a\\udcff', expected text without"),
        ({"image": "a b"}, "--image: found 'a b', expected REGISTRY/NAME:TAG"),
        ({"engine": "ray", "namespace": "x"}, "--namespace: found it with --engine=ray, expected"),
        ({"engine": "jobset", "gang": True}, "--gang: found it with --engine=jobset, expected it"),
    ],
)
def test_a_wrong_job_is_one_line_that_names_the_flag(options, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "train_flags", "line"),
    [
        ({}, ["--max_stepps=5"], "train flags, after the --: Unknown command line flag 'max_st"),
        ({}, ["--max_steps=x"], "train flags, after the --: flag --max_steps=x: invalid"),
        ({}, ["--max_steps=0"], "--max_steps: found 0, expected at least 1"),
        (
            {},
            ["--optimizer=lamb"],
            "train flags, after the --: flag --optimizer=lamb: value sh",
        ),
        ({}, ["extra"], "train flags, after the --: found 'extra', expected only --flags"),
        ({}, ["--", "extra"], "train flags, after the --: found 'extra', expected only --flags"),
        ({}, ["--seed=1\0"], r"train flags: found '--seed=1\\x00', expected text without NUL"),
        ({}, ["--model_dir=\udcff"], r"train flags: found '--model_dir=\\udcff', expected text"),
        ({}, ["--job_name=worker"], "train flags, .*found --job_name, which the engine sets; dr"),
        ({}, ["--task_index", "1"], "train flags, .*found --task_index, which the engine sets"),
        ({}, ["--ps_hosts=a:1"], "train flags, .*found --ps_hosts, which the engine sets"),
        ({}, ["--worker_hosts=a:1"], "train flags, .*found --worker_hosts, which the engine"),
        ({}, ["--chief_hosts=a:1"], "train flags, .*found --chief_hosts, which the engine"),
        ({}, ["--num_ps=1"], "train flags, .*found --num_ps, which --ps sets"),
        ({}, ["--noevaluator"], "train flags, .*found --evaluator, which --evaluator"),
        ({}, ["--strategy=ps"], "--ps: found 0 with the train flag --strategy=ps"),
        ({"ps": 1}, ["--strategy=multi_worker"], "--ps: found 1 with the train flag --strat"),
        ({"workers": 2}, ["--strategy=mirrored"], "--workers: found 2 with the train flag --st"),
        ({"ps": 1}, ["--deterministic"], "--deterministic: found it with --strategy=ps"),
        ({"workers": 3}, [], "train flags, after the --: found --batch_size=100, expected a mult"),
        ({"gpus": 8}, [], "train flags, after the --: .* multiple of the 8 replicas that share"),
        ({"workers": 5, "gpus": 8}, ["--batch_size=100"], "train flags, .* of the 40 replicas"),
    ],
)
def test_a_wrong_train_flag_is_found_before_anything_is_submitted(options, train_flags, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make(train_flags=(*DIRS, *train_flags), **options)
    assert "\n" not in str(error.value)


def test_flagfiles_are_read_here_as_tasks_cannot(tmp_path):
    path = tmp_path / "x.flags"
    path.write_text("# The result's own.\n--seed=3\n\n--dropout_rate=0.2\n")
    found = passed_flags.read_flagfiles([f"--flagfile={path}", "--max_steps=5"])
    assert found == ("--seed=3", "--dropout_rate=0.2", "--max_steps=5")
    with pytest.raises(InputError, match="^--flagfile: .*No such file"):
        passed_flags.read_flagfiles([f"--flagfile={path}x"])


def test_every_setting_of_a_job_is_explained_and_no_other_is_of_its_name():
    for field in dataclasses.fields(jobs.Job):
        if field.name != "train_flags":
            assert len(field.metadata["help"]) > 15 and field.metadata["engines"]
            assert set(field.metadata["engines"]) <= set(jobs.ENGINES)
    # A second field of a name would silently take the place of the first.
    names = re.findall(r"^    (\w+): \w+ = _setting\(", inspect.getsource(jobs.Job), re.MULTILINE)
    assert len(names) == len(set(names)) == len(flag_fields.fields_of(jobs.Job))


def test_a_template_is_filled_or_refused(monkeypatch, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "x.txt").write_text("$a ${b} $$HOME")
    monkeypatch.setattr(jobs.resources, "files", lambda package: tmp_path)
    assert jobs.render("x.txt", a=1, b="$a") == "1 $a $HOME"
    with pytest.raises(KeyError, match="b"):
        jobs.render("x.txt", a=1)
    with pytest.raises(TypeError, match="x.txt: no placeholder for c"):
        jobs.render("x.txt", a=1, b=2, c=3)


def test_every_template_is_there_and_well_formed():
    paths = [path for path in TEMPLATES.iterdir() if path.is_file()]
    assert {"kubeflow.yaml", "jobset.yaml", "trainjob.yaml"} <= {path.name for path in paths}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not [m for m in string.Template.pattern.finditer(text) if m["invalid"] is not None]


@pytest.mark.parametrize(
    "value",
    ["a'b\"c", "$x ${y}", "a\nb", "\x85\u2028\ufeff\x7f😀\uffff", "- : #", "null", "1e3", ""],
)
def test_yaml_quoting_gives_the_same_text_back(value):
    yaml = pytest.importorskip("yaml")
    for inner in (value, [value], {value: [value]}):
        assert "\n" not in jobs.yaml_quoted(inner)
        assert yaml.safe_load(jobs.yaml_quoted(inner)) == inner


def odd_texts(length: int = 150) -> list[str]:
    """All characters below U+3000 and others that YAML, shells or terminals take for special."""
    codes = [*range(0x20, 0x3000), 0xD7FF, *range(0xE000, 0xE010), *range(0xFDD0, 0xFE10), 0xFEFF]
    codes += [*range(0xFFF0, 0x10010), 0x1FFFE, 0x1FFFF, *range(0xE0000, 0xE0080), 0x10FFFF]
    text = "".join(map(chr, codes)).replace("$", "")  # Which Kubernetes wants twice.
    return [text[at : at + length] for at in range(0, len(text), length)]


def leaves(node) -> list[str]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    return [leaf for value in node for leaf in leaves(value)] if isinstance(node, list) else [node]


@pytest.mark.parametrize(
    ("engine", "folder", "options"),
    [
        ("kubeflow", "/data/", {"image": "a", "volume_claim": "c"}),
        ("jobset", "/data/", {"image": "a", "volume_claim": "c"}),
        ("trainjob", "/data/", {"image": "a", "volume_claim": "c"}),
        ("vertex", "gs://b/", {"image": "a", "region": "us-east1", "machine_type": "{}"}),
        (
            "sagemaker",
            "/opt/ml/checkpoints/",
            {"image": "a", "role": "arn:aws:iam::123456789012:role/a", "s3_dir": "s3://b/{}"},
        ),
        (
            "sagemaker",
            "/opt/ml/input/data/shared/",
            {
                "image": "a",
                "role": "arn:aws:iam::123456789012:role/a",
                "s3_dir": "s3://b/{}",
                "file_system": "efs:fs-12345678:/{}",
                "subnets": "a",
                "security_groups": "b",
            },
        ),
    ],
)
def test_every_character_comes_back_from_every_job_file_of_yaml(engine, folder, options):
    yaml = pytest.importorskip("yaml")
    for text in odd_texts():
        plain = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Zl", "Zp"))
        found = {name: value.replace("{}", plain) for name, value in options.items()}
        given = (f"--model_dir={folder}{plain}", "--data_dir=/gcs/b/c")
        job = make(engine=engine, train_flags=given, **found)
        rendered = list(yaml.safe_load_all(submit.ENGINES[engine].render(job)))
        strings = [leaf for leaf in leaves(rendered) if isinstance(leaf, str)]
        assert given[0] in strings
        for name, value in options.items():
            if "{}" in value:
                assert any(plain in string for string in strings), name


def test_every_engine_can_be_submitted_to_and_watched():
    assert set(submit.ENGINES) == set(submit.WATCH) == set(jobs.ENGINES)


# The command itself.

JOB = ("--engine=kubeflow", "--workers=2", "--image=x:1", "--volume_claim=shared")


def run(*arguments, path, cwd):
    # Nothing but the given folder on PATH: whatever clients this machine has are not called.
    environment = {**os.environ, "PATH": str(path), "PYTHONPATH": str(TEMPLATES.parents[1])}
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
    job = jobs.Job(
        engine="kubeflow", workers=2, image="x:1", volume_claim="shared", train_flags=DIRS
    )
    assert done.stdout == submit.ENGINES["kubeflow"].render(job)
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
    for field in flag_fields.fields_of(jobs.Job):
        assert f"{field.name}:" in done.stdout


# The image that the job files name.


def test_the_image_runs_train_without_a_shell_and_not_as_root():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    last = dict(steps)
    assert json.loads(last["ENTRYPOINT"]) == make().train_command[:3]
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
