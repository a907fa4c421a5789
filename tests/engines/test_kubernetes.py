"""Job files for Kubernetes: held against the real schemas, and read back as the engines do."""

from __future__ import annotations

import copy
import itertools
import json
import pathlib
import re
import warnings

import jsonschema
import pytest
import yaml
from absl import flags

from mnist_estimator import InputError
from mnist_estimator.cluster import roles as cluster
from mnist_estimator.config import define_train_flags
from mnist_estimator.engines import catalog

ENGINES = ("kubeflow", "jobset", "trainjob")
# The CustomResourceDefinitions as their projects publish them; not part of the package.
SCHEMAS = pathlib.Path(__file__).parents[3] / "shared" / "schemas"
FILES = {
    "TFJob": "tfjobs.kubeflow.org-v1.9.0.yaml",
    "JobSet": "jobsets.jobset.x-k8s.io-v0.12.0.yaml",
    "TrainingRuntime": "trainingruntimes.trainer.kubeflow.org-v2.3.yaml",
    "TrainJob": "trainjobs.trainer.kubeflow.org-v2.3.yaml",
}
DIRS = ("--model_dir=/data/mod1", "--data_dir=/data/mnist")
HOSTILE = (
    "it's",
    'say "x"',
    "$HOME $(HOME) $$(X) $",
    "a\nb\tc",
    "zwölf 数 😀",
    "{{ .x }} {% x %}",
    "#no comment",
    "back\\slash\\n",
    ": - ? !x &y *z %",
    "\x85\u2028\ufeff\x7f",
    "--",
    "",
)


def make(engine="kubeflow", **options):
    options = {"image": "registry.example/mnist:1", "volume_claim": "shared"} | options
    train_flags = options.pop("train_flags", ())
    return catalog.make_job(engine=engine, train_flags=(*DIRS, *train_flags), **options)


def documents(job):
    return list(yaml.safe_load_all(job.render()))


def strict(schema):
    """A structural schema whose unknown fields are errors, as with `kubectl --validate`."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("format"), str):  # int32 and the like, of the API server's own.
        del schema["format"]
    closed = "additionalProperties" not in schema
    preserved = schema.pop("x-kubernetes-preserve-unknown-fields", False)
    # A property may be called type as well; then that is no string.
    if schema.get("type") == "object" and closed and not preserved:
        schema["additionalProperties"] = False
    if schema.pop("x-kubernetes-int-or-string", False) is True:
        assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    return schema


def load_schema(kind):
    definition = yaml.load((SCHEMAS / FILES[kind]).read_text(encoding="utf-8"), yaml.CSafeLoader)
    (version,) = definition["spec"]["versions"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    names = definition["spec"]
    schema["properties"]["apiVersion"] = {"const": f"{names['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": kind}
    # The definitions leave this to the API server.
    text = {"type": "object", "additionalProperties": {"type": "string"}}
    schema["properties"]["metadata"] = {
        "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": text},
        "required": ["name"],
        "additionalProperties": False,
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return jsonschema.Draft202012Validator(schema)


def check_policy(document):
    """What is wrong with a NetworkPolicy, which is Kubernetes' own and has no definition."""
    metadata = document.get("metadata", {})
    wanted = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": metadata.get("name")} | metadata,
            "spec": ours | {"policyTypes": ["Ingress"], "ingress": [{"from": [ours]}]},
        }
        for label in ("training.kubeflow.org/job-name", "jobset.sigs.k8s.io/jobset-name")
        for ours in [{"podSelector": {"matchLabels": {label: metadata.get("name")}}}]
    ]
    unknown = set(metadata) - {"name", "namespace"}
    return [] if document in wanted and not unknown else [f"found {document}"]


def check_group(document):
    """What is wrong with a PodGroup of Volcano, as PodGroupSpec in its API's types.go has it."""
    metadata, spec = document.get("metadata", {}), document.get("spec", {})
    wanted = {
        "apiVersion": "scheduling.volcano.sh/v1beta1",
        "kind": "PodGroup",
        "metadata": {"name": metadata.get("name")} | metadata,
        "spec": {"minMember": spec.get("minMember")},
    }
    unknown = set(metadata) - {"name", "namespace"}
    return [] if document == wanted and not unknown else [f"found {document}"]


