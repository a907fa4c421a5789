"""Flags, read once at the edge of a program, become one frozen and validated `TrainConfig`.

Below a command's `main` everything takes plain arguments. Nothing here imports TensorFlow, so that
a wrong flag and `--help` are answered at once.
"""

from __future__ import annotations

import dataclasses
import re

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.data import datasets, splits
from mnist_estimator.runtime import flag_fields
from mnist_estimator.runtime.flag_fields import setting

MODELS = ("cnn", "softmax", "dnn")
BATCH_NORMS = ("none", "dense", "all")
INITIALIZERS = ("glorot_uniform", "truncated_normal")
OPTIMIZERS = ("sgd", "momentum", "adagrad", "adam")
SCHEDULES = ("constant", "exponential", "cosine")
SERVING_PRECISIONS = ("float32", "bfloat16")
PRECISIONS = (*SERVING_PRECISIONS, "auto")
STRATEGIES = ("none", "mirrored", "multi_worker", "ps")

# The flags that say which data a command works on; `prepare` shares them with `train`.
DATA_FLAGS = ("data_dir", "dataset", "validation_split", "shards", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run; every field is the flag of the same name.

    Raises:
      InputError: if a value is out of range or contradicts another; the message names the flag.
    """

    # Where things are.
    model_dir: str = setting(
        "tboard/mod1",
        "Folder for checkpoints, TensorBoard events, run.json and metrics.json. Running the same "
        "command again continues from the newest checkpoint here.",
        is_path=True,
    )
    data_dir: str = setting(
        "",
        "Folder with the prepared records, or with the four IDX files, which are then prepared "
        "in place. One with other files is refused. Default: data/DATASET.",
        is_path=True,
    )
    dataset: str = setting(
        "",
        "Named dataset to fetch when the data_dir holds none: mnist, fashion_mnist, kmnist, or "
        "sample (5,000 digits that come with the package, no network needed). Default: whatever "
        "the data_dir holds, else mnist.",
    )
    validation_split: str = setting(
        "auto",
        "Training examples set apart for evaluation while training: a count from the front "
        "(5000), a fraction by seeded shuffle (0.3), 0 for none, or auto: 5000, but a tenth of a "
        "training set smaller than 50,000; from the front of a named dataset, of other data by "
        "seeded shuffle in each class.",
    )
    shards: int = setting(
        8, "TFRecord files a split is written as.", least=1, most=splits.MAX_SHARDS
    )
    cache_mb: int = setting(
        1024,
        "Hold the training images in memory when they take at most this many MiB (a perfect "
        "shuffle, any step entered at once); larger sets stream from disk.",
    )
    shuffle_buffer: int = setting(
        20_000, "Examples in the shuffle buffer of a set that streams.", least=1
    )

    # The network.
    model: str = setting(
        "cnn",
        "Network to train: cnn (two convolutions and a dense layer), softmax (softmax regression), "
        "dnn (dense layers), or a function of yours, as my_module:my_network.",
    )
    hidden_units: str = setting("256,128", "Units of each of the dnn's hidden layers.")
    dropout_rate: float = setting(
        0.4, "Fraction of the units of the dense hidden layers dropped in training."
    )
    batch_norm: str = setting(
        "none",
        "Normalize by the mean and variance of the batch: the dense hidden layers, or all layers "
        "but the last.",
        choices=BATCH_NORMS,
    )
    pixel_max: float = setting(
        1.0, "What the network gets for the brightest pixel, 255; 0 stays 0."
    )
    initializer: str = setting(
        "glorot_uniform", "How the weights start; softmax starts at zero.", choices=INITIALIZERS
    )
    initial_stddev: float = setting(0.1, "Standard deviation of --initializer=truncated_normal.")
    initial_bias: float = setting(0.0, "What the biases start at.", least=-(2**31))
    precision: str = setting(
        "auto",
        "Arithmetic of the network's layers. Weights, loss and metrics are always float32. auto: "
        "bfloat16 where the processor computes in it, else float32.",
        choices=PRECISIONS,
    )

    serving_precision: str = setting(
        "float32",
        "Arithmetic of the layers in exported models, and for predict: other machines may lack "
        "the one that trains.",
        choices=SERVING_PRECISIONS,
    )

    # The optimization.
    max_steps: int = setting(5000, "Train until this global step.", least=1)
    batch_size: int = setting(
        100,
        "Examples a step, over all workers together (with --strategy=ps: a worker's step).",
        least=1,
    )
    optimizer: str = setting("adam", "How gradients change the weights.", choices=OPTIMIZERS)
    loss_reduction: str = setting(
        "mean",
        "Loss that is minimized: the mean over the examples of a batch, or their sum. Evaluations "
        "always give the mean.",
        choices=("mean", "sum"),
    )
    learning_rate: float = setting(0.001, "Peak learning rate.")
    schedule: str = setting(
        "cosine",
        "Course of the learning rate after the warm-up: constant, exponential (times decay_rate "
        "every decay_steps), cosine (to 0 at decay_steps).",
        choices=SCHEDULES,
    )
    warmup_steps: int = setting(0, "Steps in which the learning rate rises linearly to its peak.")
    decay_steps: int = setting(0, "Length of the schedule in steps; 0: max_steps.")
    decay_rate: float = setting(0.96, "Factor of the exponential schedule.")
    momentum: float = setting(0.9, "Momentum of the momentum optimizer.")
    clip_norm: float = setting(0.0, "Scale gradients down to this global norm; 0: leave them.")
    deterministic: bool | None = setting(
        None,
        "Use only operations that give the same bits every time. Default: yes, except with "
        "--strategy=ps, whose workers are never in step.",
    )
    seed: int = setting(
        0,
        "Decides the weights' start, the order of the examples, dropout, and the seeded "
        "validation split.",
        most=splits.MAX_SEED,
    )

    # What is kept and shown.
    save_checkpoints_steps: int = setting(
        500, "Steps between checkpoints; each one is evaluated on the eval_split.", least=1
    )
    keep_checkpoint_max: int = setting(
        5, "Newest checkpoints kept; 0: all. Older ones go, at the start too."
    )
    eval_split: str = setting(
        "validation",
        "Split evaluated while training; none: no evaluation before the end. The test split is "
        "evaluated once, at the end.",
        choices=("validation", "none"),
    )
    best_metric: str = setting(
        "accuracy",
        "Metric on the eval_split by which the best checkpoint is chosen.",
        choices=("accuracy", "loss"),
    )
    early_stop_patience: int = setting(
        0, "Stop when so many evaluations in a row have been no better than the best; 0: never."
    )
    export: str = setting(
        "best",
        "Model that is exported as a SavedModel to model_dir/export, and evaluated on the test "
        "split: the best on the eval_split (the final one if nothing was evaluated), the final "
        "one, or none (the final one is evaluated). In a cluster the chief takes the final one, "
        "and the evaluator exports the best.",
        choices=("best", "final", "none"),
    )
    eval_batch_size: int = setting(1000, "Examples a batch in evaluation.", least=1)
    log_steps: int = setting(
        100, "Steps between progress lines and between TensorBoard's training points.", least=1
    )
    profile_steps: str = setting(
        "", "First and last step of a profile for TensorBoard's profile page, as 100,110."
    )

    # The machine, or machines.
    intra_op_threads: int = setting(0, "Threads one operation may use; 0: TensorFlow's choice.")
    inter_op_threads: int = setting(0, "Operations that may run at once; 0: TensorFlow's choice.")
    strategy: str = setting(
        "none",
        "none: one device. mirrored: all GPUs of this machine. multi_worker: synchronous "
        "all-reduce over workers. ps: asynchronous, with parameter servers. The last two take "
        "the cluster from the host flags below, else from what the engine sets: TF_CONFIG, "
        "CLUSTER_SPEC (Vertex AI), SM_HOSTS (SageMaker) or SLURM_PROCID (srun). See --explain. "
        "--strategy=none or mirrored on the command line trains alone, whatever is described.",
        choices=STRATEGIES,
    )
    ps_hosts: str = setting("", "Parameter servers, host:port,host:port.")
    worker_hosts: str = setting("", "Workers, host:port,host:port.")
    chief_hosts: str = setting(
        "", "The chief, host:port. Without it the first worker is the chief."
    )
    job_name: str = setting(
        "",
        "This process's role: chief, worker, ps or evaluator. Without it JOB_COMPLETION_INDEX, "
        "which Kubernetes sets in an Indexed Job, is its place among the host flags' chief, "
        "workers, ps and then the --evaluator.",
    )
    task_index: int | None = setting(
        None,
        "This process's place among those of its role. Default: JOB_COMPLETION_INDEX if set, "
        "else 0.",
    )
    num_ps: int = setting(
        0,
        "Parameter servers among the tasks, where the engine only numbers them (Slurm, "
        "SageMaker): task 0 is the chief, then come the workers, then so many ps.",
    )
    evaluator: bool | None = setting(
        None,
        "A task of its own evaluates the checkpoints; where the engine only numbers the tasks, "
        "the last one. Default: yes if the cluster's description lists an evaluator. Without "
        "one the chief evaluates.",
    )
    base_port: int = setting(
        0,
        "First port of the tasks, where the engine gives no ports. 0: on Slurm derived from the "
        "job's id (task n listens at base_port + n), on SageMaker 2222.",
        most=65535,
    )
    start_timeout_secs: int = setting(
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
        if self.dataset:
            datasets.check_name(self.dataset)
        splits.check_validation_split(self.validation_split)
        _check_model(self.model)
        _parse_numbers("hidden_units", self.hidden_units)
        if self.profiled and (len(self.profiled) != 2 or self.profiled[0] > self.profiled[1]):
            raise InputError(
                f"--profile_steps: found {self.profile_steps}, expected the first step and the "
                "last, as in 100,110"
            )
        for name in ("pixel_max", "initial_stddev"):
            if not getattr(self, name):
                raise InputError(f"--{name}: found 0, expected more")
        if self.dropout_rate >= 1:
            raise InputError(f"--dropout_rate: found {self.dropout_rate}, expected less than 1")
        if self.deterministic and self.strategy == "ps":
            raise InputError(
                "--deterministic: found it with --strategy=ps, whose workers are never in step; "
                "train with --strategy=multi_worker"
            )
        if self.early_stop_patience and self.eval_split == "none":
            raise InputError(
                "--early_stop_patience: found it with --eval_split=none, expected validation"
            )
        if self.learning_rate == 0:
            raise InputError("--learning_rate: found 0, expected more: nothing would be learned")

    @property
    def is_deterministic(self) -> bool:
        """Whether only deterministic operations are to be used."""
        return self.strategy != "ps" if self.deterministic is None else self.deterministic

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of each hidden layer of `--model=dnn`."""
        return _parse_numbers("hidden_units", self.hidden_units)

    @property
    def profiled(self) -> tuple[int, ...]:
        """First and last step of the profile; nothing if none is wanted."""
        return _parse_numbers("profile_steps", self.profile_steps) if self.profile_steps else ()

    @property
    def schedule_steps(self) -> int:
        """Steps over which the learning-rate schedule runs."""
        return self.decay_steps or self.max_steps


def define_train_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for every setting of a training run."""
    flag_fields.define(flag_fields.fields_of(TrainConfig), values)


def define_data_flags() -> None:
    """Defines the flags that `prepare` and `train` share: which data, split and written how."""
    shared = [field for field in flag_fields.fields_of(TrainConfig) if field.name in DATA_FLAGS]
    flag_fields.define(shared, flags.FLAGS)


def define_label_column() -> None:
    """Defines the flag that `prepare` and `evaluate` share: where a CSV file has its labels."""
    flags.DEFINE_string(
        "label_column",
        "",
        "Which column of a CSV file is the label: its name, first or last. Default: what the "
        "header names label, class, target, y, category or digit; else the first.",
    )
    flag_fields.show_in_help("label_column", flags.FLAGS)


def define_run_flags(*, data: bool = True) -> None:
    """Defines the flags of the commands that work on a trained run: which run, checkpoint, data."""
    flag_fields.define_path("model_dir", "tboard/mod1", "Folder of the run.")
    flag_fields.define_path(
        "checkpoint",
        "",
        "Checkpoint to use: best, newest, or its path. Default: the one that training chose, by "
        "its --export.",
    )
    flags.DEFINE_string(
        "model",
        "",
        "Network of the run, if it is a function of yours, as my_module:my_network: says that you "
        "trust the module, whose code is run. Not needed where you have trained with it yourself.",
    )
    flag_fields.show_in_help("model", flags.FLAGS)
    if data:
        help_text = "Folder with prepared records. Default: the run's own."
        flag_fields.define_path("data_dir", "", help_text)


def train_config(values: flags.FlagValues = flags.FLAGS) -> TrainConfig:
    """Returns the parsed flags as a validated `TrainConfig`."""
    found = flag_fields.read(TrainConfig, values)
    found["data_dir"] = found["data_dir"] or default_data_dir(found["dataset"])
    return TrainConfig(**found)


def default_data_dir(dataset: str) -> str:
    """The data_dir of a run that names none."""
    return f"data/{dataset or 'mnist'}"


def _check_model(name: str) -> None:
    # Whether there is such a function, is seen when TensorFlow is there, which it may import.
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
