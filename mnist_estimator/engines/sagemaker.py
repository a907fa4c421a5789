"""SageMaker: a job is a CreateTrainingJob request in YAML that the AWS client submits.

Facts are from SageMaker's API reference (CreateTrainingJob, CheckpointConfig, StoppingCondition,
RetryStrategy, FileSystemDataSource) and botocore's model of that service.
"""

from __future__ import annotations

import dataclasses
import datetime
import re

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, rendering
from mnist_estimator.runtime.flag_fields import setting

# SageMaker copies this folder to S3 while the task runs, and back before it starts again.
CHECKPOINTS = "/opt/ml/checkpoints"
# SageMaker mounts an input channel of this name here.
_CHANNEL = "shared"
MOUNT = f"/opt/ml/input/data/{_CHANNEL}"

_SIZES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "12xlarge": 48, "24xlarge": 96}
MACHINES = {f"ml.m5.{size}": (cores, 4 * cores) for size, cores in _SIZES.items()}
_DAY_SECS = 24 * 60 * 60  # SageMaker's own limit of a job's time, if none is given.
_MAX_RETRIES = 30
_MAX_ARGUMENTS, _MAX_CHARACTERS = 100, 256

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[\w+=,.@/-]+", re.ASCII)
_S3 = re.compile(r"s3://[^/]+(/.*)?")
_FILE_SYSTEM = re.compile(r"(?P<kind>efs|fsx):(?P<id>fs-[0-9a-f]{8,}):(?P<path>/.*)")

_CHECKPOINT_CONFIG = """\
# The folder of --model_dir: checkpoints, status.json, the result metrics.json and TensorBoard's
# events. SageMaker copies what is new to S3 while the task runs, and back before it starts again.
# Watch with
#   aws s3 sync {watched} tboard && tensorboard --logdir=tboard
CheckpointConfig:
  LocalPath: {checkpoints}
  S3Uri: {checkpoints_s3}"""

_IN_STORE = """\
# --model_dir is on an object store. The tasks write there themselves, as RoleArn may: SageMaker
# copies nothing, so there is no CheckpointConfig. The image needs the package's extra: storage.
# Watch with
#   python -m tensorboard.main --logdir={model_dir}"""

