"""Turns flags into one frozen and validated `TrainConfig`, once, where a program starts.

Functions below a command's `main` take plain arguments and read no flags. Nothing here imports
TensorFlow, so that a wrong flag and `--help` are answered at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.data import known_datasets, splits
from mnist_estimator.optimizers import OPTIMIZERS
from mnist_estimator.runtime import flag_fields, help_text

if TYPE_CHECKING:
    from mnist_estimator.data.manifest import Manifest, TrainedOn

MODELS = ("cnn", "softmax", "dnn")
BATCH_NORMS = ("none", "dense", "all")
INITIALIZERS = ("glorot_uniform", "truncated_normal")
SCHEDULES = ("constant", "exponential", "cosine", "one_cycle")
SERVING_PRECISIONS = ("float32", "bfloat16")
PRECISIONS = (*SERVING_PRECISIONS, "auto")
_LEAST_MIXUP = 0.01  # The gamma draws of smaller ones are often too small for a float64.
STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "ps")

# What a flag affects; `flags_affecting` makes lists of them.
PLACE = "place"  # Where the process reads and writes, and which task of its cluster it is.
DATA = "data"  # Which examples there are; `prepare` has these flags too.
NETWORK = "network"  # Which variables there are, and what they mean: a run keeps these flags.
LEARNING = "learning"  # What the weights follow from, beside the network and the data.
ARITHMETIC = "arithmetic"  # The type that the layers compute in.
LENGTH = "length"  # When training ends.
CHECKPOINTS = "checkpoints"  # Which checkpoints are saved and kept.
EVALUATION = "evaluation"  # What is evaluated, and which checkpoint is the best.
EXPORT = "export"  # What is exported.
REPORTING = "reporting"  # What is logged.
MACHINE = "machine"  # How the machine is used.
CLUSTER = "cluster"  # Who trains with whom.
EFFECTS = (
    *(PLACE, DATA, NETWORK, LEARNING, ARITHMETIC, LENGTH, CHECKPOINTS, EVALUATION, EXPORT),
    *(REPORTING, MACHINE, CLUSTER),
)


def _setting(
    affects: str | tuple[str, ...],
    default: Any,
    text: str,
    *,
    heading: str = "",
    report_line: str = "",
    set_by: str = "",
    unrecorded: Any = dataclasses.MISSING,
    **limits: Any,
) -> Any:
    """The value of a field that is a flag.

    Args:
      affects: one or several of `EFFECTS`.
      heading: a title of `--help`, for this flag and those that follow; "": no new one.
      report_line: the line of a report's run panel that shows the value; "": none of its own.
      set_by: what sets the flag in a job that `submit` or `launch` starts: the engine, or one of
        their own flags. It is no train flag of such a job.
      unrecorded: the value that means what was done before there was this flag, for runs whose
        run.json lacks it; without it the default does.
      limits: as for `flag_fields.setting`.
    """
    affects = (affects,) if isinstance(affects, str) else affects
    return flag_fields.setting(
        default,
        text,
        affects=affects,
        heading=heading,
        report_line=report_line,
        set_by=set_by,
        unrecorded=default if unrecorded is dataclasses.MISSING else unrecorded,
        **limits,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All flags of a training run; every field is the flag of the same name.

    Raises:
      InputError: if a value is out of range or contradicts another; the message names the flag.
    """

    model_dir: str = _setting(
        PLACE,
        "tboard/mod1",
        "Folder for checkpoints, TensorBoard events, run.json and metrics.json. Running the same "
        "command again continues from the newest checkpoint here.",
        is_path=True,
        heading="The run",
    )
    data_dir: str = _setting(
        (PLACE, DATA),
        "",
        "Folder with the prepared records, or with the four IDX files, which are then prepared "
        "in place. One with other files is refused. Default: data/DATASET.",
        is_path=True,
        report_line="Data folder",
        heading="The data",
    )
    dataset: str = _setting(
        DATA,
        "",
        "Named dataset to fetch when the data_dir holds none: mnist, fashion_mnist, kmnist, or "
        "sample (5,000 digits that come with the package, no network needed). Default: whatever "
        "the data_dir holds, else mnist.",
        report_line="Data",
    )
    validation_split: str = _setting(
        DATA,
        "auto",
        "Training examples set apart for evaluation while training: a count from the front "
        "(5000), a fraction by seeded shuffle (0.3), 0 for none, or auto: 5000, but a tenth of a "
        "training set smaller than 50,000; from the front of a named dataset, of other data by "
        "seeded shuffle in each class.",
        report_line="Validation",
    )
    shards: int = _setting(
        DATA, 8, "TFRecord files a split is written as.", least=1, most=splits.MAX_SHARDS
    )
    cache_mb: int = _setting(
        LEARNING,
        1024,
        "Hold the training images in memory if they take at most this many MiB. The shuffle then "
        "is over all examples, and a resumed run does not read the earlier batches again. Larger "
        "sets stream from disk.",
    )
    shuffle_buffer: int = _setting(
        LEARNING, 20_000, "Examples in the shuffle buffer of a set that streams.", least=1
    )

    cache_dir: str = _setting(
        PLACE,
        "",
        "Folder on this machine for copies of the shards of a data_dir in an object store. They "
        "are fetched before they are needed, and verified; later runs use them too. Default: "
        "mnist_estimator in $XDG_CACHE_HOME or ~/.cache, else a folder in TMPDIR.",
        is_path=True,
    )
    cache_limit: str = _setting(
        PLACE,
        "",
        "What the copies in --cache_dir may take at most, as 500MB or 20GB; others are removed to "
        "make room. 0: keep none. Default: 20GB, or half of what the disk has free if that is "
        "less.",
    )

    model: str = _setting(
        NETWORK,
        "cnn",
        "Network to train: cnn (two convolutions and a dense layer), softmax (softmax regression), "
        "dnn (dense layers), or a function of yours, as my_module:my_network.",
        report_line="Model",
        heading="The network",
    )
    hidden_units: str = _setting(
        NETWORK, "256,128", "Units of each of the dnn's hidden layers.", report_line="Model"
    )
    dropout_rate: float = _setting(
        LEARNING, 0.4, "Fraction of the units of the dense hidden layers dropped in training."
    )
    batch_norm: str = _setting(
        NETWORK,
        "none",
        "Normalize by the mean and variance of the batch: the dense hidden layers, or all layers "
        "but the last.",
        choices=BATCH_NORMS,
    )
    pixel_max: float = _setting(
        NETWORK, 1.0, "What the network gets for the brightest pixel, 255; 0 stays 0."
    )
    initializer: str = _setting(
        LEARNING,
        "glorot_uniform",
        "How the weights start; softmax starts at zero.",
        choices=INITIALIZERS,
    )
    initial_stddev: float = _setting(
        LEARNING, 0.1, "Standard deviation of --initializer=truncated_normal."
    )
    initial_bias: float = _setting(LEARNING, 0.0, "What the biases start at.", least=-(2**31))
    precision: str = _setting(
        ARITHMETIC,
        "auto",
        "Arithmetic of the network's layers. Weights, loss and metrics are always float32. auto: "
        "bfloat16 where the processor computes in it, else float32.",
        choices=PRECISIONS,
        report_line="Computed in",
    )

    serving_precision: str = _setting(
        (ARITHMETIC, EXPORT),
        "float32",
        "Arithmetic of the layers in exported models, and for predict: other machines may lack "
        "the one that trains.",
        choices=SERVING_PRECISIONS,
    )

    max_steps: int = _setting(
        LENGTH,
        5000,
        "Train until this global step.",
        least=1,
        report_line="Steps",
        heading="The training",
    )
    batch_size: int = _setting(
        LEARNING,
        100,
        "Examples a step, over all workers together (with --strategy=ps: a worker's step).",
        least=1,
        report_line="Batch size",
    )
    optimizer: str = _setting(
        LEARNING,
        "adam",
        "How gradients change the weights.",
        choices=OPTIMIZERS,
        report_line="Optimizer",
    )
    loss_reduction: str = _setting(
        LEARNING,
        "mean",
        "Loss that is minimized: the mean over the examples of a batch, or their sum. Evaluations "
        "always give the mean.",
        choices=("mean", "sum"),
    )
    learning_rate: float = _setting(
        LEARNING, 0.001, "Peak learning rate.", report_line="Learning rate"
    )
    schedule: str = _setting(
        LEARNING,
        "cosine",
        "Course of the learning rate after the warm-up: constant, exponential (times decay_rate "
        "every decay_steps), cosine (to 0 at decay_steps), one_cycle (up from a 25th of the peak, "
        "then down to 0 at decay_steps, both as a cosine; without --warmup_steps the way up takes "
        "0.3 of the steps).",
        choices=SCHEDULES,
        report_line="Learning rate",
    )
    warmup_steps: int = _setting(
        LEARNING, 0, "Steps in which the learning rate rises linearly to its peak."
    )
    decay_steps: int = _setting(LEARNING, 0, "Length of the schedule in steps; 0: max_steps.")
    decay_rate: float = _setting(LEARNING, 0.96, "Factor of the exponential schedule.")
    momentum: float = _setting(LEARNING, 0.9, "Momentum of the momentum optimizer.")
    clip_norm: float = _setting(
        LEARNING, 0.0, "Scale gradients down to this global norm; 0: leave them."
    )
    weight_decay: float = _setting(
        LEARNING,
        0.0,
        "Share of itself that each kernel loses in a step, times the learning rate (decoupled "
        "weight decay); biases lose nothing.",
    )
    label_smoothing: float = _setting(
        LEARNING,
        0.05,
        "Share of each label's probability that is spread evenly over all classes; 0: none. It "
        "lowers the error rate, and makes the probabilities too low: see --calibrate of evaluate "
        "and export.",
        most=1,
        unrecorded=0.0,
    )
    ema_decay: float = _setting(
        LEARNING,
        0.0,
        "Keep a moving average of each weight, of which this share stays in each step, as 0.999; "
        "0: keep none. Checkpoints hold the weights and their averages.",
    )
    use_ema: bool = _setting(
        (EVALUATION, EXPORT),
        True,
        "Evaluate and export the moving averages in place of the weights, where --ema_decay keeps "
        "them.",
    )
    deterministic: bool | None = _setting(
        LEARNING,
        None,
        "Use only operations that give the same bits every time. Default: yes, except with "
        "--strategy=ps, whose workers are never in step.",
    )
    seed: int = _setting(
        (LEARNING, DATA),
        0,
        "Decides the weights' start, the order of the examples, dropout, and the seeded "
        "validation split.",
        most=splits.MAX_SEED,
        report_line="Seed",
    )

    rotate: float = _setting(
        LEARNING,
        0.0,
        "Turn each image of a batch by up to so many degrees, either way.",
        most=180,
        heading="Augmentation",
    )
    scale: float = _setting(
        LEARNING, 0.0, "Make each image larger or smaller, by up to this share, as 0.1.", most=0.9
    )
    shear: float = _setting(
        LEARNING, 0.0, "Slant each image by up to so many degrees, either way.", most=60
    )
    shift: float = _setting(
        LEARNING,
        0.0,
        "Move each image by up to so many pixels, up or down and left or right; what comes in from "
        "outside is 0.",
    )
    flip: float = _setting(
        LEARNING,
        0.0,
        "Probability that an image is mirrored, left and right; not for digits or letters.",
        most=1,
    )
    elastic: float = _setting(
        LEARNING,
        0.0,
        "Bend each image: the standard deviation of how far a pixel moves, in pixels; neighbours "
        "move alike.",
    )
    erase: float = _setting(
        LEARNING,
        0.0,
        "Probability that a rectangle of an image, of 2 to 20% of its area, becomes 0.",
        most=1,
    )
    mixup: float = _setting(
        LEARNING,
        0.0,
        "Mix each image and its label with another one of the batch, in shares drawn from "
        "Beta(mixup, mixup), as 0.2; 0: no mixing.",
        most=100,
    )

    save_checkpoints_steps: int = _setting(
        (CHECKPOINTS, EVALUATION),
        500,
        "Steps between checkpoints; each one is evaluated on the eval_split.",
        least=1,
        heading="Checkpoints and evaluation",
    )
    keep_checkpoint_max: int = _setting(
        CHECKPOINTS, 5, "Newest checkpoints kept; 0: all. Older ones go, at the start too."
    )
    replay_steps: int = _setting(
        CHECKPOINTS,
        0,
        "Before each checkpoint do the last so many steps again, from what the variables were "
        "before them, and compare every variable bit for bit. If one differs, nothing is saved "
        "and training fails. 0: no check. At most save_checkpoints_steps.",
    )
    eval_split: str = _setting(
        EVALUATION,
        "validation",
        "Split evaluated while training; none: no evaluation before the end. The test split is "
        "evaluated once, at the end.",
        choices=("validation", "none"),
    )
    final_test: bool = _setting(
        EVALUATION,
        True,
        "Evaluate the test split at the end; --nofinal_test leaves it unseen.",
    )
    best_metric: str = _setting(
        EVALUATION,
        "accuracy",
        "Metric on the eval_split by which the best checkpoint is chosen.",
        choices=("accuracy", "loss"),
    )
    early_stop_patience: int = _setting(
        LENGTH,
        0,
        "Stop when so many evaluations in a row have been no better than the best; 0: never.",
    )
    export: str = _setting(
        EXPORT,
        "best",
        "Model that is exported as a SavedModel to model_dir/export, and evaluated on the test "
        "split: the best on the eval_split (the final one if nothing was evaluated), the final "
        "one, or none (the final one is evaluated). In a cluster the chief takes the final one, "
        "and the evaluator exports the best.",
        choices=("best", "final", "none"),
        heading="What is exported",
    )
    eval_batch_size: int = _setting(
        EVALUATION,
        1000,
        "Examples a batch in evaluation.",
        least=1,
        heading="Checkpoints and evaluation",
    )
    log_steps: int = _setting(
        REPORTING,
        100,
        "Steps between progress lines and between TensorBoard's training points.",
        least=1,
        heading="What is shown",
    )
    profile_steps: str = _setting(
        REPORTING,
        "",
        "First and last step of a profile for TensorBoard's profile page, as 100,110.",
    )

    intra_op_threads: int = _setting(
        MACHINE, 0, "Threads one operation may use; 0: TensorFlow's choice.", heading="The machine"
    )
    inter_op_threads: int = _setting(
        MACHINE, 0, "Operations that may run at once; 0: TensorFlow's choice."
    )
    stall_timeout_secs: int = _setting(
        MACHINE,
        600,
        "End this process with 138 if it makes no progress for so many seconds: no step ends, no "
        "batch is evaluated, no part of a file is read or written. An engine then starts it again. "
        "A phase that takes long has a higher limit: 20 times its median duration so far. The "
        "set-up and the first step together have at least 600 s. A report with the stacks of all "
        "threads is left in the model_dir, or in the folder for temporary files where there is "
        "none. 0: no limit, as for a debugger.",
    )
    strategy: str = _setting(
        (CLUSTER, MACHINE),
        "auto",
        "none: one device. mirrored: all GPUs of this machine. multi_worker: synchronous "
        "all-reduce over workers. ps: asynchronous, with parameter servers. auto: ps or "
        "multi_worker if a cluster of several tasks is described, else mirrored if this machine "
        "has several GPUs that can share a batch evenly, else none. The cluster is described by "
        "the host flags below, else by what the engine sets: TF_CONFIG, CLUSTER_SPEC (Vertex AI), "
        "SM_HOSTS (SageMaker) or SLURM_PROCID (srun). See --explain. none and mirrored train "
        "alone, whatever is described.",
        choices=STRATEGIES,
        unrecorded="none",
        heading="The cluster",
    )
    ps_hosts: str = _setting(
        CLUSTER, "", "Parameter servers, host:port,host:port.", set_by="the engine"
    )
    worker_hosts: str = _setting(CLUSTER, "", "Workers, host:port,host:port.", set_by="the engine")
    chief_hosts: str = _setting(
        CLUSTER,
        "",
        "The chief, host:port. Without it the first worker is the chief.",
        set_by="the engine",
    )
    job_name: str = _setting(
        (CLUSTER, PLACE),
        "",
        "This process's role: chief, worker, ps or evaluator. Without it JOB_COMPLETION_INDEX, "
        "which Kubernetes sets in an Indexed Job, is its place among the host flags' chief, "
        "workers, ps and then the --evaluator.",
        set_by="the engine",
    )
    task_index: int | None = _setting(
        (CLUSTER, PLACE),
        None,
        "This process's place among those of its role. Default: JOB_COMPLETION_INDEX if set, "
        "else 0.",
        set_by="the engine",
    )
    num_ps: int = _setting(
        CLUSTER,
        0,
        "Parameter servers among the tasks, where the engine only numbers them (Slurm, "
        "SageMaker): task 0 is the chief, then come the workers, then so many ps.",
        set_by="--ps",
    )
    evaluator: bool | None = _setting(
        CLUSTER,
        None,
        "A task of its own evaluates the checkpoints; where the engine only numbers the tasks, "
        "the last one. Default: yes if the cluster's description lists an evaluator. Without "
        "one the chief evaluates.",
        set_by="--evaluator",
    )
    base_port: int = _setting(
        CLUSTER,
        0,
        "First port of the tasks, where the engine gives no ports. 0: on Slurm derived from the "
        "job's id (task n listens at base_port + n), on SageMaker 2222.",
        most=65535,
    )
    start_timeout_secs: int = _setting(
        CLUSTER,
        600,
        "How long to wait for a task of the cluster that has not answered yet, in seconds. Engines "
        "may start tasks minutes apart.",
        least=1,
    )

    def __post_init__(self) -> None:
        for field in flag_fields.fields_of(TrainConfig):
            flag_fields.check(field, getattr(self, field.name))
        if not self.model_dir:
            raise InputError("--model_dir: found nothing, expected a folder")
        for name in ("model_dir", "data_dir"):
            if re.match(r"https?://([^/]*@|.*\?)", getattr(self, name)):
                raise InputError(
                    f"--{name}: found a user, password or signature in the URL, expected none, as "
                    "run.json holds it; use a URL that needs none, or a store (s3://, az://)"
                )
        if self.dataset:
            known_datasets.check_name(self.dataset)
        splits.check_validation_split(self.validation_split)
        _check_model(self.model)
        if "://" in self.cache_dir:
            raise InputError(f"--cache_dir: found {self.cache_dir}, expected a local folder")
        _parse_bytes("cache_limit", self.cache_limit or "0")
        _parse_numbers("hidden_units", self.hidden_units)
        if self.profiled and (len(self.profiled) != 2 or self.profiled[0] > self.profiled[1]):
            raise InputError(
                f"--profile_steps: found {self.profile_steps}, expected the first step and the "
                "last, as in 100,110"
            )
        for name in ("pixel_max", "initial_stddev"):
            if not getattr(self, name):
                raise InputError(f"--{name}: found 0, expected more")
        for name in ("dropout_rate", "ema_decay", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise InputError(f"--{name}: found {getattr(self, name)}, expected less than 1")
        if self.deterministic and self.strategy == "ps":
            raise InputError(
                "--deterministic: found it with --strategy=ps, whose workers are never in step; "
                "train with --strategy=multi_worker"
            )
        _check_replay_steps(self)
        if self.early_stop_patience and self.eval_split == "none":
            raise InputError(
                "--early_stop_patience: found it with --eval_split=none, expected validation"
            )
        if self.learning_rate == 0:
            raise InputError("--learning_rate: found 0, expected more: nothing would be learned")
        if self.decay_rate == 0 and self.schedule == "exponential":
            raise InputError("--decay_rate: found 0, expected more: nothing would be learned")
        if self.batch_norm != "none" and self.batch_size == 1:
            raise InputError(
                "--batch_norm: found it with --batch_size=1, expected more examples a step: a lone "
                "one is its own mean, so nothing would be learned"
            )
        if 0 < self.mixup < _LEAST_MIXUP:
            raise InputError(f"--mixup: found {self.mixup}, expected 0 or at least {_LEAST_MIXUP}")
        if self.mixup and self.batch_size == 1:
            raise InputError(
                "--mixup: found it with --batch_size=1, expected more examples a step: each is "
                "mixed with another one"
            )

    @property
    def is_deterministic(self) -> bool:
        """Whether to use only deterministic operations."""
        return self.strategy != "ps" if self.deterministic is None else self.deterministic

    def batch_unit(self, replicas: int) -> int:
        """The number of which batch_size has to be a multiple for so many replicas to share it."""
        return 2 * replicas if self.mixup and replicas > 1 else replicas  # Each mixes pairs.

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of each hidden layer of `--model=dnn`."""
        return _parse_numbers("hidden_units", self.hidden_units)

    @property
    def cache_bytes(self) -> int | None:
        """Bytes that the copies in `cache_dir` may take; None: the usual."""
        return _parse_bytes("cache_limit", self.cache_limit) if self.cache_limit else None

    @property
    def profiled(self) -> tuple[int, ...]:
        """First and last step of the profile; empty without one."""
        return _parse_numbers("profile_steps", self.profile_steps) if self.profile_steps else ()

    @property
    def schedule_steps(self) -> int:
        """Steps over which the learning-rate schedule runs."""
        return self.decay_steps or self.max_steps

    def model_params(self, data: Manifest | TrainedOn) -> dict[str, Any]:
        """What `model_fn.model_fn` takes as params for a network that trains on such data."""
        # Imported here: it imports numpy, which takes as long as all that a wrong flag needs.
        from mnist_estimator.data.statistics import full_scale

        return dataclasses.asdict(self) | {
            "num_classes": data.num_classes,
            "full_scale": full_scale(data.brightest_pixel),
            "hidden_units": self.layers,
            "schedule_steps": self.schedule_steps,
            # What a command that answers may change.
            "views": 1,
            "temperature": 1.0,
            "members": (),
        }


def flags_affecting(effect: str) -> tuple[str, ...]:
    """The names of the flags that affect this, one of `EFFECTS`, in the order of the fields."""
    every = flag_fields.fields_of(TrainConfig)
    return tuple(field.name for field in every if effect in field.metadata["affects"])


# The flags that say which data a command works on; `prepare` shares them with `train`.
DATA_FLAGS = flags_affecting(DATA)


def define_train_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a training run."""
    flag_fields.define(flag_fields.fields_of(TrainConfig), values)
    help_text.group_fields(flag_fields.fields_of(TrainConfig), values)


def define_data_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `train` that `prepare` has too: which data, and how they are split."""
    shared = [field for field in flag_fields.fields_of(TrainConfig) if field.name in DATA_FLAGS]
    flag_fields.define(shared, values)


def define_label_column(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flag of `prepare` and `evaluate` that says where a table has its labels."""
    flags.DEFINE_string(
        "label_column",
        "",
        "Which column of a table is the label: its name, first or last. Default: what the header "
        "names label, class, target, y, category or digit; else, of a CSV file, the first.",
        flag_values=values,
    )
    flag_fields.show_in_help("label_column", values)


def define_stall_timeout(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flag of `train` by which other commands, too, end when they stand still."""
    every = flag_fields.fields_of(TrainConfig)
    flag_fields.define([field for field in every if field.name == "stall_timeout_secs"], values)
    help_text.group("The machine", ["stall_timeout_secs"], values)


def define_calibrate() -> None:
    """Defines the flag of `evaluate` and `export` that fits a temperature."""
    flags.DEFINE_bool(
        "calibrate",
        False,
        "Divide the logits by the temperature that fits the validation split of the run's data "
        "best. The classes stay; their probabilities are calibrated.",
    )
    flag_fields.show_in_help("calibrate", flags.FLAGS)


def define_run_flags(*, data: bool = True, answers: bool = True, checkpoint: bool = True) -> None:
    """Defines the flags of commands that work on a trained run.

    Args:
      data: whether --data_dir is one of them.
      answers: whether several runs may answer together, and an image may be looked at several
        times.
      checkpoint: whether --checkpoint is one of them.
    """
    text = "Folder of the run, or folders of several, with commas in between"
    if answers:
        text += ": they answer together, with the mean of their probabilities"
    flag_fields.define_path("model_dir", "tboard/mod1", f"{text}.")
    names = ["model_dir"]
    if checkpoint:
        flag_fields.define_path(
            "checkpoint",
            "",
            "Checkpoint to use: best, newest, or its path. Default: the best; the newest if the "
            "run has --export=final or none, or no evaluation.",
        )
        names.append("checkpoint")
    flags.DEFINE_string(
        "model",
        "",
        "Network of the run, if it is a function of yours, as my_module:my_network: says that you "
        "trust the module, whose code is run. Not needed where you have trained with it yourself.",
    )
    flag_fields.show_in_help("model", flags.FLAGS)
    names.append("model")
    if answers:
        flags.DEFINE_enum(
            "views",
            "1",
            ("1", "5", "9"),
            "How often the network looks at each image: as it is; also moved by a pixel in four "
            "directions; or in eight. The answer is the mean of the probabilities.",
        )
        flag_fields.show_in_help("views", flags.FLAGS)
        names.append("views")
    help_text.group("The run", names)
    if data:
        text = "Folder with prepared records. Default: the run's own."
        flag_fields.define_path("data_dir", "", text)
        help_text.group("The data", ["data_dir"])


def runs(given: flags.FlagValues) -> dict[str, str]:
    """The runs that --model_dir names, in their order, each with its --model, "" if none is given.

    Raises:
      InputError: if they do not fit one another, or the --checkpoint.
    """
    model_dirs = _model_dirs(given.model_dir, given.checkpoint)
    return dict(zip(model_dirs, _models(given.model, len(model_dirs)), strict=True))


def _model_dirs(text: str, checkpoint: str) -> list[str]:
    if os.path.isdir(text):
        names = [text]  # Sweeps name folders after their flags, as in lr=0.1,seed=2.
    else:
        names = [os.path.expanduser(name.strip()) for name in text.split(",")]
    if "" in names:
        raise InputError(f"--model_dir: found {text!r}, expected folders, with commas in between")
    folders = [os.path.realpath(name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"--model_dir: found {name} twice")
    if len(names) > 1 and checkpoint not in ("", "best", "newest"):
        raise InputError(
            f"--checkpoint: found {checkpoint}, expected best or newest with several runs"
        )
    return names


def _models(text: str, count: int) -> list[str]:
    """The network of each run; "" for a run whose network is not given."""
    names = [name.strip() for name in text.split(",")]
    if len(names) not in (1, count):
        raise InputError(
            f"--model: found {len(names)}, expected one for all {count} runs, or one for each"
        )
    return names * count if len(names) == 1 else names


def train_config(values: flags.FlagValues = flags.FLAGS) -> TrainConfig:
    """Returns the parsed flags as a validated `TrainConfig`."""
    found = flag_fields.read(TrainConfig, values)
    found["data_dir"] = found["data_dir"] or default_data_dir(found["dataset"])
    return TrainConfig(**found)


def default_data_dir(dataset: str) -> str:
    """The data_dir of a run that names none."""
    return f"data/{dataset or 'mnist'}"


def _check_replay_steps(config: TrainConfig) -> None:
    if not config.replay_steps:
        return
    if config.replay_steps > config.save_checkpoints_steps:
        raise InputError(
            f"--replay_steps: found {config.replay_steps}, expected at most "
            f"--save_checkpoints_steps={config.save_checkpoints_steps}"
        )
    if config.strategy in ("multi_worker", "ps"):
        raise InputError(
            f"--replay_steps: found it with --strategy={config.strategy}, expected a process that "
            "trains alone; after the training use the command replay"
        )
    if config.deterministic is False:
        raise InputError("--replay_steps: found it with --nodeterministic, expected no difference")


def _check_model(name: str) -> None:
    # Whether the function exists is checked later, as its module may import TensorFlow.
    if name not in MODELS and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise InputError(
            f"--model: found {name!r}, expected one of {', '.join(MODELS)}, or a function as "
            "my_module:my_network"
        )


def _parse_numbers(flag: str, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8}){0,99}", text):
        raise InputError(
            f"--{flag}: found {text!r}, expected whole numbers with commas, as in 3,5, at most 100"
        )
    return tuple(map(int, text.split(",")))


def _parse_bytes(flag: str, text: str) -> int:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?) ?(?:([KMGT])(I?)B?|B)?", text.upper(), re.ASCII)
    if not found:
        raise InputError(f"--{flag}: found {text!r}, expected a size, as in 500MB or 20GB")
    number, unit, binary = found.groups()
    power = 1 + "KMGT".index(unit) if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)
