"""Vertex AI's job file: held against its client's own message types, and read back."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import yaml

from mnist_estimator import InputError
from mnist_estimator.engines import catalog

DIRS = ("--model_dir=gs://bucket/run", "--data_dir=/gcs/bucket/data")
TENSORBOARD = "projects/1/locations/us-central1/tensorboards/3"
HOSTILE = (
    "it's",
    'say "x"',
    "$HOME `id` ${X} $",
    "a\nb\tc",
    "zwölf 数 😀",
    "#no comment",
    "back\\slash\\n",
    ": - ? !x &y *z %",
    "\x85\u2028\ufeff\x7f",
)


def make(**options):
    options = {"image": "eu.gcr.io/p/mnist:1", "region": "us-central1"} | options
    train_flags = options.pop("train_flags", ())
    return catalog.make_job(engine="vertex", train_flags=(*DIRS, *train_flags), **options)


def spec(job):
    return yaml.safe_load(job.render())


def pools(job):
    return spec(job)["workerPoolSpecs"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"workers": 5, "gpus": 2, "time_limit_minutes": 90},
        {"workers": 3, "ps": 2, "spot": True, "max_restarts": 0, "service_account": "a@b.c"},
        {"workers": 2, "image": "us-docker.pkg.dev/i:1", "package": "gs://bucket/p.tar.gz"},
        {
            "tensorboard": TENSORBOARD,
            "service_account": "a@b.c",
            "train_flags": ("--model_dir=gs://bucket/run/logs",),
        },
    ],
)
def test_it_is_a_custom_job_spec(options):
    types = pytest.importorskip("google.cloud.aiplatform_v1.types", reason="no Vertex AI client")
    from google.protobuf import json_format

    read = types.CustomJobSpec.pb(types.CustomJobSpec())
    json_format.ParseDict(spec(make(**options)), read, ignore_unknown_fields=False)
    assert read.worker_pool_specs[0].replica_count == 1
    # Strict: a field of another name is an error.
    with pytest.raises(json_format.ParseError, match="replicas"):
        json_format.ParseDict({"workerPoolSpecs": [{"replicas": 1}]}, read)


def test_pools_have_the_places_of_their_roles():
    found = pools(make(workers=4, ps=2, gpus=1))
    assert [pool["replicaCount"] for pool in found] == [1, 3, 2]
    assert [pool["containerSpec"] for pool in found[1:]] == [found[0]["containerSpec"]] * 2
    machines = [pool["machineSpec"] for pool in found]
    gpu = {"acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}
    assert machines[0] == machines[1] == {"machineType": "n1-standard-4"} | gpu
    assert machines[2] == {"machineType": "n1-standard-4"}
    assert [pool["replicaCount"] for pool in pools(make(workers=2))] == [1, 1]


@pytest.mark.parametrize(
    ("needs", "machine"),
    [
        ({}, "n1-standard-4"),
        ({"cpus": 5}, "n1-standard-8"),
        ({"memory_gb": 16}, "n1-standard-8"),
        ({"machine_type": "c3-standard-8"}, "c3-standard-8"),
    ],
)
def test_the_machine_has_what_a_task_gets(needs, machine):
    assert pools(make(**needs))[0]["machineSpec"] == {"machineType": machine}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {"strategy": "STANDARD", "restartJobOnWorkerRestart": True, "disableRetries": False}),
        (
            {"workers": 2, "ps": 1, "spot": True, "max_restarts": 0, "time_limit_minutes": 2},
            {
                "strategy": "SPOT",
                "restartJobOnWorkerRestart": False,
                "disableRetries": True,
                "timeout": "120s",
            },
        ),
    ],
)
def test_how_it_ends_and_begins_again(options, wanted):
    assert spec(make(**options))["scheduling"] == wanted


@pytest.mark.parametrize(
    ("model_dir", "base"),
    [
        ("gs://bucket/run", "gs://bucket/run"),
        ("gs://bucket/run/logs/", "gs://bucket/run"),
        ("/gcs/bucket/run/logs", "gs://bucket/run"),
        ("gs://bucket", "gs://bucket"),
    ],
)
def test_the_output_folder_is_where_tensorboard_finds_the_model_dir(model_dir, base):
    found = spec(make(train_flags=(f"--model_dir={model_dir}",)))
    assert found["baseOutputDirectory"] == {"outputUriPrefix": base}


def test_the_package_is_run_by_an_image_of_vertex_ai():
    (pool,) = pools(make(package="gs://bucket/mnist.tar.gz", train_flags=("--seed=3",)))
    assert pool["pythonPackageSpec"] == {
        "executorImageUri": "eu.gcr.io/p/mnist:1",
        "packageUris": ["gs://bucket/mnist.tar.gz"],
        "pythonModule": "mnist_estimator.train",
        "args": ["--strategy=none", *DIRS, "--seed=3"],
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_train_flags_come_through_as_they_were(value):
    flags = (f"--model_dir=gs://bucket/{value}", f"--data_dir=gs://bucket/{value}")
    for kind, package in (("containerSpec", ""), ("pythonPackageSpec", "gs://bucket/p.tar.gz")):
        for pool in pools(make(workers=2, ps=1, package=package, train_flags=flags)):
            assert pool[kind]["args"][-2:] == list(flags)


@pytest.mark.parametrize("value", HOSTILE)
def test_what_the_shell_of_the_task_starts_is_the_command(value):
    container = pools(make(train_flags=(f"--model_dir=gs://bucket/{value}",)))[0]["containerSpec"]
    assert container["args"][:3] == ["python", "-m", "mnist_estimator.train"]
    show = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *container["args"]]
    done = subprocess.run(
        [*container["command"], *show], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"{container['args']}\n")


@pytest.mark.parametrize(
    ("code", "seen"), [(0, 0), (1, 1), (2, 2), (127, 127), (138, 134), (143, 134)]
)
def test_codes_that_are_worth_another_try_become_the_one_that_vertex_ai_tries_again(code, seen):
    command = pools(make())[0]["containerSpec"]["command"]
    done = subprocess.run(
        [*command, sys.executable, "-c", f"import sys; sys.exit({code})"], timeout=60
    )
    assert done.returncode == seen


def test_the_task_saves_before_its_shell_ends():
    command = pools(make())[0]["containerSpec"]["command"]
    program = """if True:
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print("ready", flush=True)
        signal.sigwait([signal.SIGTERM])
        print("saved", flush=True)
        sys.exit(143)
    """
    task = [*command, sys.executable, "-c", program]
    with subprocess.Popen(task, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "saved\n"
    assert process.returncode == 134


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image": ""}, "--image: found nothing"),
        ({"region": ""}, "--region: found nothing"),
        ({"region": "x y"}, "--region: found 'x y'"),
        ({"evaluator": True}, "--evaluator: found it .* the chief evaluates"),
        ({"ps": 1}, "--workers: found 1 with --ps"),
        ({"package": "x.tar.gz"}, "--package: found 'x.tar.gz'"),
        ({"train_flags": ("--model_dir=/tmp/x",)}, "--model_dir: found '/tmp/x', expected gs://"),
        ({"workers": 2, "train_flags": ("--data_dir=d",)}, "--data_dir: found 'd', expected gs://"),
        ({"train_flags": ("--model_dir=gs://b/$(X)",)}, r"train flags: found .*\$\(X"),
        ({"train_flags": ("--model_dir=gs://b/$$",)}, r"expected no \$\( and no \$\$"),
        ({"tensorboard": TENSORBOARD}, "--tensorboard: found it .* a folder named logs"),
        (
            {"tensorboard": TENSORBOARD, "train_flags": ("--model_dir=gs://b/logs",)},
            "--service_account: found nothing",
        ),
        ({"memory_gb": 1000}, "--machine_type: found none with --cpus=2 and --memory_gb=1000"),
        ({"grace_secs": 100}, "--grace_secs: found it with --engine=vertex"),
    ],
)
def test_what_vertex_ai_cannot_do_is_one_line(options, named):
    with pytest.raises(InputError, match=named) as caught:
        make(**options).render()
    assert len(str(caught.value).splitlines()) == 1


def test_the_client_gets_the_region_the_name_and_the_file():
    create = ["gcloud", "ai", "custom-jobs", "create"]
    options = ["--region=us-central1", "--display-name=mnist", "--config=/x/mnist.yaml"]
    assert make().command("/x/mnist.yaml") == [*create, *options]
