"""The table of engines: each has what submit needs of it, and each flag is said once."""

from __future__ import annotations

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import catalog
from mnist_estimator.engines.jobs import Job
from mnist_estimator.runtime import flag_fields

DIRS = ("--model_dir=/data/mod1", "--data_dir=/data/mnist")


@pytest.mark.parametrize("engine", catalog.ENGINES)
def test_every_engine_can_be_submitted_to_and_watched(engine):
    job = catalog.make_job(engine, train_flags=DIRS)
    assert job.engine == engine and job.template
    assert job.command("/x/file")
    assert job.name in job.watch_command or "job list" in job.watch_command
    assert job.end_command and job.end_command != job.watch_command
    for name in ("render", "command", "watch_command", "end_command"):
        assert getattr(type(job), name) is not getattr(Job, name)


def test_every_flag_of_a_job_is_explained_and_stands_below_a_heading():
    fields = catalog.all_fields()
    assert fields[0].metadata["heading"]
    assert all(len(field.metadata["help"]) > 15 for field in fields)
    assert len({field.name for field in fields}) == len(fields)


def test_flags_of_one_name_are_the_same_for_all_engines():
    once = {field.name: field for field in catalog.all_fields()}
    for kind in catalog.ENGINES.values():
        for field in flag_fields.fields_of(kind):
            assert field.metadata == once[field.name].metadata
            assert (field.type, field.default) == (once[field.name].type, once[field.name].default)


def test_a_flag_of_other_engines_is_refused_unless_it_has_its_default():
    line = "--spot: found it with --engine=ray, expected it only with --engine=vertex.sagemaker$"
    with pytest.raises(InputError, match=line):
        catalog.make_job("ray", train_flags=DIRS, spot=True)
    assert catalog.make_job("ray", train_flags=DIRS, spot=False).engine == "ray"


def test_an_option_that_no_engine_has_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="colour"):
        catalog.make_job("ray", train_flags=DIRS, colour="red")
