"""The base of every engine's job: its strategy, its tasks, and the one line for what is wrong."""

from __future__ import annotations

import pytest
from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.engines import catalog

DIRS = ("--model_dir=/data/mod1", "--data_dir=/data/mnist")


def make(**options):
    return catalog.make_job(**{"engine": "kubeflow", "train_flags": DIRS} | options)


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
        ({"engine": "slurm", "gang": True}, "--gang: found it with --engine=slurm, expected it o"),
        ({"engine": "ray", "queue": "q"}, "--queue: found it with --engine=ray, expected it only"),
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
        ({"workers": 4}, ["--batch_size=20", "--mixup=0.2"], "train flags, .* a multiple of 8: wi"),
        ({"workers": 5, "gpus": 8}, ["--batch_size=100"], "train flags, .* of the 40 replicas"),
    ],
)
def test_a_wrong_train_flag_is_found_before_anything_is_submitted(options, train_flags, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make(train_flags=(*DIRS, *train_flags), **options)
    assert "\n" not in str(error.value)
