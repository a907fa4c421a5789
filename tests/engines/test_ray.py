"""Ray's job file: what is in it, its program without Ray, and jobs on a cluster of two nodes."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import types

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import roles as cluster
from mnist_estimator.engines import catalog

HAS_RAY = bool(importlib.util.find_spec("ray") and importlib.util.find_spec("aiohttp"))
CLUSTER = pathlib.Path(__file__).with_name("ray_cluster.py")
# As in an activated environment, and with this checkout's package on all nodes.
ENVIRON = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
    "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    "PYTHONPATH": str(CLUSTER.parents[1]),
}
TIMEOUT_SECS = 240
DIRS = ("--model_dir=/shared/run", "--data_dir=gs://bucket/data")
HOSTILE = (
    "it's",
    'say """x"""',
    "$HOME `id` ${X} $$ $",
    "a\nb\tc",
    "zwölf 数 😀",
    "#no comment",
    "back\\slash\\",
    "\x85\u2028\ufeff\x7f",
)


def make(train_flags=(), **options):
    return catalog.make_job(engine="ray", train_flags=(*DIRS, *train_flags), **options)


def constants(job):
    """The program's constants, read as Python does and without running it."""
    body = ast.parse(job.render()).body
    values = [node for node in body if isinstance(node, ast.Assign)]
    simple = [node for node in values if not any(isinstance(n, ast.Call) for n in ast.walk(node))]
    return {
        node.targets[0].id: eval(compile(ast.Expression(node.value), "", "eval")) for node in simple
    }


@pytest.fixture
def program(monkeypatch):
    """Loads a job's program with Ray's names put there, and only those that its parts use."""
    ray = types.ModuleType("ray")
    ray.remote = lambda **_: lambda of: of
    ray.exceptions = types.SimpleNamespace(RayError=ConnectionError)
    ray.util = types.SimpleNamespace(get_node_ip_address=lambda: "192.0.2.7")
    group = types.ModuleType("ray.util.placement_group")
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    group.placement_group = strategies.PlacementGroupSchedulingStrategy = None
    for module in (ray, group, strategies):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")

    def load(job, **replaced):
        module = types.ModuleType("program")
        exec(compile(job.render(), "program.py", "exec"), vars(module))
        vars(module).update(replaced)
        return module

    return load


def test_the_program_has_what_the_job_is():
    job = make(workers=3, ps=2, evaluator=True, gpus=1, grace_secs=90, time_limit_minutes=5)
    found = constants(job)
    assert found["COMMAND"] == job.train_command
    assert found["TASKS"] == {"chief": 1, "worker": 2, "ps": 2, "evaluator": 1}
    assert found["NEEDS"] == {"CPU": 2, "memory": 4 * 2**30}
    assert (found["GPUS"], found["MAX_RESTARTS"]) == (1, 10)
    assert (found["GRACE_SECS"], found["TIME_LIMIT_MINUTES"]) == (90, 5)


@pytest.mark.parametrize("value", HOSTILE)
def test_train_flags_come_through_as_they_were(value):
    flags = (f"--model_dir=/shared/{value}", f"--data_dir=/shared/{value}")
    assert constants(make(flags))["COMMAND"][-2:] == list(flags)


def test_every_task_is_told_of_all_others(program):
    job = make(workers=3, ps=1, evaluator=True)
    roles = ["chief", "worker", "worker", "ps", "evaluator"]
    addresses = [f"192.0.2.{place}:2222" for place in range(5)]
    configs = program(job).cluster_of(roles, addresses)
    tasks = [
        cluster.resolve({"TF_CONFIG": json.dumps(config)}, strategy="ps") for config in configs
    ]
    names = ["chief", "worker 0", "worker 1", "ps 0", "evaluator"]
    assert [task.name for task in tasks] == names
    assert all(task.has_evaluator for task in tasks)
    assert tasks[0].jobs["worker"] == ("192.0.2.1:2222", "192.0.2.2:2222")


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 0, 0], 0),
        ([0, 138, 1], 0),  # Training went on without them, to its end.
        ([143, 143], 143),
        ([138, 137], 138),
        ([138, 2], 2),  # The worker's own mistake is why the chief lost it.
        ([1, 138], 1),
    ],
)
def test_the_job_ends_as_its_chief_does(program, codes, code):
    assert program(make()).decide(codes) == code


def test_gpus_are_for_those_that_train(program):
    wanted = {"chief": {"GPU": 2}, "worker": {"GPU": 2}, "ps": {}, "evaluator": {}}
    gpus_of = program(make(gpus=2)).gpus_of
    assert {role: gpus_of(role) for role in wanted} == wanted


