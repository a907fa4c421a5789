"""SageMaker's job file: held against botocore's model of the service, and read back."""

from __future__ import annotations

import re

import pytest
import yaml

from mnist_estimator import InputError
from mnist_estimator.engines import catalog, sagemaker

ALONE = ("--model_dir=/opt/ml/checkpoints/run",)
SHARED = ("--model_dir=/opt/ml/input/data/shared/run", "--data_dir=/opt/ml/input/data/shared/d")
FILE_SYSTEM = {
    "file_system": "efs:fs-0123456789abcdef0:/mnist",
    "subnets": "subnet-1,subnet-2",
    "security_groups": "sg-1",
}
HOSTILE = (
    "it's",
    'say "x"',
    "$HOME $(HOME) $$ $",
    "a\tc",
    "zwölf 数 😀",
    "#no comment",
    "back\\slash\\n",
    ": - ? !x &y *z % {0} {x}",
    "\ufeff\x7f",
)


def make(train_flags=(), **options):
    options = {
        "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mnist:1",
        "role": "arn:aws:iam::123456789012:role/train",
        "s3_dir": "s3://bucket/mnist",
    } | options
    dirs = SHARED if options.get("file_system") else ALONE
    return catalog.make_job(engine="sagemaker", train_flags=(*dirs, *train_flags), **options)


def cluster(**options):
    return make(**FILE_SYSTEM | {"workers": 4} | options)


def request(job):
    return yaml.safe_load(job.render())


def problems(found):
    """What botocore finds wrong with a request before it sends it; unknown names included."""
    session = pytest.importorskip("botocore.session", reason="no AWS client")
    from botocore.validate import ParamValidator

    model = session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    return ParamValidator().validate(found, shape).generate_report() + patterns(found, shape)


def patterns(found, shape):
    """What does not match the model's patterns and choices, which only the service checks."""
    if shape.type_name == "structure":
        pairs = [(found[name], shape.members[name]) for name in found if name in shape.members]
    elif shape.type_name == "list":
        pairs = [(item, shape.member) for item in found]
    elif shape.type_name == "string":
        matches = re.fullmatch(shape.metadata.get("pattern", ".*"), found)
        known = found in shape.metadata.get("enum", [found])
        return "" if matches and known else f"{shape.name}: {found!r}\n"
    else:
        return ""
    return "".join(patterns(item, of) for item, of in pairs)


@pytest.mark.parametrize(
    "job",
    [
        make(),
        make(spot=True, time_limit_minutes=90, max_restarts=0),
        make(gpus=1, machine_type="ml.g4dn.xlarge"),
        cluster(),
        cluster(ps=2, evaluator=True, spot=True),
        cluster(file_system="fsx:fs-01234567:/abcd/mnist"),
    ],
    ids=["alone", "spot", "gpu", "cluster", "ps", "fsx"],
)
def test_it_is_a_request_of_sagemaker(job):
    assert problems(request(job)) == ""


@pytest.mark.parametrize("machine", sagemaker.MACHINES)
def test_the_machines_are_sagemakers(machine):
    assert problems(request(make(machine_type=machine))) == ""


def test_the_check_is_strict():
    found = request(make())
    found["ResourceConfig"]["Instances"] = 1
    found["StoppingCondition"]["MaxRuntimeInSeconds"] = "1"
    found["ResourceConfig"]["InstanceType"] = "ml.m5.tiny"
    report = problems(found)
    assert "Instances" in report and "MaxRuntimeInSeconds" in report and "ml.m5.tiny" in report


def test_a_task_on_its_own_has_its_checkpoints_kept_on_s3():
    found = request(make())
    assert found["CheckpointConfig"] == {
        "LocalPath": "/opt/ml/checkpoints",
        "S3Uri": "s3://bucket/mnist/checkpoints",
    }
    assert found["ResourceConfig"]["InstanceCount"] == 1
    assert not {"InputDataConfig", "VpcConfig", "TensorBoardOutputConfig"} & set(found)


def test_a_cluster_shares_a_file_system():
    found = request(cluster(ps=2, evaluator=True))
    assert found["ResourceConfig"] == {
        "InstanceCount": 7,
        "InstanceType": "ml.m5.large",
        "VolumeSizeInGB": 30,
    }
    (channel,) = found["InputDataConfig"]
    assert channel["DataSource"]["FileSystemDataSource"] == {
        "FileSystemId": "fs-0123456789abcdef0",
        "FileSystemType": "EFS",
        "FileSystemAccessMode": "rw",
        "DirectoryPath": "/mnist",
    }
    assert f"/opt/ml/input/data/{channel['ChannelName']}" == sagemaker.MOUNT
    subnets = ["subnet-1", "subnet-2"]
    assert found["VpcConfig"] == {"Subnets": subnets, "SecurityGroupIds": ["sg-1"]}
    assert found["TensorBoardOutputConfig"] == {
        "LocalPath": "/opt/ml/input/data/shared/run",
        "S3OutputPath": "s3://bucket/mnist/tensorboard",
    }
    assert "CheckpointConfig" not in found


