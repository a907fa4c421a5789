"""Cluster descriptions: who a process is, and one line for each malformed one."""

from __future__ import annotations

import json

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import roles

PS_JOBS = {"chief": ["a:1"], "worker": ["b:1", "b:2"], "ps": ["c:1"]}


def resolve(jobs=None, role="worker", index=0, strategy="ps", **flags):
    environ = {}
    if jobs is not None:
        config = {"cluster": jobs, "task": {"type": role, "index": index}}
        environ = {"TF_CONFIG": json.dumps(config)}
    return roles.resolve(environ, strategy=strategy, **flags)


def test_alone_without_a_description():
    task = resolve(strategy="none")
    assert task.is_chief
    assert (task.num_trainers, task.trainer, task.tf_config()) == (1, 0, "{}")


@pytest.mark.parametrize(
    ("role", "index", "is_chief", "trainer"),
    [("chief", 0, True, 0), ("worker", 0, False, 1), ("worker", 1, False, 2)],
)
def test_every_trainer_has_its_own_number(role, index, is_chief, trainer):
    task = resolve(PS_JOBS, role, index)
    assert (task.is_chief, task.trainer, task.num_trainers) == (is_chief, trainer, 3)
    assert json.loads(task.tf_config())["cluster"] == PS_JOBS


@pytest.mark.parametrize("role", ["ps", "evaluator"])
def test_who_does_not_train_is_not_the_chief(role):
    assert not resolve(PS_JOBS, role).is_chief


def test_the_evaluator_is_left_out_of_the_cluster():
    task = resolve(PS_JOBS | {"evaluator": ["e:1"]}, "evaluator")
    assert json.loads(task.tf_config()) == {
        "cluster": PS_JOBS,
        "task": {"type": "evaluator", "index": 0},
    }


def test_the_evaluator_of_an_all_reduce_job_knows_a_chief():
    task = resolve({"worker": ["a:1", "b:1"]}, "evaluator", strategy="multi_worker")
    assert task.role == "evaluator"
    assert task.jobs == {"chief": ("a:1",), "worker": ("b:1",)}


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
@pytest.mark.parametrize("role", ["chief", "evaluator"])
def test_a_chief_that_trains_alone_may_have_an_evaluator(strategy, role):
    task = resolve({"chief": ["a:1"], "evaluator": ["e:1"]}, role, strategy=strategy)
    assert (task.role, task.has_evaluator, task.tf_config()) == (role, True, "{}")
    assert (task.chief_address, task.peers) == ("a:1", ())


def test_a_task_knows_the_others():
    task = resolve(PS_JOBS | {"evaluator": ["e:1"]}, "worker", 1)
    assert (task.name, task.chief_address) == ("worker 1", "a:1")
    assert task.peers == (("chief", "a:1"), ("worker 0", "b:1"), ("ps 0", "c:1"))
    assert (task.has_evaluator, task.source) == (True, "TF_CONFIG")


def test_the_chief_of_workers_only_is_the_first():
    jobs = {"worker": ["a:1", "b:1"]}
    task = resolve(jobs, "worker", 1, strategy="multi_worker")
    assert (task.chief_address, task.peers) == ("a:1", (("worker 0", "a:1"),))


def test_the_evaluator_of_a_worker_that_trains_alone_knows_it():
    task = resolve({"worker": ["a:1"]}, "evaluator", strategy="none")
    assert (task.role, task.chief_address, task.has_evaluator) == ("evaluator", "a:1", True)
    assert resolve({"worker": ["a:1"]}, "worker", strategy="none").chief_address == ""


def test_flags_may_tell_of_an_evaluator_that_nobody_lists():
    flags = {"chief_hosts": "a:1", "job_name": "chief", "strategy": "none"}
    assert not resolve(**flags).has_evaluator
    assert resolve(evaluator=True, **flags).has_evaluator
    assert resolve(**flags | {"job_name": "evaluator"}).has_evaluator
    assert resolve(PS_JOBS, "chief", evaluator=True).has_evaluator