@pytest.fixture(scope="module")
def validate():
    """Returns a function that lists what a document has that its schema does not allow."""
    if SCHEMAS.is_dir():
        validators = {kind: load_schema(kind) for kind in FILES}

        def validate(document):
            if "networking.k8s.io/v1" in document.values():
                return check_policy(document)
            if "scheduling.volcano.sh/v1beta1" in document.values():
                return check_group(document)
            return [
                f"{error.json_path}: {error.message[:200]}"
                for error in validators[document.get("kind", "TFJob")].iter_errors(document)
            ]

        return validate
    warnings.warn(
        f"{SCHEMAS} is missing: job files are only held against the few fields named in this test",
        stacklevel=1,
    )
    return _missing_fields


def _missing_fields(document):
    """What can be said without the definitions: known kinds, and where their parts are."""
    if document["kind"] == "NetworkPolicy":
        return check_policy(document)
    if document["kind"] == "PodGroup":
        return check_group(document)
    wanted = {
        "TFJob": ({"runPolicy", "successPolicy", "tfReplicaSpecs"}, "kubeflow.org/v1"),
        "JobSet": (
            {"network", "successPolicy", "failurePolicy", "replicatedJobs"},
            "jobset.x-k8s.io/v1alpha2",
        ),
        "TrainingRuntime": ({"mlPolicy", "template"}, "trainer.kubeflow.org/v1alpha1"),
        "TrainJob": ({"runtimeRef", "trainer"}, "trainer.kubeflow.org/v1alpha1"),
    }
    fields, version = wanted[document["kind"]]
    found = set(document["spec"]) - {"activeDeadlineSeconds", "podGroupPolicy"}
    return [] if found == fields and document["apiVersion"] == version else [f"fields {found}"]


SHAPES = [
    {"engine": engine, "workers": workers, "ps": ps, "evaluator": evaluator, "gpus": gpus}
    for engine, workers, ps, evaluator, gpus in itertools.product(
        ENGINES, (1, 4), (0, 2), (False, True), (0, 2)
    )
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_every_shape_of_job_fits_the_schema(validate, shape):
    for document in documents(make(train_flags=("--batch_size=240",), **shape)):
        assert validate(document) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_every_option_fits_the_schema(validate, engine):
    options = {
        "name": "null",
        "namespace": "team-a",
        "service_account": "trainer",
        "volume_claim": "",
        "time_limit_minutes": 90,
        "max_restarts": 0,
        "grace_secs": 30,
    }
    options |= {"gang": True, "queue": "team-queue"}
    job = catalog.make_job(
        engine=engine,
        image="x",
        workers=4,
        train_flags=("--model_dir=gs://b/m", "--data_dir=gs://b/d"),
        **options,
    )
    found = documents(job)
    for document in found:
        assert validate(document) == []
        assert document["metadata"]["namespace"] == "team-a"
        assert document["metadata"]["name"] == "null"
    text = job.render()
    assert text.count("activeDeadlineSeconds: 5400") == (2 if engine == "jobset" else 1)
    assert ("minAvailable" in text) == (engine == "kubeflow")
    assert "serviceAccountName" in text and "persistentVolumeClaim" not in text


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"the schemas are not at {SCHEMAS}")
@pytest.mark.parametrize("engine", ENGINES)
def test_any_misspelt_field_is_noticed(validate, engine):
    """Each field of each file in turn: none is in a part that the schema leaves open."""
    tried = 0
    for document in documents(make(engine, workers=2, time_limit_minutes=5)):
        for path in key_paths(document):
            broken = copy.deepcopy(document)
            parent = broken
            for key in path[:-1]:
                parent = parent[key]
            parent[f"{path[-1]}x"] = parent.pop(path[-1])
            assert validate(broken), path
            tried += 1
    assert tried > 40