def test_on_an_object_store_the_tasks_share_nothing_else():
    flags = ("--model_dir=s3://b/run", "--data_dir=s3://b/d")
    for job in (make(train_flags=flags[:1]), make(train_flags=flags, workers=4)):
        found = request(job)
        assert not problems(found)
        assert not {"CheckpointConfig", "InputDataConfig", "VpcConfig"} & set(found)
        assert "tensorboard.main --logdir=s3://b/run" in job.render()
    with pytest.raises(InputError, match="--file_system: found nothing.*on s3://"):
        make(train_flags=flags[:1], workers=4).render()  # Each would fetch the data on its own.


def test_hosts_know_their_roles_by_their_numbers():
    found = request(cluster(ps=2, evaluator=True))["AlgorithmSpecification"]
    assert found["ContainerEntrypoint"] == ["python", "-m", "mnist_estimator.train"]
    wanted = ["--strategy=ps", *SHARED, "--num_ps=2", "--evaluator"]
    assert found["ContainerArguments"] == wanted


def test_how_it_ends_and_begins_again():
    found = request(make())
    assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert found["RetryStrategy"] == {"MaximumRetryAttempts": 10}
    assert found["EnableManagedSpotTraining"] is False
    found = request(make(spot=True, time_limit_minutes=2, max_restarts=0))
    wanted = {"MaxRuntimeInSeconds": 120, "MaxWaitTimeInSeconds": 240}
    assert found["StoppingCondition"] == wanted
    assert found["EnableManagedSpotTraining"] is True
    assert "RetryStrategy" not in found
    assert request(make(max_restarts=99))["RetryStrategy"] == {"MaximumRetryAttempts": 30}


@pytest.mark.parametrize("value", HOSTILE)
def test_train_flags_come_through_as_they_were(value):
    flags = [f"{flag}/{value}" for flag in SHARED]
    found = request(cluster(train_flags=flags, s3_dir="s3://bucket/{x}"))
    assert found["AlgorithmSpecification"]["ContainerArguments"][-2:] == flags
    assert problems(found) == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image": ""}, "--image: found nothing"),
        ({"role": ""}, "--role: found nothing"),
        ({"role": "me"}, "--role: found 'me'"),
        ({"s3_dir": ""}, "--s3_dir: found nothing"),
        ({"s3_dir": "gs://x"}, "--s3_dir: found 'gs://x'"),
        ({"gpus": 1}, "--machine_type: found nothing with --gpus"),
        ({"workers": 2}, "--file_system: found nothing with 2 tasks"),
        ({"evaluator": True}, "--file_system: found nothing with 2 tasks"),
        ({"train_flags": ["--model_dir=/tmp/x"]}, "--model_dir: found '/tmp/x', expected .* below"),
        ({"train_flags": ["--model_dir=/opt/ml/checkpoints2"]}, "--model_dir: found"),
        (FILE_SYSTEM | {"file_system": "efs:x"}, "--file_system: found 'efs:x'"),
        (FILE_SYSTEM | {"subnets": ""}, "--subnets: found nothing"),
        (FILE_SYSTEM | {"security_groups": ""}, "--security_groups: found nothing"),
        (FILE_SYSTEM | {"workers": 2, "train_flags": ["--data_dir=/d"]}, "--data_dir: found '/d'"),
        ({"train_flags": ["--data_dir=a\nb"]}, "train flags: found .* without a line end"),
        ({"train_flags": ["--data_dir=" + "x" * 250]}, "train flags: found .* of 261 characters"),
        ({"train_flags": ["--seed=1"] * 100}, "train flags: found 102, SageMaker takes 100"),
    ],
)
def test_what_sagemaker_cannot_do_is_one_line(options, named):
    with pytest.raises(InputError, match=named) as caught:
        make(**options).render()
    assert len(str(caught.value).splitlines()) == 1


def test_each_submission_has_a_name_of_its_own():
    job = make(region="eu-west-1", name="a" * 40)
    *create, name, region = job.command("/x/mnist.yaml")
    assert create == [
        *("aws", "sagemaker", "create-training-job", "--cli-input-yaml=file:///x/mnist.yaml")
    ]
    assert re.fullmatch(r"--training-job-name=a{40}-\d{8}-\d{6}", name)
    assert region == "--region=eu-west-1"
    assert len(name.partition("=")[2]) <= 63
    assert not any("region" in part for part in make().command("x"))