def test_someone_has_to_train():
    with pytest.raises(InputError, match="found no chief and no worker"):
        resolve({"evaluator": ["e:1"]}, "evaluator", strategy="none")


def test_master_is_the_old_name_of_chief():
    jobs = {"master": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}
    assert resolve(jobs, "master").role == "chief"


@pytest.mark.parametrize(
    ("index", "role", "number"), [(0, "chief", 0), (1, "worker", 0), (2, "worker", 1)]
)
def test_without_a_chief_the_first_worker_is_it(index, role, number):
    task = resolve({"worker": ["a:1", "b:1", "c:1"], "ps": ["d:1"]}, "worker", index)
    assert (task.role, task.index, task.trainer) == (role, number, index)
    assert task.jobs == {"chief": ("a:1",), "worker": ("b:1", "c:1"), "ps": ("d:1",)}


def test_all_reduce_leaves_workers_only_as_they_are():
    jobs = {"worker": ["a:1", "b:1"]}
    first, second = (resolve(jobs, "worker", i, "multi_worker") for i in (0, 1))
    assert (first.is_chief, first.trainer, second.is_chief, second.trainer) == (True, 0, False, 1)


def test_the_host_flags_describe_a_cluster_too():
    flags = {"chief_hosts": "a:1", "worker_hosts": "b:1,b:2", "ps_hosts": "c:1"}
    task = resolve(job_name="worker", task_index=1, **flags)
    assert task == resolve(PS_JOBS, "worker", 1)


def test_one_trainer_of_an_all_reduce_job_needs_no_server():
    task = resolve({"chief": ["a:1"]}, "chief", strategy="multi_worker")
    assert (task.jobs, task.address, task.tf_config()) == ({}, "", "{}")
    watched = resolve({"chief": ["a:1"], "evaluator": ["e:1"]}, "chief", strategy="multi_worker")
    assert (watched.jobs, watched.address) == ({}, "a:1")


@pytest.mark.parametrize("jobs", [{}, {"chief": ["a:1"]}, {"worker": ["a:1"]}])
def test_a_cluster_of_one_trains_alone(jobs):
    assert resolve(jobs, next(iter(jobs), "chief"), strategy="none").tf_config() == "{}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG: found '{', expected JSON"),
        ("[]", "expected a JSON object"),
        ('{"cluster": 3}', "cluster: found 3"),
        ('{"cluster": {"chief": ["a:1"]}}', "task: found None"),
        ('{"cluster": {"chief": ["a:1"]}, "task": 7}', "task: found 7"),
    ],
)
def test_a_malformed_tf_config_is_named(text, message):
    with pytest.raises(InputError, match=message.replace("{", "\\{")):
        roles.resolve({"TF_CONFIG": text}, strategy="none")


@pytest.mark.parametrize(
    ("jobs", "role", "index", "message"),
    [
        (PS_JOBS | {"chef": ["a:2"]}, "chief", 0, "found a job 'chef'"),
        (PS_JOBS | {"chief": []}, "chief", 0, "chief: found \\[\\], expected a list"),
        (PS_JOBS | {"chief": "a:1"}, "chief", 0, "chief: found 'a:1', expected a list"),
        (PS_JOBS | {"chief": ["a"]}, "chief", 0, "chief: found 'a', expected host:port"),
        (PS_JOBS | {"chief": ["a:x"]}, "chief", 0, "chief: found 'a:x', expected host:port"),
        (PS_JOBS | {"chief": ["a:70000"]}, "chief", 0, "expected host:port"),
        (PS_JOBS | {"chief": ["a:\u00b2"]}, "chief", 0, "expected host:port"),
        (PS_JOBS | {"chief": [":2222"]}, "chief", 0, "found ':2222', expected host:port"),
        (PS_JOBS | {"chief": ["a b:1"]}, "chief", 0, "found 'a b:1', expected host:port"),
        (PS_JOBS | {"chief": [7]}, "chief", 0, "chief: found 7, expected host:port"),
        (PS_JOBS | {"chief": ["a:1", "a:2"]}, "chief", 0, "chief: found 2 hosts, expected one"),
        (PS_JOBS, "driver", 0, "task.type: found 'driver', expected one of chief"),
        (PS_JOBS, None, 0, "task.type: found None"),
        ({"chief": ["a:1"], "ps": ["c:1"]}, "worker", 0, "the cluster has only chief, ps"),
        (PS_JOBS, "worker", 2, "task.index: found 2, expected 0 to 1"),
        (PS_JOBS, "worker", -1, "task.index: found -1"),
        (PS_JOBS, "worker", "x", "task.index: found 'x', expected a whole number"),
        (PS_JOBS | {"ps": ["b:1"]}, "worker", 0, "found b:1 twice"),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, "the cluster has no ps"),
        ({"ps": ["c:1"]}, "ps", 0, "no chief and no worker"),
    ],
)
def test_a_malformed_cluster_is_named(jobs, role, index, message):
    with pytest.raises(InputError, match=message):
        resolve(jobs, role, index)