def key_paths(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            # What has free names: labels, annotations, resources, and the roles of a TFJob.
            if not {"labels", "annotations", "requests", "limits"} & set(path[-1:]):
                if path[-1:] != ("tfReplicaSpecs",):
                    yield (*path, key)
                yield from key_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from key_paths(inner, (*path, index))


def pods(job):
    """(role or job, number of such pods, pod specification) of each group of equal pods."""
    found = []
    for document in documents(job):
        spec = document["spec"]
        if document["kind"] == "TFJob":
            for role, replica in spec["tfReplicaSpecs"].items():
                found.append((role.lower(), replica["replicas"], replica["template"]["spec"]))
        if document["kind"] == "JobSet":
            for part in spec["replicatedJobs"]:
                inner = part["template"]["spec"]
                assert inner["completions"] == inner["parallelism"]
                found.append((part["name"], inner["completions"], inner["template"]["spec"]))
        if document["kind"] == "TrainingRuntime":
            (part,) = spec["template"]["spec"]["replicatedJobs"]
            found.append((part["name"], None, part["template"]["spec"]["template"]["spec"]))
        if document["kind"] == "TrainJob":
            # Trainer's controller puts what the TrainJob says in the runtime's container.
            ((name, _, pod),) = found
            trainer = spec["trainer"]
            (container,) = pod["containers"]
            container |= {key: trainer[key] for key in ("command", "args")}
            container["resources"] = trainer["resourcesPerNode"]
            found = [(name, trainer["numNodes"], pod)]
    return found


def expanded(argument):
    """What a container gets: $$ is a dollar, $(X) a variable, of which there are none here.

    As k8s.io/kubernetes/third_party/forked/golang/expansion has it.
    """
    text, rest = "", argument
    while "$" in rest:
        before, _, rest = rest.partition("$")
        text += before + "$"
        assert not rest.startswith("("), f"{argument!r} would be expanded"
        rest = rest.removeprefix("$")
    return text + rest


def started(pod):
    """The command line of a pod's process."""
    (container,) = pod["containers"]
    return [*container["command"], *map(expanded, container["args"])]


def test_expansion_is_as_in_kubernetes():
    # The cases of its own test.
    assert expanded("f000-$$-x") == "f000-$-x"
    assert expanded("$$(VAR_A)_$$(VAR_B)") == "$(VAR_A)_$(VAR_B)"
    assert expanded("$") == "$" and expanded("$VAR") == "$VAR" and expanded("$$$$(B)") == "$$(B)"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", HOSTILE)
def test_train_flags_come_through_as_they_were(engine, value):
    train_flags = ("--eval_split=none", f"--data_dir=/data/{value}", "--dataset", "mnist")
    job = make(engine, workers=2, train_flags=train_flags)
    for _, _, pod in pods(job):
        begin = ["python", "-m", "mnist_estimator.train", "--strategy=multi_worker"]
        assert started(pod)[: len(begin)] == begin
        ours = started(pod)[len(begin) :]
        assert tuple(ours[: len(DIRS) + len(train_flags)]) == (*DIRS, *train_flags)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [value for value in HOSTILE if value not in ("--", "")])
def test_a_hostile_model_dir_stays_in_its_place(validate, engine, value):
    train_flags = (f"--model_dir=/data/{value}", DIRS[1])
    job = catalog.make_job(engine=engine, image="x", volume_claim="v", train_flags=train_flags)
    for document in documents(job):
        assert validate(document) == []
    assert [started(pod)[4:6] for _, _, pod in pods(job)] == [list(train_flags)]


def tasks(job):
    """Every process's task, from its arguments and from the environment that its engine gives."""
    groups = pods(job)
    found = []
    for name, count, pod in groups:
        for index in range(count):
            settings = parse(started(pod)[3:])
            if job.engine == "kubeflow":
                environ = tf_config(job, groups, name, index)
            else:
                environ = {"JOB_COMPLETION_INDEX": str(index)}
            fields = ("ps_hosts", "worker_hosts", "chief_hosts", "job_name", "task_index")
            options = {field: settings[field] for field in (*fields, "num_ps", "evaluator")}
            task = cluster.resolve(environ, strategy=settings["strategy"], **options)
            found.append((f"{job.name}-{name}-0-{index}.{job.name}:2222", task))
    return found


def parse(arguments):
    values = flags.FlagValues()
    define_train_flags(values)
    assert values(["train", *arguments]) == ["train"]
    return {name: values[name].value for name in values}


