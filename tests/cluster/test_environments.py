"""What each engine sets, as its own documentation or source says, and what becomes of it.

And one line for whatever is malformed, soon.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.slurm import SLURM

from mnist_estimator import InputError
from mnist_estimator.cluster import roles

# Kubeflow's training-operator 1.9, pkg/controller.v1/tensorflow/tensorflow.go: genClusterSpec lists
# all replica types in lower case, Evaluator included, and genTFConfigJSONStr adds "environment".
KUBEFLOW = {
    role: [f"mnist-{role}-{i}.team.svc:2222" for i in range(count)]
    for role, count in {"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}.items()
}
# Vertex AI, "Distributed training": TF_CONFIG never has the evaluators, CLUSTER_SPEC has all pools.
VERTEX = {
    "workerpool0": ["training-workerpool0-ab-0:2222"],
    "workerpool1": ["training-workerpool1-ab-0:2222", "training-workerpool1-ab-1:2222"],
    "workerpool2": ["training-workerpool2-ab-0:2222"],
    "workerpool3": ["training-workerpool3-ab-0:2222"],
}
VERTEX_ROLES = ("chief", "worker", "ps", "evaluator")


def config(jobs, role, index=0, **more):
    return json.dumps({"cluster": jobs, "task": {"type": role, "index": index}, **more})


def vertex_tf_config(role, index=0):
    jobs = dict(zip(VERTEX_ROLES[:3], VERTEX.values(), strict=False))
    task = {"type": role, "index": index, "trial": "1", "cloud": "e15bd3"}
    return json.dumps({"cluster": jobs, "task": task, "environment": "cloud", "job": "{...}"})


FLAGS = {"chief_hosts": "a:1", "worker_hosts": "b:1,b:2", "ps_hosts": "c:1"}
FLAG_JOBS = {"chief": ("a:1",), "worker": ("b:1", "b:2"), "ps": ("c:1",)}


def resolve(environ, strategy="ps", resource_config="/no/such/file", **flags):
    return roles.resolve(environ, strategy=strategy, resource_config=str(resource_config), **flags)


def slurm(strategy="multi_worker", *, num_ps=0, evaluator=None, base_port=0, **changes):
    environ = {name: text for name, text in (SLURM | changes).items() if text is not None}
    flags = {"num_ps": num_ps, "evaluator": evaluator, "base_port": base_port}
    return resolve(environ, strategy, **flags)


@pytest.mark.parametrize(
    ("environ", "strategy", "flags", "role", "trainer", "sizes", "has_evaluator", "source"),
    [
        pytest.param(
            {"TF_CONFIG": config(KUBEFLOW, "worker", 1, environment="cloud")},
            *("ps", {}, "worker 1", 2, (1, 2, 1), True, "TF_CONFIG"),
            id="kubeflow worker",
        ),
        pytest.param(
            {"TF_CONFIG": config(KUBEFLOW, "evaluator", environment="cloud")},
            *("ps", {}, "evaluator", None, (1, 2, 1), True, "TF_CONFIG"),
            id="kubeflow evaluator",
        ),
        # The same: only one replica in all, and isDistributed is false.
        pytest.param({}, "none", {}, "chief", 0, (), False, "", id="kubeflow single replica"),
        pytest.param(
            {"TF_CONFIG": config({"master": ["a:1"], "worker": ["b:1"]}, "master")},
            *("multi_worker", {}, "chief", 0, (1, 1), False, "TF_CONFIG"),
            id="master",
        ),
        pytest.param(
            {"TF_CONFIG": config({"chief": ["a:1"], "evaluator": ["b:1"]}, "chief", "0")},
            *("none", {}, "chief", 0, (), True, "TF_CONFIG"),
            id="chief and evaluator",
        ),
        # Ray, python/ray/train/tensorflow/config.py: _setup_tensorflow_environment; build_address
        # puts IPv6 addresses into brackets.
        pytest.param(
            {"TF_CONFIG": config({"worker": ["[fd00::1]:40001", "[fd00::2]:40002"]}, "worker", 0)},
            *("multi_worker", {}, "worker 0", 0, (2,), False, "TF_CONFIG"),
            id="ray",
        ),
        pytest.param(
            {
                "TF_CONFIG": vertex_tf_config("chief"),
                "CLUSTER_SPEC": config(VERTEX, "workerpool0", environment="cloud"),
            },
            *("ps", {}, "chief", 0, (1, 2, 1), True, "TF_CONFIG"),
            id="vertex",
        ),
        pytest.param(
            {"CLUSTER_SPEC": config(VERTEX, "workerpool1", 1, environment="cloud")},
            *("ps", {}, "worker 1", 2, (1, 2, 1), True, "CLUSTER_SPEC"),
            id="vertex without TF_CONFIG",
        ),
        # "Agent Platform does not set TF_CONFIG for single-replica training jobs."
        pytest.param(
            {"CLUSTER_SPEC": config({"workerpool0": ["a:2222"]}, "workerpool0")},
            *("none", {}, "chief", 0, (), False, "CLUSTER_SPEC"),
            id="vertex single replica",
        ),
        # sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md.
        pytest.param(
            {"SM_HOSTS": '["algo-1","algo-10","algo-2"]', "SM_CURRENT_HOST": "algo-10"},
            *("ps", {"num_ps": 1}, "ps 0", None, (1, 1, 1), False, "SageMaker"),
            id="sagemaker",
        ),
        pytest.param(
            {"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"},
            *("none", {}, "chief", 0, (), False, "SageMaker"),
            id="sagemaker single host",
        ),
        pytest.param(
            SLURM,
            *("ps", {"num_ps": 2, "evaluator": True}, "worker 2", 3, (1, 3, 2), True, "Slurm"),
            id="slurm",
        ),
        # Kubernetes, "Indexed Job": the control plane sets the variable in each pod.
        pytest.param(
            {"JOB_COMPLETION_INDEX": "1"},
            *("ps", FLAGS | {"job_name": "worker"}, "worker 1", 2, (1, 2, 1), False, "flags"),
            id="jobset, a replicated job for each role",
        ),
        pytest.param(
            {"JOB_COMPLETION_INDEX": "4"},
            *("ps", FLAGS | {"evaluator": True}, "evaluator", None, (1, 2, 1), True, "flags"),
            id="indexed job or trainjob, one template",
        ),
    ],
)
def test_what_an_engine_sets(environ, strategy, flags, role, trainer, sizes, has_evaluator, source):
    task = resolve(environ, strategy, **flags)
    assert task.name == role
    assert trainer is None or task.trainer == trainer
    assert tuple(map(len, task.jobs.values())) == sizes
    assert (task.has_evaluator, task.source) == (has_evaluator, source)


def test_an_evaluator_beside_tf_config_is_known_to_all_on_vertex():
    tf_config = json.loads(vertex_tf_config("worker"))
    assert "evaluator" not in tf_config["cluster"]
    environ = {"TF_CONFIG": json.dumps(tf_config)}
    assert not resolve(environ).has_evaluator
    task = resolve(environ | {"CLUSTER_SPEC": config(VERTEX, "workerpool1")})
    assert task.has_evaluator
    assert set(task.jobs) == {"chief", "worker", "ps"}


def test_precedence():
    environ = dict(SLURM)
    assert resolve(environ, "multi_worker").source == "Slurm"
    environ |= {"SM_HOSTS": '["a","b"]', "SM_CURRENT_HOST": "a"}
    assert resolve(environ, "multi_worker").source == "SageMaker"
    pools = {"workerpool0": ["a:1"], "workerpool1": ["b:1"]}
    environ["CLUSTER_SPEC"] = config(pools, "workerpool0")
    assert resolve(environ, "multi_worker").source == "CLUSTER_SPEC"
    environ["TF_CONFIG"] = "{}"
    assert resolve(environ, "multi_worker").source == "CLUSTER_SPEC"
    environ["TF_CONFIG"] = config({"worker": ["a:1", "b:1"]}, "worker")
    assert resolve(environ, "multi_worker").source == "TF_CONFIG"
    del environ["TF_CONFIG"]
    assert resolve(environ, **FLAGS, job_name="ps").source == "flags"


@pytest.mark.parametrize(
    ("rank", "name"),
    [(0, "chief"), (1, "worker 0"), (2, "worker 1"), (3, "ps 0"), (4, "evaluator")],
)
def test_the_index_of_a_pod_is_its_rank_over_the_host_flags(rank, name):
    task = resolve({"JOB_COMPLETION_INDEX": str(rank)}, evaluator=True, **FLAGS)
    assert (task.name, dict(task.jobs)) == (name, FLAG_JOBS)


def test_a_task_index_in_flags_is_stronger_than_the_index_of_a_pod():
    environ = {"JOB_COMPLETION_INDEX": "1"}
    assert resolve(environ, job_name="worker", task_index=0, **FLAGS).name == "worker 0"


def test_sagemaker_counts_hosts_by_their_numbers_in_its_file(tmp_path):
    """Amazon's "How SageMaker provides training information": resourceconfig.json."""
    file = tmp_path / "resourceconfig.json"
    hosts = ["algo-1", "algo-10", "algo-11", "algo-2", "algo-3"]
    group = {"instance_group_name": "homogeneousCluster", "instance_type": "ml.c5.xlarge"}
    file.write_text(
        json.dumps({"current_host": "algo-10", "hosts": hosts, "instance_groups": [group]})
    )
    task = resolve({}, "multi_worker", file, base_port=3000)
    assert (task.name, task.chief_address) == ("worker 2", "algo-1:3000")
    assert task.jobs["worker"] == ("algo-2:3000", "algo-3:3000", "algo-10:3000", "algo-11:3000")