@pytest.mark.parametrize(
    ("jobs", "strategy"),
    [
        (PS_JOBS, "ps"),
        ({"chief": ["a:1"], "ps": ["c:1"]}, "ps"),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "multi_worker"),
        ({"worker": ["a:1", "b:1"]}, "multi_worker"),
        ({"chief": ["a:1"], "worker": ["b:1"], "evaluator": ["e:1"]}, "multi_worker"),
        ({"chief": ["a:1"]}, "auto"),  # The GPUs of the machine decide.
        ({"chief": ["a:1"], "evaluator": ["e:1"]}, "auto"),
        ({}, "auto"),
    ],
)
def test_auto_is_the_strategy_that_the_cluster_needs(jobs, strategy):
    for role in jobs or ("chief",):
        task = resolve(jobs, role, 0, strategy="auto")
        assert task.strategy("auto") == strategy
        assert task.strategy("mirrored") == "mirrored"
        explicit = "none" if strategy == "auto" else strategy
        assert task == resolve(jobs, role, 0, strategy=explicit)


@pytest.mark.parametrize(
    ("workers", "num_ps", "gpus", "strategy"),
    [
        (1, 0, 0, "none"),
        (1, 0, 1, "none"),
        (1, 0, 2, "mirrored"),
        (2, 0, 2, "multi_worker"),
        (1, 1, 0, "ps"),
        (3, 2, 4, "ps"),
    ],
)
def test_the_strategy_for_so_many_tasks_and_gpus(workers, num_ps, gpus, strategy):
    assert roles.strategy_for(workers, num_ps, gpus) == strategy


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
@pytest.mark.parametrize(("role", "index"), [("chief", 0), ("worker", 1)])
def test_a_trainer_may_train_alone_whatever_is_described(strategy, role, index):
    task = resolve(PS_JOBS, role, index, strategy=strategy)
    assert task == roles.Task()
    assert task.source == f"--strategy={strategy}, not TF_CONFIG"
    assert task.tf_config() == "{}"


def test_a_parameter_server_does_not_train_alone():
    line = (
        r"found none, but a cluster of 4 tasks is described \(TF_CONFIG\), .* expected auto or ps"
    )
    with pytest.raises(InputError, match=line):
        resolve(PS_JOBS, "ps", strategy="none")


@pytest.mark.parametrize("strategy", ["ps", "multi_worker"])
def test_a_strategy_needs_a_cluster(strategy):
    with pytest.raises(InputError, match=f"found {strategy} without a cluster"):
        resolve(strategy=strategy)


def test_all_reduce_has_no_parameter_servers():
    with pytest.raises(InputError, match="found multi_worker with ps tasks"):
        resolve(PS_JOBS, strategy="multi_worker")


def test_two_descriptions_are_one_too_many():
    with pytest.raises(InputError, match="TF_CONFIG: found it beside"):
        resolve(PS_JOBS, job_name="worker", worker_hosts="a:1")
