"""All engines: the one table of them, and the flags of `submit` that follow from it."""

from __future__ import annotations

import dataclasses
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.engines.jobs import Job
from mnist_estimator.engines.kubernetes import JobSetJob, KubeflowJob, TrainJobJob
from mnist_estimator.engines.ray import RayJob
from mnist_estimator.engines.sagemaker import SageMakerJob
from mnist_estimator.engines.slurm import SlurmJob
from mnist_estimator.engines.vertex import VertexJob
from mnist_estimator.runtime import flag_fields

_CLASSES = (SlurmJob, KubeflowJob, JobSetJob, TrainJobJob, VertexJob, SageMakerJob, RayJob)
ENGINES: dict[str, type[Job]] = {kind.engine: kind for kind in _CLASSES}


def make_job(engine: str, *, train_flags: tuple[str, ...] = (), **options: Any) -> Job:
    """Returns a job of an engine.

    Args:
      engine: a key of `ENGINES`.
      options: values of the fields of `all_fields`.

    Raises:
      InputError: if there is no such engine, if it lacks an option that is given another value
        than its default, or as the engine's class.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine: found {engine!r}, expected one of {', '.join(ENGINES)}")
    fields = all_fields()
    own = _flag_names(ENGINES[engine])
    for field in fields:
        value = options.get(field.name, field.default)
        if field.name not in own and value != field.default:
            having = [name for name, kind in ENGINES.items() if field.name in _flag_names(kind)]
            raise InputError(
                f"--{field.name}: found it with --engine={engine}, expected it only with "
                f"--engine={'|'.join(having)}"
            )
    others = {field.name for field in fields} - own
    given = {name: value for name, value in options.items() if name not in others}
    return ENGINES[engine](train_flags=train_flags, **given)


def all_fields() -> list[dataclasses.Field[Any]]:
    """The fields of all engines' jobs that are flags, each once."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for kind in ENGINES.values():
        for field in flag_fields.fields_of(kind):
            found.setdefault(field.name, field)
    return list(found.values())


def _flag_names(kind: type[Job]) -> set[str]:
    return {field.name for field in flag_fields.fields_of(kind)}
