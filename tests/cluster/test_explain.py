"""What --explain says: of a task's place, its data and its peers, without waiting for them long."""

from __future__ import annotations

import json

import pytest

from mnist_estimator.cluster import explain, peers
from mnist_estimator.cluster.roles import Task
from mnist_estimator.config import TrainConfig

JOBS = {"chief": ("a:1",), "worker": ("b:1", "b:2", "b:3"), "ps": ("c:1",)}
WORKERS = {"chief": ("a:1",), "worker": ("b:1", "b:2", "b:3")}


def lines(task, probe=lambda address: peers.ANSWERS, **settings):

    def probe_all(addresses):
        return {name: probe(address) for name, address in addresses.items()}

    text = explain.describe(TrainConfig(**settings), task, probe_all)
    names = ["described by", "role", "peers", "strategy", "batch", "data shard", "evaluation"]
    names += ["model_dir", "data_dir", "TF_CONFIG"]
    found = {}
    for line in text.splitlines():
        name = next((name for name in names if line.startswith(f"{name} ")), line.split("  ")[0])
        found[name] = line[len(name) :].strip()
    return found


def test_a_process_on_its_own():
    found = lines(Task(), model_dir="m", data_dir="d")
    assert found["role"] == "trains alone"
    assert found["peers"] == "none"
    assert found["strategy"] == "none; mirrored if this machine has several GPUs"
    assert found["data shard"] == "all examples"
    assert found["evaluation"] == "each checkpoint, by the chief: this task"
    assert (found["model_dir"], found["data_dir"], found["TF_CONFIG"]) == ("m", "d", "{}")


def test_an_asynchronous_worker():
    task = Task(JOBS, "worker", 0, has_evaluator=True, source="TF_CONFIG")
    found = lines(task, strategy="ps")
    assert (found["described by"], found["role"]) == ("TF_CONFIG", "worker 0")
    assert found["data shard"] == "examples of shard 2 of 4"
    assert found["batch"] == "100 examples a step of each worker on its own"
    assert found["evaluation"] == "each checkpoint, by a task of its own, the evaluator"
    assert json.loads(found["TF_CONFIG"])["task"] == {"type": "worker", "index": 0}


def test_a_synchronous_worker():
    found = lines(Task(WORKERS, "worker", 2, source="Slurm"), strategy="multi_worker")
    assert found["data shard"] == "slice 4 of 4 of each global batch"
    assert found["batch"].endswith("of all workers together, 25 of each worker")


def test_a_batch_that_cannot_be_shared():
    task = Task(WORKERS, "chief", 0, source="Slurm")
    found = lines(task, strategy="multi_worker", batch_size=30)
    assert "30 examples a step do not split evenly over 4 workers" in found["batch"]
    assert "multiple of 4" in found["batch"]


@pytest.mark.parametrize("role", ["ps", "evaluator"])
def test_who_does_not_train_has_no_data_shard(role):
    task = Task(JOBS, role, 0, has_evaluator=True, source="flags")
    found = lines(task, strategy="ps")
    assert found["data shard"] == "none, as it does not train"
    assert found["evaluation"].endswith(": this task") == (role == "evaluator")


def test_peers_are_shown_with_their_answers():
    answers = {"a:1": peers.ANSWERS, "b:2": peers.REFUSED, "b:3": peers.SILENT, "c:1": peers.SILENT}
    found = lines(Task(JOBS, "worker", 0, source="flags"), answers.__getitem__, strategy="ps")
    assert found["peer chief"] == "a:1  answers"
    assert found["peer worker 1"].startswith("b:2  refused")
    assert found["peer worker 2"].startswith("b:3  silent")
    assert found["peer ps 0"].startswith("c:1  silent")


def test_an_evaluator_of_a_chief_that_trains_alone_looks_for_it():
    task = Task({}, "evaluator", has_evaluator=True, source="flags", lone_chief="a:1")
    assert lines(task)["peer chief"] == "a:1  answers"
    chief = Task({}, "chief", has_evaluator=True, source="flags", lone_chief="a:1")
    assert lines(chief)["peers"] == "none"