@pytest.mark.parametrize("step", [None, "4294967291", "-5", "4294967290"])
def test_a_slurm_batch_script_without_srun_trains_alone(step):
    """As env_array_for_batch_job sets it; 4294967290 is the shell of salloc."""
    script = {"SLURM_PROCID": "0", "SLURM_STEP_ID": step}
    assert slurm("none", **script).tf_config() == "{}"
    with pytest.raises(InputError, match="found ps without a cluster, .* start the command with"):
        slurm("ps", **script)


def test_a_slurm_step_of_one_task_trains_alone():
    one = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_DISTRIBUTION": "arbitrary"}
    task = slurm("none", **one)
    assert (task.tf_config(), task.source) == ("{}", "Slurm")


def test_a_slurm_step_of_many_tasks_does_not_train_alone():
    task = slurm("auto")
    assert (task.num_trainers, task.strategy("auto"), task.source) == (7, "multi_worker", "Slurm")
    assert slurm("none") == roles.Task()  # Unless its user says so.


def test_the_shell_of_srun_pty_trains_alone():
    """srun's manual: --pty runs task zero in a pseudo terminal, and the others read nothing."""
    shell = {"SLURM_PTY_PORT": "40123", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    shell |= {"SLURM_LOCALID": "0", "SLURMD_NODENAME": "n08"}
    for strategy in ("auto", "none", "mirrored"):
        assert slurm(strategy, **shell) == roles.Task()
    assert slurm("multi_worker", **shell).num_trainers == 7  # srun --pty python ... --strategy=
    assert slurm("auto", SLURM_PTY_PORT="40123").num_trainers == 7


DEEP = "[" * 100_000 + "]" * 100_000
JOBS = {"chief": ["a:1"], "worker": ["b:1"]}


@pytest.mark.parametrize("variable", ["TF_CONFIG", "CLUSTER_SPEC"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ": found '{', expected JSON"),
        (DEEP, ": found .*, expected JSON"),
        ('{"cluster": ' + DEEP + "}", ": found .*, expected JSON"),
        ("9" * 5000, ": found .*, expected"),
        ("[]", ": found '\\[\\]', expected a JSON object"),
        ('{"cluster": 3}', ": cluster: found 3, expected an object"),
        ('{"cluster": [["a:1"]]}', ": cluster: found .*, expected an object"),
        (json.dumps({"cluster": JOBS}), ": task: found None, expected an object"),
        (config(JOBS, None), ": task.type: found None, expected one of"),
        (config(JOBS, ["chief"]), ": task.type: found .'chief'., expected one of"),
        (config(JOBS, "ps"), ": task.type: found 'ps', but the cluster has only chief, worker"),
        (config(JOBS, "worker", 1), ": task.index: found 1, expected 0 to 0"),
        (config(JOBS, "worker", "-1"), ": task.index: found '-1', expected a whole number"),
        (config(JOBS, "worker", 0.5), ": task.index: found 0.5, expected a whole number"),
        (config(JOBS, "worker", True), ": task.index: found True, expected a whole number"),
        (config(JOBS, "worker", "\u0660"), ": task.index: found '\u0660', expected a whole"),
        (config(JOBS, "worker", None), ": task.index: found None, expected a whole number"),
        (config(JOBS, "evaluator", 1), ": task.index: found 1, expected 0 to 0"),
        (config(JOBS | {"chef": []}, "chief"), ": cluster: found a job 'chef', expected only"),
        (config(JOBS | {"master": ["c:1"]}, "chief"), ": cluster: found a job 'master'"),
        (config(JOBS | {"ps": {}}, "chief"), ": cluster.ps: found {}, expected a list"),
        (config(JOBS | {"ps": []}, "chief"), ": cluster.ps: found \\[\\], expected a list"),
        (config(JOBS | {"ps": ["c"]}, "chief"), ": cluster.ps: found 'c', expected host:port"),
        (config(JOBS | {"ps": ["c..d:1"]}, "chief"), ": cluster.ps: found 'c..d:1', expected host"),
        (config(JOBS | {"ps": ["c" * 64 + ":1"]}, "chief"), ": cluster.ps: found 'ccc.*expected"),
        (config(JOBS | {"ps": ["::1:5"]}, "chief"), ": cluster.ps: found '::1:5', expected host"),
        (config(JOBS | {"evaluator": ["e:1", "e:2"]}, "chief"), ": cluster.evaluator: found 2"),
        ('{"sparseCluster": {"worker": {"0": "a:1"}}}', ": found sparseCluster, expected cluster"),
    ],
)
def test_malformed_json_is_named(variable, text, message):
    with pytest.raises(InputError, match=f"^{variable}{message}") as raised:
        resolve({variable: text}, "multi_worker")
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