def tf_config(job, groups, role, index):
    """As genTFConfigJSONStr in the operator's pkg/controller.v1/tensorflow/tensorflow.go."""
    if sum(count for _, count, _ in groups) == 1:
        return {}
    hosts = {
        name: [f"{job.name}-{name}-{i}.default.svc:2222" for i in range(count)]
        for name, count, _ in groups
    }
    task = {"type": role, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": hosts, "task": task, "environment": "cloud"})}


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape["gpus"]])
def test_the_tasks_know_who_they_are(shape):
    job = make(**shape)
    found = tasks(job)
    assert len(found) == job.num_tasks
    roles = [task.role for _, task in found]
    wanted = ["chief"] + ["worker"] * (job.workers - 1) + ["ps"] * job.ps
    assert roles == wanted + ["evaluator"] * job.evaluator
    assert [task.is_chief for _, task in found].count(True) == 1
    trainers = [task.trainer for _, task in found if task.role in ("chief", "worker")]
    assert trainers == list(range(job.workers))
    assert all(task.has_evaluator == job.evaluator for _, task in found)
    for address, task in found:
        if job.engine != "kubeflow" and task.jobs and task.role != "evaluator":
            # The pod's own name in the JobSet's network is the address that the others know.
            assert task.jobs[task.role][task.index] == address
            assert {role: len(hosts) for role, hosts in task.jobs.items()} == {
                role: roles.count(role) for role in set(roles) - {"evaluator"}
            }


@pytest.mark.parametrize(
    ("engine", "label"),
    [
        ("kubeflow", "training.kubeflow.org/job-name"),
        ("jobset", "jobset.sigs.k8s.io/jobset-name"),
        ("trainjob", "jobset.sigs.k8s.io/jobset-name"),
    ],
)
def test_only_the_jobs_own_pods_can_connect_to_its_pods(engine, label):
    policy = documents(make(engine, name="digits", namespace="team-a", workers=2))[-1]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["metadata"] == {"name": "digits", "namespace": "team-a"}
    ours = {"podSelector": {"matchLabels": {label: "digits"}}}
    assert policy["spec"] == {**ours, "policyTypes": ["Ingress"], "ingress": [{"from": [ours]}]}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_network_policy_can_be_left_out(engine):
    job = make(engine, workers=2, network_policy=False)
    assert "NetworkPolicy" not in [document["kind"] for document in documents(job)]
    assert "# --nonetwork_policy: every pod" in job.render()
    assert "networkpolicy" not in job.end_command  # Which would be one of the user's own.
    assert ",networkpolicy " in make(engine, workers=2).end_command


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_waits_in_a_queue_of_kueue_where_asked_for(validate, engine):
    kinds = {"kubeflow": "TFJob", "jobset": "JobSet", "trainjob": "TrainJob"}
    for document in documents(make(engine, workers=2, queue="team.a-queue")):
        assert validate(document) == []
        # Kueue manages what has the label: the job, and nothing that belongs to it.
        labels = document["metadata"].get("labels", {})
        expected = "team.a-queue" if document["kind"] == kinds[engine] else None
        assert labels.get("kueue.x-k8s.io/queue-name") == expected
        assert "suspend" not in document["spec"]
    assert "kueue.x-k8s.io" not in make(engine, workers=2).render()