@pytest.mark.parametrize(
    ("code", "seen"), [("sys.exit(138)", 138), ("os.kill(os.getpid(), 9)", 137), ("", 0)]
)
def test_a_task_gives_its_process_exit_code(program, code, seen):
    command = ["python", "-c", f"import os, sys; {code}"]
    assert program(make(), COMMAND=command).Task("chief").run({}) == seen


def test_a_task_tells_its_process_of_the_cluster_and_of_the_stop(program):
    check = 'import os; assert os.environ["TF_CONFIG"] == \'{"cluster": 1}\''
    task = program(make(), COMMAND=["python", "-c", check]).Task("worker 1")
    assert repr(task) == "worker 1"
    assert re.fullmatch(r"192\.0\.2\.7:\d+", task.address())
    assert task.run({"cluster": 1}) == 0
    task = program(make(), COMMAND=["python", "-c", "raise SystemExit(1)"]).Task("ps 0")
    task.stop()
    assert task.run({}) == 143  # It was told to go before it began.


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image": "x"}, "--image: found 'x', expected nothing"),
        ({"train_flags": ["--model_dir=x"]}, "--model_dir: found 'x', expected a path from the"),
        ({"train_flags": ["--data_dir=d"]}, "--data_dir: found 'd', expected a path from the root"),
        ({"region": "us-central1"}, "--region: found it with --engine=ray"),
    ],
)
def test_what_ray_cannot_do_is_one_line(options, named):
    with pytest.raises(InputError, match=named) as caught:
        make(**options).render()
    assert len(str(caught.value).splitlines()) == 1


def test_the_client_gets_the_folder_and_time_to_save():
    job = make(grace_secs=100, ray_address="http://head:8265")
    *submit, environ, address, dashes, python, name = job.command("/x/mnist.py")
    assert submit == ["ray", "job", "submit", "--working-dir=/x", "--no-wait"]
    found = json.loads(environ.removeprefix("--runtime-env-json="))
    assert int(found["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 100
    assert address == "--address=http://head:8265"
    assert (dashes, python, name) == ("--", "python", "mnist.py")


class Ray:
    """A running cluster; jobs are submitted as users do, and watched with Ray's own client."""

    def __init__(self, address):
        from ray.job_submission import JobSubmissionClient

        self._address = address
        self.client = JobSubmissionClient(address)

    def submit(self, folder, *flags, train=()):
        command = [sys.executable, "-m", "mnist_estimator.submit", "--engine=ray", "--cpus=1"]
        command += ["--memory_gb=1", f"--ray_address={self._address}", *flags, "--"]
        command += [f"--model_dir={folder}/run", f"--data_dir={folder}/data", "--dataset=sample"]
        command += ["--model=softmax", "--export=none", *train]
        done = subprocess.run(
            command, env=ENVIRON, capture_output=True, text=True, timeout=TIMEOUT_SECS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return re.search(r"raysubmit_\w+", done.stdout)[0]

    def wait(self, job, *, until):
        """Waits for a text in the job's log, or for a status."""
        end = time.monotonic() + TIMEOUT_SECS
        while True:
            log, status = self.client.get_job_logs(job), self.client.get_job_status(job)
            if until in log or until == status:
                return log
            assert not status.is_terminal() and time.monotonic() < end, f"{status}\n{log}"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def ray():
    if not HAS_RAY:
        pytest.skip("Ray is not installed: pip install 'ray[default]' to run jobs on it")
    with subprocess.Popen(
        [sys.executable, CLUSTER, "2"],
        env=ENVIRON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield Ray(address)
        process.stdin.close()


def test_a_job_trains_on_two_nodes_to_its_end(ray, tmp_path):
    job = ray.submit(tmp_path, "--workers=2", train=["--max_steps=30", "--eval_split=none"])
    log = ray.wait(job, until="SUCCEEDED")
    assert "job: ended with code 0" in log
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["global_step"] == 30


def test_a_stopped_job_has_saved(ray, tmp_path):
    train = ["--max_steps=1000000", "--save_checkpoints_steps=1000000"]
    job = ray.submit(tmp_path, train=train)
    ray.wait(job, until="step 100/")
    ray.client.stop_job(job)
    log = ray.wait(job, until="STOPPED")
    assert "job: ended with code 143" in log
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("preempted", 143)
    assert status["step"] >= 100