def test_a_malformed_worker_pool_is_named():
    with pytest.raises(InputError, match="^CLUSTER_SPEC: cluster.workerpool1: found 'b', expected"):
        resolve({"CLUSTER_SPEC": config({"workerpool1": ["b"]}, "workerpool1")})


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({}, {"job_name": "ps", "ps_hosts": "a"}, "--ps_hosts: found 'a', expected host:port"),
        ({}, {"job_name": "ps"}, "--job_name: found 'ps', but no hosts are given"),
        ({}, FLAGS, "--job_name: found '', expected one of"),
        ({}, FLAGS | {"job_name": "worker", "task_index": 2}, "--task_index: found 2, expected 0"),
        ({"JOB_COMPLETION_INDEX": "4"}, FLAGS, "JOB_COMPLETION_INDEX: found 4, expected 0 to 3"),
        ({"JOB_COMPLETION_INDEX": "-1"}, FLAGS, "JOB_COMPLETION_INDEX: found '-1', expected a who"),
        (
            {"JOB_COMPLETION_INDEX": "2"},
            FLAGS | {"job_name": "worker"},
            "JOB_COMPLETION_INDEX: found 2, expected 0 to 1",
        ),
        ({}, FLAGS | {"job_name": "ps", "num_ps": 2}, "--num_ps: found 2, but flags has 1"),
        ({}, {"evaluator": True}, "--evaluator: found it, but no cluster is described"),
        ({}, {"num_ps": 1}, "--num_ps: found 1, but no cluster is described"),
        (
            {"TF_CONFIG": config(KUBEFLOW, "chief")},
            {"evaluator": False},
            "--noevaluator: found it, but TF_CONFIG has an evaluator",
        ),
    ],
)
def test_flags_that_contradict_are_named(environ, flags, message):
    with pytest.raises(InputError, match=f"^{message}"):
        resolve(environ, **flags)


