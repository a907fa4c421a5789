"""The study of a sweep: Optuna's record of all trials, and what it proposes.

What is proposed for a trial follows from the seed, the trial's number, the flag's name and the
trials that have ended. A process that was killed leaves nothing that its successor would miss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna
import sqlalchemy.engine
import sqlalchemy.exc
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_estimator import InputError, predictions
from mnist_estimator.runs.record import read_run
from mnist_estimator.runtime import files, local_files
from mnist_estimator.runtime.files import OutageError
from mnist_estimator.sweeps import plans, space
from mnist_estimator.sweeps.plans import Plan
from mnist_estimator.sweeps.space import Parameter

_ABOUT = "sweep"  # The study's attribute that says what it is about.
_PRECISION = "precision"  # The study's attribute: see `with_precision`.
_SURPLUS = "surplus"  # The attribute of a trial that is one too many.
_OPEN_TRIES = 5
_LOCK_SECS = 60  # That a process waits for another one's write to SQLite.

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Of arguments of TPESampler, in Optuna 4.
warnings.filterwarnings("ignore", category=ExperimentalWarning)


def open_study(plan: Plan) -> optuna.Study:
    """Opens the study of a plan; makes it if it is new.

    Raises:
      InputError: if the storage cannot be opened, or its study of this name is about another sweep.
    """
    where = plans.shown_storage(plan.storage) or os.path.join(plan.folder, plans.STUDY_FILE)
    for tries_left in reversed(range(_OPEN_TRIES)):
        try:
            study = _opened(plan)
            break
        except sqlalchemy.exc.SQLAlchemyError as error:
            # Of several processes that make the tables at once, all but one fail.
            if not tries_left:
                raise _cannot_open(plan, where, error) from None
            time.sleep(random.uniform(0.2, 1))
        except (ImportError, OptunaError, OSError, RuntimeError) as error:
            raise _cannot_open(plan, where, error) from None
    about = study.user_attrs.get(_ABOUT)
    if about is None:
        study.set_user_attr(_ABOUT, json.dumps(plan.identity()))
    else:
        _check_continues(plan, where, about)
    return study


def with_precision(study: optuna.Study, plan: Plan) -> Plan:
    """The plan with the precision that "auto" is on the machine of the first worker.

    It is another one on another kind of machine. Trials of both do not compare, and a trial of the
    one cannot go on on the other.
    """
    if plan.config.precision != "auto" or any(each.name == "precision" for each in plan.parameters):
        return plan
    if study.user_attrs.get(_PRECISION) is None:
        found = _trained_in(study, plan) or predictions.compute_dtype("auto").name
        study.set_user_attr(_PRECISION, found)
    return dataclasses.replace(plan, precision=study.user_attrs[_PRECISION])


def _trained_in(study: optuna.Study, plan: Plan) -> str:
    """The arithmetic of the trials of a study that an earlier version began; "" without any."""
    for trial in counted(study):
        with contextlib.suppress(InputError):
            return str(read_run(plan.trial_folder(trial.number))[1]["compute_dtype"])
    return ""


@contextlib.contextmanager
def outages(plan: Plan) -> Iterator[None]:
    """Raises OutageError for a storage that fails in the block: later it may be there again."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError) as error:
        where = plans.shown_storage(plan.storage) or plans.STUDY_FILE
        raise OutageError(
            f"the study's storage, {where}: {_line_of(plan, error)}; the same command goes on"
        ) from None


def resumed(study: optuna.Study, frozen: FrozenTrial) -> Trial:
    """A trial that is in the study already, to go on with it."""
    # Optuna has no other way to take up a trial under its number.
    return Trial(study, frozen._trial_id)


def suggest(trial: Trial, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The values of a trial's flags, in the order of the space."""
    return {each.name: trial._suggest(each.name, distribution(each)) for each in parameters}


def distribution(parameter: Parameter) -> BaseDistribution:
    """What Optuna draws a flag's values from."""
    if parameter.type == space.CATEGORICAL:
        return CategoricalDistribution(parameter.choices)
    if parameter.type == space.INT:
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return IntDistribution(low, high, log=parameter.log, step=step)
    step = parameter.step or None
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=step)


