"""What a sweep is to do: its space, the flags that all trials share, and how many trials.

TensorFlow and Optuna are not imported, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from collections.abc import Mapping
from typing import Any

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.engines import passed_flags
from mnist_estimator.engines.jobs import is_remote
from mnist_estimator.runtime import flag_fields, help_text
from mnist_estimator.sweeps import space
from mnist_estimator.sweeps.space import Parameter

JOURNAL = "journal:"  # How --storage names a file of Optuna's own.
STUDY_FILE = "study.sqlite3"
# The flags of a sweep itself, which `submit` passes on.
FLAGS = ("trials", "storage", "study", "prune", "sampler_seed")
_MOST_TRIALS = 100_000
# A trial is evaluated, and by no test data. Its model is exported when it has been chosen.
_TRIAL_FLAGS = ("--export=none", "--nofinal_test")
_SET_BY_SWEEP = ("export", "final_test")
# Which folder and which machine a trial has, changes nothing in its result.
_COMPARED = {config.DATA, config.NETWORK, config.LEARNING, config.ARITHMETIC, config.LENGTH}
_COMPARED |= {config.EVALUATION, config.CHECKPOINTS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep as its flags describe it.

    Attributes:
      parameters: the flags that it varies.
      train_flags: the flags that all trials have, as `--name=value`, `--model_dir` among them.
      config: what `train` makes of `train_flags`; its model_dir is the folder of the sweep.
      trials: how many trials there are to be.
      storage: where the study is; "" for a file in the folder of the sweep.
      study: its name there; "" for one that follows from the folder.
      prune: whether a trial that does worse than the others is ended early.
      sampler_seed: decides what is proposed.
      precision: that of all trials where the flags leave it to each machine; "" elsewhere.
    """

    parameters: tuple[Parameter, ...]
    train_flags: tuple[str, ...]
    config: TrainConfig
    trials: int
    storage: str = ""
    study: str = ""
    prune: bool = True
    sampler_seed: int = 0
    precision: str = dataclasses.field(default="", compare=False)  # The study tells it.

    @property
    def folder(self) -> str:
        """The folder of the sweep."""
        return self.config.model_dir

    @property
    def metric(self) -> str:
        """The metric on the validation split by which trials are compared."""
        return self.config.best_metric

    @property
    def maximizes(self) -> bool:
        """Whether a larger metric is better."""
        return self.metric == "accuracy"

    @property
    def study_name(self) -> str:
        """The name of the study in its storage."""
        if self.study or not self.storage:
            return self.study or "sweep"
        return self.folder if is_remote(self.folder) else os.path.abspath(self.folder)

    def trial_folder(self, number: int) -> str:
        """The model_dir of a trial."""
        return os.path.join(self.folder, f"trial-{number:05}")

    def chosen_flags(self, number: int, values: Mapping[str, Any]) -> list[str]:
        """The flags of `train` that train, test and export what a trial has trained."""
        strategy = ["--strategy=none"] if self.config.strategy == roles.AUTO else []
        precision = [f"--precision={self.precision}"] if self.precision else []
        varied = [space.as_flag(name, value) for name, value in values.items()]
        shared = [flag for flag in self.train_flags if not flag.startswith("--model_dir=")]
        return [*shared, *strategy, *precision, *varied, f"--model_dir={self.trial_folder(number)}"]

    def trial_flags(self, number: int, values: Mapping[str, Any]) -> list[str]:
        """The flags of `train` by which a trial is run.

        Raises:
          InputError: if `train` would refuse them together.
        """
        found = [*self.chosen_flags(number, values), *_TRIAL_FLAGS]
        passed_flags.parse(found)
        return found

    def identity(self) -> dict[str, Any]:
        """What a study is about, as JSON: with another one its trials cannot be continued."""
        compared = {name: getattr(self.config, name) for name in _compared_names()}
        varied = {parameter.name for parameter in self.parameters}
        return {
            "space": [dataclasses.asdict(each) for each in self.parameters],
            "flags": {name: value for name, value in compared.items() if name not in varied},
            "prune": self.prune,
            "sampler_seed": self.sampler_seed,
        }


def define_flags(title: str) -> None:
    """Defines the flags of a sweep, but that of its space; shows them below a title."""
    flags.DEFINE_integer("trials", 30, "Trials of the sweep, those that were made before included.")
    flags.DEFINE_string(
        "storage",
        "",
        "Where the study is: a URL of a database that Optuna knows, as "
        "postgresql+psycopg://USER@HOST/DATABASE, or journal:FILE in a folder that all machines "
        f"share. Default: {STUDY_FILE} in the model_dir, for workers on one machine.",
    )
    flags.DEFINE_string(
        "study", "", "Name of the study in --storage. Default: the path of the model_dir."
    )
    flags.DEFINE_bool(
        "prune",
        True,
        "End a trial early when its best evaluation so far is worse than the median of those that "
        "other trials had at that step.",
    )
    flags.DEFINE_integer("sampler_seed", 0, "Decides which values are proposed.")
    help_text.group(title, FLAGS)