@pytest.mark.parametrize(
    ("hosts", "current", "message"),
    [
        ("algo-1", "algo-1", "SM_HOSTS: found 'algo-1', expected JSON"),
        (DEEP, "algo-1", "SM_HOSTS: found .*, expected JSON"),
        ('{"a": 1}', "a", "SM_HOSTS: found .*, expected a list of hosts"),
        ("[7]", "7", "SM_HOSTS: found .7., expected a list of hosts"),
        ("[]", "algo-1", "SM_HOSTS: found ..,"),
        ('["a b"]', "a b", "SM_HOSTS: found 'a b:2222', expected host"),
        ('["a","b"]', "c", "SM_CURRENT_HOST: found 'c', expected one of the hosts"),
        ('["a","b"]', None, "SM_CURRENT_HOST: found None, expected one of the hosts"),
        ('["a","a"]', "a", "cluster: found a:2222 twice"),
    ],
)
def test_malformed_sagemaker_hosts_are_named(hosts, current, message):
    environ = {"SM_HOSTS": hosts} | ({"SM_CURRENT_HOST": current} if current else {})
    with pytest.raises(InputError, match=f"^{message}"):
        resolve(environ, "multi_worker")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": found '', expected JSON"),
        ("[]", ": found .., expected a JSON object"),
        ('{"current_host": "a"}', ": hosts: found None, expected a list"),
        ('{"hosts": ["a", "b"]}', ": current_host: found None, expected one of"),
    ],
)
def test_a_malformed_resource_config_is_named(tmp_path, text, message):
    file = tmp_path / "resourceconfig.json"
    file.write_text(text)
    with pytest.raises(InputError, match=f"resourceconfig.json{message}"):
        resolve({}, "multi_worker", file)


