"""Jobs that prepare a dataset in parts: what each engine gets, and what its parts then run."""

from __future__ import annotations

import ast
import os
import pathlib
import shlex
import subprocess
import sys
import types

import jsonschema
import pytest
import yaml
from engines import test_kubernetes

from mnist_estimator import InputError
from mnist_estimator.engines import catalog, preparing

FLAGS = ("--data_dir=/data/x", "--train_csv=a b'c$(id)$$`\"\\n", "--force", "--seed=3")


def make(engine: str, *given: str, parts: int = 3, **options: object) -> preparing.PrepareJob:
    fields = catalog.all_fields()
    values = {field.name: field.default for field in fields} | options
    return preparing.make_job(engine, parts, given or FLAGS, values, fields)


def kubernetes(*given: str, **options: object) -> preparing.PrepareJob:
    options = {"image": "registry.example/mnist:1", "volume_claim": "shared"} | options
    return make("jobset", *given, **options)


# Kubernetes.


@pytest.fixture(scope="module")
def validate():
    """Lists what a Job has that its schema does not allow: JobSet's has that of a Job in it."""
    if not test_kubernetes.SCHEMAS.is_dir():
        pytest.skip(f"the schemas are not at {test_kubernetes.SCHEMAS}")
    schema = test_kubernetes.load_schema("JobSet").schema
    jobs = schema["properties"]["spec"]["properties"]["replicatedJobs"]["items"]
    spec = jobs["properties"]["template"]["properties"]["spec"]
    top = schema | {
        "properties": schema["properties"]
        | {"spec": spec, "apiVersion": {"const": "batch/v1"}, "kind": {"const": "Job"}}
    }
    validator = jsonschema.Draft202012Validator(top)
    return lambda document: [error.message[:200] for error in validator.iter_errors(document)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"namespace": "team", "service_account": "me", "secrets": "aws,more", "queue": "team-q"},
        {"time_limit_minutes": 9, "max_restarts": 0, "name": "null"},
    ],
)
def test_a_job_fits_the_schema(validate, options):
    document = yaml.safe_load(kubernetes(**options).render())
    assert validate(document) == []
    broken = document | {"spec": document["spec"] | {"completion": 3}}
    assert validate(broken)


def test_a_job_waits_in_a_queue_of_kueue_where_asked_for():
    metadata = yaml.safe_load(kubernetes(queue="team-q").render())["metadata"]
    assert metadata == {"name": "mnist", "labels": {"kueue.x-k8s.io/queue-name": "team-q"}}


@pytest.mark.parametrize("index", [0, 2])
def test_a_pod_runs_its_part(index):
    spec = yaml.safe_load(kubernetes().render())["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    (container,) = spec["template"]["spec"]["containers"]
    words = [test_kubernetes.expanded(word) for word in container["command"] + container["args"]]
    # What stands in place of python prints its arguments.
    words[words.index("python")] = "printf"
    words[words.index("-m")] = "%s\\0"
    environ = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(index)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60)
    given = done.stdout.split("\0")[:-1]
    assert given == ["mnist_estimator.prepare", *FLAGS, f"--part={index + 1}/3", "--merge"]


def test_with_an_object_store_there_is_no_volume():
    given = ("--data_dir=s3://bucket/data", "--source_dir=s3://bucket/raw")
    job = kubernetes(*given, volume_claim="", secrets="aws")
    pod = yaml.safe_load(job.render())["spec"]["template"]["spec"]
    assert pod["volumes"] == [] and pod["containers"][0]["volumeMounts"] == []
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "aws"}}]
    assert "env" not in pod["containers"][0]