def make_plan(path: str, given: tuple[str, ...], values: Mapping[str, Any]) -> Plan:
    """Returns the plan of a sweep.

    Args:
      path: the file that describes the space.
      given: the flags of train.
      values: of the flags that `define_flags` defines, by name.

    Raises:
      InputError: if a flag, or the space, is wrong.
    """
    _check_numbers(values)
    found, names = passed_flags.parse(passed_flags.read_flagfiles(given))
    _check_shared(found, names)
    fields = [field.name for field in flag_fields.fields_of(TrainConfig) if field.name in names]
    train_flags = tuple(space.as_flag(name, getattr(found, name)) for name in fields)
    for flag in train_flags:
        if not flag.isprintable() or flag != flag.strip():
            raise InputError(
                f"{passed_flags.WHERE}: found {flag!r}, expected a line that a flagfile can hold: "
                "printable, with no space around it"
            )
    parameters = space.read(path, train_flags)
    for parameter in parameters:
        if parameter.name in names:
            raise InputError(
                f"{passed_flags.WHERE}: found --{parameter.name}, which {path} varies; drop one"
            )
    if is_remote(found.model_dir) and not values["storage"]:
        raise InputError(
            f"--storage: found nothing with --model_dir={found.model_dir}, expected a database: "
            f"{STUDY_FILE} needs a folder on this machine"
        )
    return Plan(parameters=parameters, train_flags=train_flags, config=found, **values)


def check_shared_storage(url: str, tasks: int) -> None:
    """Raises InputError for a storage that no job file may name, or its tasks cannot share."""
    if _has_password(url):
        raise InputError(
            f"--storage: found a password in the URL of {shown_storage(url)}, expected none: the "
            "job file would hold it; PostgreSQL's clients read PGPASSWORD and ~/.pgpass"
        )
    if tasks > 1 and (not url or url.startswith("sqlite")):
        raise InputError(
            f"--storage: found {'SQLite' if url else 'nothing'} with --tasks={tasks}, expected "
            f"postgresql+psycopg://USER@HOST/DATABASE or {JOURNAL}FILE: SQLite is for one machine"
        )


def _has_password(url: str) -> bool:
    """Whether the URL of a storage holds a password, or options that may be one."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.password is not None or "pass" in parts.query.lower()
    except ValueError:
        return True


def shown_storage(url: str) -> str:
    """Names a storage without the user, the password and the options of its URL."""
    if not url or url.startswith(JOURNAL):
        return url
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    # An "@" there may be that of the password's end, which then has a "?" in it.
    if not rest or "@" in options:
        return "a URL"
    return f"{scheme}://{place.rpartition('@')[2]}"


def _check_numbers(values: Mapping[str, Any]) -> None:
    limits = {"trials": (1, _MOST_TRIALS), "sampler_seed": (0, 2**31 - 1)}
    for name, (least, most) in limits.items():
        if not least <= values[name] <= most:
            raise InputError(f"--{name}: found {values[name]}, expected {least} to {most}")


def _check_shared(found: TrainConfig, names: set[str]) -> None:
    """Raises InputError for flags of train that no sweep can have."""
    for name in _SET_BY_SWEEP:
        if name in names:
            raise InputError(f"{passed_flags.WHERE}: found --{name}, which the sweep sets; drop it")
    for name, wrong in (("eval_split", "none"), ("validation_split", "0")):
        if getattr(found, name) == wrong:
            raise InputError(
                f"{passed_flags.WHERE}: found --{name}={wrong}, expected evaluations on a "
                "validation split: by them trials are compared"
            )
    if found.strategy not in (roles.AUTO, *roles.ALONE):
        raise InputError(
            f"{passed_flags.WHERE}: found --strategy={found.strategy}, expected "
            f"{' or '.join(roles.ALONE)}: a trial is one process; start the sweep several times, "
            "with one --storage"
        )
    if "," in found.model_dir:
        raise InputError(f"--model_dir: found {found.model_dir}, expected no comma in it")


def _compared_names() -> list[str]:
    names = dict.fromkeys(
        name for effect in sorted(_COMPARED) for name in config.flags_affecting(effect)
    )
    place = config.flags_affecting(config.PLACE)
    return [name for name in names if name not in (*place, *_SET_BY_SWEEP)]