def test_more_roles_than_slurm_tasks_are_named():
    with pytest.raises(InputError, match="--num_ps: found 6 ps and an evaluator, but Slurm has 7"):
        slurm("ps", num_ps=6, evaluator=True)
    with pytest.raises(InputError, match="--base_port: found 65530, expected room for .* 7 tasks"):
        slurm(base_port=65530)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from(["flags", "rank", "TF_CONFIG", "SageMaker"]),
    st.booleans(),
    st.integers(0, 12),
    st.integers(0, 4),
    st.booleans(),
)
def test_there_is_one_chief_and_each_trainer_has_its_number(
    source, has_chief, workers, num_ps, evaluator
):
    has_chief = has_chief or not workers or source == "SageMaker"
    sizes = {"chief": int(has_chief), "worker": workers, "ps": num_ps}
    tasks = [(role, index) for role, size in sizes.items() for index in range(size)]
    tasks += [("evaluator", 0)] if evaluator else []
    strategy = "ps" if num_ps else "multi_worker"
    found = [
        resolve(strategy=strategy, **_described(source, sizes, evaluator, tasks, rank))
        for rank in range(len(tasks))
    ]
    trainers = [task for task in found if task.role in roles.TRAINERS]
    assert [task.is_chief for task in found].count(True) == 1
    assert [task.trainer for task in trainers] == list(range(sizes["chief"] + workers))
    assert {task.num_trainers for task in found} == {len(trainers)}
    assert {task.has_evaluator for task in found} == {evaluator}
    assert len({task.chief_address for task in found}) == 1
    assert len({(task.role, task.index) for task in found}) == len(tasks)


def _described(source, sizes, evaluator, tasks, rank):
    """The arguments of `resolve` that describe a cluster to one of its tasks."""
    hosts = {role: [f"{role}{i}:1" for i in range(size)] for role, size in sizes.items() if size}
    role, index = tasks[rank]
    if source == "SageMaker":
        names = json.dumps([f"algo-{i + 1}" for i in range(len(tasks))])
        environ = {"SM_HOSTS": names, "SM_CURRENT_HOST": f"algo-{rank + 1}"}
        return {"environ": environ, "num_ps": sizes["ps"], "evaluator": evaluator}
    if source == "TF_CONFIG":
        listed = hosts | ({"evaluator": ["e:1"]} if evaluator else {})
        return {"environ": {"TF_CONFIG": config(listed, role, index)}}
    flags = {f"{role}_hosts": ",".join(addresses) for role, addresses in hosts.items()}
    flags["evaluator"] = evaluator or None
    if source == "rank":
        return {"environ": {"JOB_COMPLETION_INDEX": str(rank)}, **flags}
    return {"environ": {}, "job_name": role, "task_index": index, **flags}