def counted(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """The trials, in the order of their numbers, without those that are too many.

    Args:
      states: only those that are in one of these; without any, all that have begun.
    """
    wanted = states or tuple(state for state in TrialState if state != TrialState.WAITING)
    found = study.get_trials(deepcopy=False, states=wanted)
    return [trial for trial in found if not trial.user_attrs.get(_SURPLUS)]


def drop_if_surplus(study: optuna.Study, trial: Trial, most: int) -> bool:
    """Ends a trial if there are as many before it as are wanted; says whether it did.

    Two workers that both find that one trial is missing both make one.
    """
    if sum(each.number < trial.number for each in counted(study)) < most:
        return False
    trial.set_user_attr(_SURPLUS, True)
    study.tell(trial, state=TrialState.FAIL)
    return True


class SeededSampler(optuna.samplers.BaseSampler):
    """Optuna's TPE, which draws by the trial's number and the flag's name.

    Optuna's own sampler draws from one stream of random numbers: a process that begins in the
    middle would begin that stream again, and propose once more what was proposed at the start.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._sampler(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, trial: FrozenTrial, name: str = "") -> optuna.samplers.TPESampler:
        drawn_by = hashlib.sha256(f"{self._seed} {trial.number} {name}".encode()).digest()
        return optuna.samplers.TPESampler(
            seed=int.from_bytes(drawn_by[:4], "little"),
            multivariate=True,
            # What runs elsewhere counts as bad, so that workers do not all try the same.
            constant_liar=True,
        )


def _opened(plan: Plan) -> optuna.Study:
    pruner = optuna.pruners.MedianPruner() if plan.prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=_storage(plan),
        study_name=plan.study_name,
        sampler=SeededSampler(plan.sampler_seed),
        pruner=pruner,
        direction="maximize" if plan.maximizes else "minimize",
        load_if_exists=True,
    )


def _storage(plan: Plan) -> optuna.storages.BaseStorage:
    url = plan.storage
    if url.startswith(plans.JOURNAL):
        path = url.removeprefix(plans.JOURNAL)
        return optuna.storages.JournalStorage(JournalFileBackend(path))
    options: dict[str, Any] = {"pool_pre_ping": True}
    if not url:
        # By a URL a path cannot have any letters: SQLAlchemy heeds ? and, from 2.1 on, % in it, and
        # Optuna {}.
        url, options["creator"] = "sqlite:///study", _opener(plan.folder)
    elif url.startswith("sqlite"):
        options["connect_args"] = {"timeout": _LOCK_SECS}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def _opener(folder: str) -> Callable[[], sqlite3.Connection]:
    """A function that opens the study in the folder of a sweep."""
    path = os.path.abspath(os.path.join(folder, plans.STUDY_FILE))
    files.make_folders(folder)
    local_files.check_no_link(path)
    # Connections go from thread to thread in SQLAlchemy's pool.
    return functools.partial(sqlite3.connect, path, timeout=_LOCK_SECS, check_same_thread=False)


def _cannot_open(plan: Plan, where: str, error: Exception) -> InputError:
    return InputError(f"--storage: {where}: {_line_of(plan, error)}")


def _line_of(plan: Plan, error: BaseException) -> str:
    """What a storage's error says, on one line and without a password."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = " ".join(" ".join(lines[:3]).split()) or type(cause).__name__
    for secret in _secrets(plan.storage):
        text = text.replace(secret, "***")
    return text[:300]


def _secrets(url: str) -> list[str]:
    """The whole URL, and what may be a password in it."""
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return [url] if url else []
    values = [parsed.password, *(text for text in parsed.query.values() if isinstance(text, str))]
    return [url, *(str(value) for value in values if value)]


def _check_continues(plan: Plan, where: str, about: str) -> None:
    """Raises InputError if a study is about another sweep."""
    try:
        before = json.loads(about)
        found = json.loads(json.dumps(plan.identity()))
        shared = {name: before["flags"].get(name, value) for name, value in found["flags"].items()}
        changed = [f"--{name}" for name in shared if shared[name] != found["flags"][name]]
        changed += [key for key in ("space", "prune", "sampler_seed") if before[key] != found[key]]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            f"--storage: {where}: the study {plan.study_name} is none of a sweep; give another "
            "--study"
        ) from None
    if changed:
        raise InputError(
            f"--storage: {where}: the study {plan.study_name} has trials with another "
            f"{', '.join(changed)}; continue it as it began, or give another --model_dir"
        )