def test_volcano_starts_a_jobset_when_there_is_room_for_all_its_tasks(validate):
    job = make("jobset", workers=4, ps=2, evaluator=True, gang=True, name="digits", namespace="a")
    jobset, group, _ = documents(job)
    assert validate(group) == []
    assert group["metadata"] == {"name": "digits", "namespace": "a"}
    assert group["spec"] == {"minMember": 7}
    for part in jobset["spec"]["replicatedJobs"]:
        template = part["template"]["spec"]["template"]
        assert template["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == "digits"
        assert template["spec"]["schedulerName"] == "volcano"
    assert job.end_command == (
        "kubectl delete jobset,networkpolicy,podgroups.scheduling.volcano.sh digits --namespace=a"
    )


def test_volcano_starts_a_trainjob_when_there_is_room_for_all_its_tasks(validate):
    runtime, _, _ = documents(make("trainjob", workers=4, gang=True))
    assert validate(runtime) == []
    # Trainer makes the PodGroup by this, and puts the annotation on the pods.
    assert runtime["spec"]["podGroupPolicy"] == {"volcano": {}}
    (part,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert part["template"]["spec"]["template"]["spec"]["schedulerName"] == "volcano"


def test_a_tfjob_leaves_the_scheduler_to_the_operator(validate):
    (tfjob, _) = documents(make("kubeflow", workers=4, ps=1, gang=True))
    assert validate(tfjob) == []
    assert tfjob["spec"]["runPolicy"]["schedulingPolicy"] == {"minAvailable": 5}
    assert "schedulerName" not in make("kubeflow", gang=True).render()


@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_gang_no_scheduler_is_named(engine):
    text = make(engine, workers=4).render()
    assert not re.search("^ *(schedulerName|minMember|minAvailable|podGroupPolicy)", text, re.M)
    assert "PodGroup" not in [document["kind"] for document in documents(make(engine))]


def test_other_engines_have_no_network_policy():
    with pytest.raises(InputError, match="--network_policy: found it with --engine=slurm"):
        catalog.make_job(engine="slurm", network_policy=False, train_flags=DIRS)


@pytest.mark.parametrize("engine", ENGINES)
def test_mirrored_on_one_machine_needs_no_addresses(engine):
    job = make(engine, gpus=4, train_flags=("--strategy=mirrored",))
    ((_, task),) = tasks(job)
    assert task.jobs == {} and task.is_chief
    assert "_hosts" not in job.render()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_every_pod_has(engine):
    job = make(engine, workers=2, ps=1, evaluator=True, gpus=2, cpus=3, memory_gb=7, grace_secs=45)
    for name, _, pod in pods(job):
        assert pod["terminationGracePeriodSeconds"] == 45
        (container,) = pod["containers"]
        assert container["image"] == "registry.example/mnist:1"
        assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
        assert pod["volumes"] == [
            {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}
        ]
        wanted = {"cpu": 3, "memory": "7Gi"}
        if name in ("chief", "worker", "node"):
            wanted["nvidia.com/gpu"] = 2
        assert container["resources"] == {"requests": wanted, "limits": wanted}


@pytest.mark.parametrize("engine", ENGINES)
def test_secrets_are_named_and_no_volume_is_needed(validate, engine, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    job = catalog.make_job(
        engine=engine,
        image="x",
        workers=2,
        ps=1,
        secrets="aws,more.2",
        train_flags=("--model_dir=s3://b/m", "--data_dir=s3://b/d"),
    )
    for document in documents(job):
        assert validate(document) == []
    for _, _, pod in pods(job):
        (container,) = pod["containers"]
        names = [{"secretRef": {"name": name}} for name in ("aws", "more.2")]
        assert container["envFrom"] == names and "env" not in container
        assert pod["volumes"] == [] and container["volumeMounts"] == []
    assert "do-not-tell" not in job.render()


@pytest.mark.parametrize("scheme", ["memory", "ram", "file"])
def test_what_only_one_machine_sees_is_not_remote(scheme):
    flags = (f"--model_dir={scheme}://a/b",)
    with pytest.raises(InputError, match=f"--model_dir: found '{scheme}://a/b', expected gs://"):
        make("jobset", train_flags=flags).render()


def test_kubeflow_starts_again_by_exit_code():
    document = documents(make(workers=2, ps=1, max_restarts=4))[0]
    spec = document["spec"]
    assert spec["successPolicy"] == ""
    assert spec["runPolicy"] == {"cleanPodPolicy": "None", "backoffLimit": 4}
    for replica in spec["tfReplicaSpecs"].values():
        assert replica["restartPolicy"] == "ExitCode"
        (container,) = replica["template"]["spec"]["containers"]
        # The names by which the operator finds them, and so the port in TF_CONFIG.
        assert container["name"] == "tensorflow"
        assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]


def policies(job):
    """The JobSet's failure policy, and of each of its Jobs the pod failure policy and the rest."""
    document = documents(job)[0]
    spec = document["spec"]
    if document["kind"] == "TrainingRuntime":
        spec = spec["template"]["spec"]
    inner = [part["template"]["spec"] for part in spec["replicatedJobs"]]
    return spec["failurePolicy"], [(i["podFailurePolicy"]["rules"], i) for i in inner]


def job_failure(rules, container, exit_code, *, disrupted=False):
    """The message by which a Job fails, None if it starts the pod again.

    As matchPodFailurePolicy in Kubernetes' pkg/controller/job/pod_failure_policy.go.
    """
    for index, rule in enumerate(rules):
        assert rule["action"] == "FailJob"
        if "onExitCodes" in rule:
            on = rule["onExitCodes"]
            assert on["containerName"] == container
            if (exit_code in on["values"]) == (on["operator"] == "In"):
                return f"Container x for pod a/b failed with exit code {exit_code} matching " + (
                    f"FailJob rule at index {index}"
                )
        elif disrupted:
            (condition,) = rule["onPodConditions"]
            return (
                f"Pod a/b has condition {condition['type']} matching FailJob rule at index {index}"
            )
    return None


def jobset_action(policy, reason, message):
    """As ruleIsApplicable and the default in JobSet's pkg/controllers/failure_policy.go."""
    for rule in policy["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(p, message) for p in patterns):
            return rule["action"]
    return "RestartJobSet"


@pytest.mark.parametrize("engine", ["jobset", "trainjob"])
@pytest.mark.parametrize(
    ("exit_code", "disrupted", "action"),
    [
        (1, False, "FailJobSet"),
        (2, False, "FailJobSet"),
        (127, False, "FailJobSet"),
        (128, False, "RestartJobSet"),
        (130, False, "RestartJobSet"),
        (137, False, "RestartJobSet"),
        (143, False, "RestartJobSet"),
        (255, False, "RestartJobSet"),
        (143, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (138, False, None),
    ],
)
def test_what_a_jobset_does_after_an_exit_code(engine, exit_code, disrupted, action):
    policy, inner = policies(make(engine, workers=3, ps=2, evaluator=True, max_restarts=7))
    assert policy["maxRestarts"] == 7 and policy["restartStrategy"] == "BlockingRecreate"
    for rules, job in inner:
        (container,) = job["template"]["spec"]["containers"]
        message = job_failure(rules, container["name"], exit_code, disrupted=disrupted)
        assert (
            job["template"]["spec"]["restartPolicy"] == "Never"
        )  # A podFailurePolicy asks for it.
        if action is None:
            assert message is None
        else:
            assert jobset_action(policy, "PodFailurePolicy", message) == action


@pytest.mark.parametrize("engine", ["jobset", "trainjob"])
def test_a_lost_peer_is_waited_for_only_so_often(engine):
    policy, inner = policies(make(engine, workers=4, max_restarts=7))
    limits = [job["backoffLimit"] for _, job in inner]
    assert limits == ([7, 21] if engine == "jobset" else [28])
    assert jobset_action(policy, "BackoffLimitExceeded", "too often") == "FailJobSet"
    assert jobset_action(policy, "DeadlineExceeded", "too long") == "FailJobSet"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image": ""}, "--image: found nothing, --engine=jobset needs it"),
        ({"namespace": "Team A"}, "--namespace: found 'Team A', expected a name of Kubernetes"),
        ({"volume_claim": "a/b"}, "--volume_claim: found 'a/b', expected a name of Kubernetes"),
        ({"secrets": "a, b"}, "--secrets: found ' b', expected a name of Kubernetes"),
        ({"secrets": "A=1"}, "--secrets: found 'A=1', expected a name of Kubernetes"),
        ({"service_account": "-a"}, "--service_account: found '-a', expected a name"),
        ({"queue": "My queue"}, "--queue: found 'My queue', expected a name of Kubernetes"),
        ({"mount": "data"}, "--mount: found 'data', expected an absolute folder"),
        ({"mount": "/"}, "--mount: found '/', expected an absolute folder"),
        ({"mount": "/a:b"}, "--mount: found '/a:b', expected an absolute folder"),
        ({"volume_claim": ""}, "--model_dir: found '/data/mod1', expected gs://.* --volume_claim"),
        ({"mount": "/dat"}, "--model_dir: found '/data/mod1', expected .*below /dat, with"),
        (
            {"train_flags": ("--model_dir=/data/../tmp",)},
            "--model_dir: found '/data/../tmp', expected",
        ),
        ({"train_flags": ("--model_dir=tboard/mod1",)}, "--model_dir: found 'tboard/mod1', exp"),
        ({"train_flags": ("--data_dir=",)}, "--data_dir: found 'data/mnist', expected gs://"),
    ],
)
def test_what_kubernetes_cannot_do_is_one_line(options, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make("jobset", **options).render()
    assert "\n" not in str(error.value)