_FILE_SYSTEM_CONFIG = """\
# The folder that all tasks mount, for --model_dir and --data_dir. Checkpoints stay there.
InputDataConfig:
- ChannelName: {channel}
  DataSource:
    FileSystemDataSource:
      FileSystemId: {id}
      FileSystemType: {kind}
      FileSystemAccessMode: rw
      DirectoryPath: {path}
# The network in which the file system is; its security group has to let the tasks talk with one
# another and with the file system.
VpcConfig:
  Subnets: {subnets}
  SecurityGroupIds: {security_groups}
# SageMaker copies the folder of --model_dir to S3 as well, for its own TensorBoard. Or watch with
#   aws s3 sync {watched} tboard && tensorboard --logdir=tboard
TensorBoardOutputConfig:
  LocalPath: {model_dir}
  S3OutputPath: {tensorboard_s3}"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SageMakerJob(jobs.CloudJob):
    """A job of SageMaker, which is a CreateTrainingJob request."""

    engine = "sagemaker"
    template = "sagemaker.yaml"

    role: str = setting("", "ARN of the IAM role that the tasks run as.", heading="SageMaker")
    s3_dir: str = setting(
        "",
        "Folder on S3 for the checkpoints of a job of one task, and for TensorBoard's events of "
        "others: s3://BUCKET/FOLDER.",
    )
    file_system: str = setting(
        "",
        "Folder that all tasks mount, as efs:fs-ID:/FOLDER or fsx:fs-ID:/MOUNTNAME/FOLDER; with "
        "--subnets and --security_groups.",
    )
    subnets: str = setting("", "Subnets of the tasks, with commas between.")
    security_groups: str = setting("", "Security groups of the tasks, with commas between.")

    def render(self) -> str:
        _check(self)
        quoted = rendering.yaml_quoted
        seconds = self.time_limit_minutes * 60 or _DAY_SECS
        retries = min(self.max_restarts, _MAX_RETRIES)
        return rendering.render(
            self.template,
            name=self.name,
            role=quoted(self.role),
            image=quoted(self.image),
            roles=self.roles,
            entrypoint=quoted(self.train_command[:3]),
            arguments="\n".join(f"  - {quoted(argument)}" for argument in _arguments(self)),
            num_tasks=self.num_tasks,
            instance_type=quoted(self.machine_type or self.smallest_machine(MACHINES)),
            storage=_storage(self),
            output=quoted(f"{_s3_dir(self)}/output"),
            runtime_secs=seconds,
            wait_secs=f"{'' if self.spot else '# '}MaxWaitTimeInSeconds: {2 * seconds}",
            spot=quoted(self.spot),
            retries=f"RetryStrategy: {{MaximumRetryAttempts: {retries}}}"
            if retries
            else "# RetryStrategy:",
        )

    def command(self, path: str) -> list[str]:
        # SageMaker takes every name of a job once.
        now = datetime.datetime.now(datetime.timezone.utc)
        create = ["aws", "sagemaker", "create-training-job", f"--cli-input-yaml=file://{path}"]
        create.append(f"--training-job-name={self.name}-{now:%Y%m%d-%H%M%S}")
        if self.region:
            create.append(f"--region={self.region}")
        return create

    @property
    def watch_command(self) -> str:
        return (
            f"aws sagemaker list-training-jobs --name-contains={self.name}"
            f"{jobs.option('region', self.region)}"
        )

    @property
    def end_command(self) -> str:
        return (
            "aws sagemaker stop-training-job --training-job-name=JOB"
            f"{jobs.option('region', self.region)}"
        )


def _check(job: SageMakerJob) -> None:
    job.require("image", "role", "s3_dir")
    if not _ROLE.fullmatch(job.role):
        raise InputError(
            f"--role: found {job.role!r}, expected an ARN as arn:aws:iam::ACCOUNT:role/NAME"
        )
    if not _S3.fullmatch(job.s3_dir):
        raise InputError(f"--s3_dir: found {job.s3_dir!r}, expected s3://BUCKET/FOLDER")
    if job.gpus and not job.machine_type:
        raise InputError(
            "--machine_type: found nothing with --gpus, expected SageMaker's name of a machine "
            "with so many, as ml.g4dn.xlarge"
        )
    _check_storage(job)
    if len(_arguments(job)) > _MAX_ARGUMENTS:
        raise InputError(
            f"train flags: found {len(_arguments(job))}, SageMaker takes {_MAX_ARGUMENTS}"
        )
    for argument in _arguments(job):
        if len(argument) > _MAX_CHARACTERS or len(argument.splitlines()) > 1:
            raise InputError(
                f"train flags: found {argument[:60]!r}, of {len(argument)} characters; SageMaker "
                f"takes {_MAX_CHARACTERS} characters without a line end"
            )


def _check_storage(job: SageMakerJob) -> None:
    if _is_in_store(job):
        return
    if job.num_tasks > 1 and not job.file_system:
        raise InputError(
            f"--file_system: found nothing with {job.num_tasks} tasks, expected "
            "efs:fs-ID:/FOLDER or fsx:fs-ID:/MOUNTNAME/FOLDER: SageMaker's hosts share no other "
            "folder, and all tasks must see --model_dir; or --model_dir and --data_dir on s3://"
        )
    folder = MOUNT if job.file_system else CHECKPOINTS
    names = ["model_dir", "data_dir"] if job.num_tasks > 1 else ["model_dir"]
    for name in names:
        if not f"{getattr(job, name)}/".startswith(f"{folder}/"):
            raise InputError(
                f"train flag --{name}: found {getattr(job, name)!r}, expected a folder below "
                f"{folder}, which {'all tasks see' if job.file_system else 'SageMaker keeps'}"
            )
    if job.file_system:
        job.require("subnets", "security_groups")
        if not _FILE_SYSTEM.fullmatch(job.file_system):
            raise InputError(
                f"--file_system: found {job.file_system!r}, expected efs:fs-ID:/FOLDER or "
                "fsx:fs-ID:/MOUNTNAME/FOLDER"
            )


def _arguments(job: SageMakerJob) -> list[str]:
    return [*job.train_command[3:], *job.rank_flags]


def _s3_dir(job: SageMakerJob) -> str:
    return job.s3_dir.rstrip("/")


def _is_in_store(job: SageMakerJob) -> bool:
    """Whether the tasks read and write an object store themselves, and share nothing else."""
    folders = [job.model_dir] + ([job.data_dir] if job.num_tasks > 1 else [])
    return not job.file_system and all(map(jobs.is_remote, folders))


def _storage(job: SageMakerJob) -> str:
    if _is_in_store(job):
        return _IN_STORE.format(model_dir=rendering.in_comment(job.model_dir))
    return _file_system(job) if job.file_system else _checkpoints(job)


def _checkpoints(job: SageMakerJob) -> str:
    return _CHECKPOINT_CONFIG.format(
        watched=rendering.in_comment(f"{_s3_dir(job)}/checkpoints"),
        checkpoints=CHECKPOINTS,
        checkpoints_s3=rendering.yaml_quoted(f"{_s3_dir(job)}/checkpoints"),
    )


def _file_system(job: SageMakerJob) -> str:
    found = _FILE_SYSTEM.fullmatch(job.file_system)
    return _FILE_SYSTEM_CONFIG.format(
        channel=_CHANNEL,
        id=found["id"],
        kind={"efs": "EFS", "fsx": "FSxLustre"}[found["kind"]],
        path=rendering.yaml_quoted(found["path"]),
        subnets=rendering.yaml_quoted(job.subnets.split(",")),
        security_groups=rendering.yaml_quoted(job.security_groups.split(",")),
        watched=rendering.in_comment(f"{_s3_dir(job)}/tensorboard"),
        model_dir=rendering.yaml_quoted(job.model_dir),
        tensorboard_s3=rendering.yaml_quoted(f"{_s3_dir(job)}/tensorboard"),
    )