def test_no_secret_of_who_submits_is_in_a_job_file(monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY"):
        monkeypatch.setenv(name, "do-not-tell")
    for job in (kubernetes(secrets="aws"), make("slurm"), make("ray")):
        assert "do-not-tell" not in job.render()


# Slurm.

_SBATCH = """#!/bin/bash
printf '%s\\n' "$*" >>sbatch
[[ $* != *merge ]] || exit "${MERGE_CODE:-0}"
echo "41;here"
"""
_PYTHON = """#!/bin/bash
printf '%s\\0' "$@" >python
"""


@pytest.fixture
def script(tmp_path: pathlib.Path):
    """Runs a job's file as `bash FILE ...`, with stand-ins for sbatch, scancel and python."""
    for name, text in (("sbatch", _SBATCH), ("python", _PYTHON), ("scancel", "#!/bin/bash\n")):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(job: preparing.PrepareJob, *arguments: str, **variables: str):
        (tmp_path / "job.sh").write_text(job.render())
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [*job.command("job.sh"), *arguments],
            cwd=tmp_path,
            env={"PATH": path} | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.folder = tmp_path
    return run


def test_slurm_gets_an_array_and_a_merge_after_it(script):
    done = script(make("slurm", parts=16))
    assert (done.returncode, done.stderr) == (0, "")
    array, merge = (script.folder / "sbatch").read_text().splitlines()
    assert array == "--parsable --array=1-16 --output=%x-%A_%a.log job.sh part"
    assert merge == (
        "--parsable --dependency=afterok:41 --kill-on-invalid-dep=yes --output=%x-%j.log job.sh "
        "merge"
    )


def test_parts_without_a_merge_are_taken_back(script):
    assert script(make("slurm"), MERGE_CODE="1").returncode == 1


def test_slurm_runs_a_part_and_the_merge(script):
    assert script(make("slurm"), "part", SLURM_ARRAY_TASK_ID="2").returncode == 0
    given = (script.folder / "python").read_text().split("\0")[:-1]
    assert given == ["-m", "mnist_estimator.prepare", *FLAGS, "--part=2/3"]
    assert script(make("slurm"), "merge").returncode == 0
    given = (script.folder / "python").read_text().split("\0")[:-1]
    assert given == ["-m", "mnist_estimator.prepare", FLAGS[0], "--merge", "--force"]


def test_what_slurm_is_asked_for():
    options = {"partition": "a,b", "account": "physics", "time_limit_minutes": 30, "memory_gb": 5}
    text = make("slurm", cpus=3, name="digits", **options).render()
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {shlex.split(line)[1] for line in lines} == {
        "--job-name=digits",
        "--partition=a,b",
        "--account=physics",
        "--ntasks=1",
        "--cpus-per-task=3",
        "--mem-per-cpu=1707",
        "--time=30",
        "--requeue",
        "--open-mode=append",
    }


# Ray.


class _Ray(types.ModuleType):
    """Runs tasks at once; they end with the codes that are given by name."""

    def __init__(self, codes: dict[str, list[int]]) -> None:
        super().__init__("ray")
        self.codes, self.ran, self.cancelled = codes, [], 0
        self.exceptions = types.SimpleNamespace(RayError=ConnectionError)

    def remote(self, **_):
        def start(command):
            self.ran.append(command)
            name = command[-1] if command[-1].startswith("--part") else "merge"
            codes = self.codes.get(name, [0])
            return object(), codes.pop(0) if len(codes) > 1 else codes[0]

        options = types.SimpleNamespace(remote=start)
        return lambda of: types.SimpleNamespace(options=lambda **_: options)

    def init(self, **_):
        pass

    shutdown = init

    def wait(self, tasks, num_returns):
        return tasks[:1], tasks[1:]

    def get(self, task):
        if task[1] is None:
            raise ConnectionError("the node is gone")
        return task[1]

    def cancel(self, task, force):
        self.cancelled += 1


def run_ray(monkeypatch, codes: dict[str, list[int | None]]) -> tuple[int, _Ray]:
    ray = _Ray(codes)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    program = types.ModuleType("program")
    exec(compile(make("ray", max_restarts=1).render(), "program.py", "exec"), vars(program))
    return program.main(), ray


def test_ray_runs_all_parts_and_then_the_merge(monkeypatch):
    code, ray = run_ray(monkeypatch, {})
    begin = ["python", "-m", "mnist_estimator.prepare"]
    assert code == 0 and ray.ran == [
        *([*begin, *FLAGS, f"--part={number}/3"] for number in (1, 2, 3)),
        [*begin, FLAGS[0], "--merge", "--force"],
    ]


@pytest.mark.parametrize(("codes", "code"), [([2], 2), ([137], 137), ([None], 138)])
def test_ray_merges_nothing_without_a_part(monkeypatch, codes, code):
    found, ray = run_ray(monkeypatch, {"--part=2/3": codes})
    assert found == code and not any("--merge" in command for command in ray.ran)
    assert ray.cancelled == (1 if codes == [2] else 0)


def test_ray_starts_a_part_again(monkeypatch):
    code, ray = run_ray(monkeypatch, {"--part=2/3": [143, 0]})
    assert code == 0 and len(ray.ran) == 5


def test_the_program_for_ray_is_python_with_the_flags_as_given():
    body = ast.parse(make("ray").render()).body
    (part,) = [node for node in body if "PART" in ast.dump(node) and isinstance(node, ast.Assign)][
        :1
    ]
    assert ast.literal_eval(part.value)[3:] == list(FLAGS)


# What is refused.


@pytest.mark.parametrize(
    ("engine", "given", "options", "line"),
    [
        ("vertex", FLAGS, {}, "--engine: found 'vertex' with --command=prepare, expected one of"),
        ("sagemaker", FLAGS, {}, "on others run prepare with --part=1/N to --part=N/N as jobs"),
        ("", FLAGS, {}, "--engine: found ''"),
        ("slurm", FLAGS, {"workers": 2}, "--workers: found it with --command=prepare and --engi"),
        ("slurm", FLAGS, {"secrets": "a"}, "--secrets: found it with --command=prepare"),
        ("slurm", FLAGS, {"cpus": 0}, "--cpus: found 0, expected at least 1"),
        ("slurm", FLAGS, {"name": "A"}, "--name: found 'A'"),
        ("slurm", ("--part=1/2",), {}, "prepare flags, after the --: found --part"),
        ("slurm", ("--dataset=mnist",), {}, "found no --data_dir"),
        ("ray", ("--data_dir=data",), {}, "--data_dir: found 'data', expected a path from the"),
        ("jobset", FLAGS, {}, "--image: found nothing"),
        ("kubeflow", FLAGS, {"image": "x"}, "--data_dir: found '/data/x', expected s3://BUCKET"),
        (
            "trainjob",
            ("--data_dir=memory://x/y",),
            {"image": "x"},
            "--data_dir: found 'memory://x/y', expected s3://BUCKET/FOLDER",
        ),
        (
            "jobset",
            FLAGS,
            {"image": "x", "volume_claim": "v", "secrets": "a,,b"},
            "--secrets: found '', expected a name of Kubernetes",
        ),
    ],
)
def test_what_cannot_be_is_one_line(engine, given, options, line):
    with pytest.raises(InputError) as error:
        make(engine, *given, **options).render()
    assert line in str(error.value) and "\n" not in str(error.value)
