"""The study: what it proposes after a kill, what it refuses, and that it tells no password."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support import postgresql

from mnist_estimator import InputError, predictions
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.runtime.files import OutageError
from mnist_estimator.sweeps import plans, studies
from mnist_estimator.sweeps.space import Parameter

PARAMETERS = (
    Parameter("learning_rate", "float", 1e-4, 0.1, log=True),
    Parameter("dropout_rate", "float", 0.0, 0.6, 0.2),
    Parameter("batch_size", "int", 10, 50, 10),
    Parameter("optimizer", "categorical", choices=("adam", "momentum")),
)


def make_plan(folder: Path, **options: object) -> plans.Plan:
    config = TrainConfig(model_dir=str(folder))
    options = {"parameters": PARAMETERS, "train_flags": (), "trials": 20} | options
    return plans.Plan(config=config, **options)


def in_journal(folder: Path, **options: object) -> plans.Plan:
    """A plan whose study is opened faster than in a database."""
    folder.mkdir(exist_ok=True)
    return make_plan(folder, storage=f"journal:{folder}/study.journal", **options)


def value_of(values: dict) -> float:
    worth = {"adam": 1.0, "momentum": 0.5}[values["optimizer"]]
    return worth - abs(values["learning_rate"] - 0.01) - values["dropout_rate"] / 10


def run_trial(study: optuna.Study, trial: optuna.Trial, *, dies_after: int = 99) -> None:
    """Has a trial draw its values and end; a process that dies has drawn only some of them."""
    values = studies.suggest(trial, PARAMETERS[:dies_after])
    if dies_after < len(PARAMETERS):
        return
    trial.report(value_of(values), 1)
    if trial.number % 7 == 3:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value_of(values))


def drawn(study: optuna.Study) -> list[tuple]:
    return [(trial.number, trial.state, trial.value, trial.params) for trial in study.trials]


def test_a_study_that_is_opened_again_and_again_proposes_the_same(tmp_path):
    whole = studies.open_study(in_journal(tmp_path / "whole"))
    for _ in range(14):  # The first ten are drawn at random, each flag by itself.
        run_trial(whole, whole.ask())
    plan = in_journal(tmp_path / "killed")
    for number in range(14):
        # Between any two draws of a trial the process may be another one.
        studies.open_study(plan).ask()
        for dies_after in (number % 4, 99):
            study = studies.open_study(plan)
            (left,) = study.get_trials(states=(TrialState.RUNNING,))
            assert left.number == number
            run_trial(study, studies.resumed(study, left), dies_after=dies_after)
    assert drawn(studies.open_study(plan)) == drawn(whole)
    values = [trial.params["learning_rate"] for trial in whole.trials]
    assert len(set(values)) == 14  # Each trial draws anew.
    other = studies.open_study(in_journal(tmp_path / "other", sampler_seed=1))
    assert studies.suggest(other.ask(), PARAMETERS) != whole.trials[0].params


def test_values_are_in_the_space():
    found = [studies.distribution(parameter) for parameter in PARAMETERS]
    assert found == [
        optuna.distributions.FloatDistribution(1e-4, 0.1, log=True),
        optuna.distributions.FloatDistribution(0, 0.6, step=0.2),
        optuna.distributions.IntDistribution(10, 50, step=10),
        optuna.distributions.CategoricalDistribution(("adam", "momentum")),
    ]


def test_trials_that_are_too_many_are_dropped_and_not_counted(tmp_path):
    study = studies.open_study(in_journal(tmp_path))
    trials = [study.ask() for _ in range(5)]
    # As workers that all found one missing: whoever comes first, the lower numbers stay.
    assert [studies.drop_if_surplus(study, trial, 3) for trial in reversed(trials)] == [
        *(True, True, False, False, False)
    ]
    assert [trial.number for trial in studies.counted(study)] == [0, 1, 2]
    study.tell(trials[1], 0.5)
    assert [trial.number for trial in studies.counted(study, TrialState.RUNNING)] == [0, 2]
    # More trials are wanted later.
    assert not studies.drop_if_surplus(study, study.ask(), 4)


def test_a_study_of_another_sweep_is_refused(tmp_path):
    plan = in_journal(tmp_path)
    studies.open_study(plan)
    studies.open_study(dataclasses.replace(plan, trials=99))  # More of the same.
    config = dataclasses.replace(plan.config, max_steps=7)
    for other, named in {
        dataclasses.replace(plan, parameters=PARAMETERS[:2]): "space",
        dataclasses.replace(plan, config=config): "--max_steps",
        dataclasses.replace(plan, sampler_seed=3, prune=False): "prune, sampler_seed",
    }.items():
        with pytest.raises(InputError, match=f"study.journal: .* has trials with another {named};"):
            studies.open_study(other)


def test_all_trials_have_the_precision_of_the_first_worker(tmp_path, monkeypatch):
    plan = in_journal(tmp_path)
    for found in ("bfloat16", "float32"):  # The second worker is on another kind of machine.
        monkeypatch.setattr(predictions, "compute_dtype", lambda _, found=found: tf.as_dtype(found))
        settled = studies.with_precision(studies.open_study(plan), plan)
        assert "--precision=bfloat16" in settled.trial_flags(0, {})
    config = dataclasses.replace(plan.config, precision="float32")
    given = in_journal(tmp_path / "other")
    given = dataclasses.replace(given, config=config)
    assert not studies.with_precision(studies.open_study(given), given).precision


def test_a_flag_that_came_later_does_not_make_it_another_sweep(tmp_path):
    plan = in_journal(tmp_path)
    about = plan.identity()
    del about["flags"]["mixup"]
    studies.open_study(plan).set_user_attr("sweep", json.dumps(about))
    assert studies.open_study(plan)


@pytest.mark.parametrize("about", ["no json", "[]", "{}", '{"flags": 3}'])
def test_a_study_of_somebody_else_is_refused(tmp_path, about):
    plan = in_journal(tmp_path, study="mine")
    storage = studies._storage(plan)
    optuna.create_study(storage=storage, study_name="mine").set_user_attr("sweep", about)
    with pytest.raises(InputError, match="the study mine is none of a sweep; give another --stud"):
        studies.open_study(plan)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("no url", "a URL: Could not parse SQLAlchemy URL from "),
        ("nodb://me:secret@h/d", "nodb://h/d: Can't load plugin: sqlalchemy.dialects:nodb"),
        ("sqlite:////no/such/folder/x", "sqlite:///.*: unable to open database file"),
        ("journal:/no/such/folder/x", "journal:/no/such/folder/x: .*No such file or directory"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, url, line):
    monkeypatch.setattr(studies, "_OPEN_TRIES", 1)
    with pytest.raises(InputError, match=f"^--storage: {line}") as error:
        studies.open_study(make_plan(tmp_path, storage=url))
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_database_or_a_link_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "_OPEN_TRIES", 1)
    (tmp_path / "study.sqlite3").write_text("something else, of some length" * 99)
    with pytest.raises(InputError, match="study.sqlite3: file is not a database"):
        studies.open_study(make_plan(tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/study.sqlite3").symlink_to(tmp_path / "study.sqlite3")
    with pytest.raises(InputError, match="link"):
        studies.open_study(make_plan(tmp_path / "other"))


def test_a_folder_with_any_letters_holds_a_study(tmp_path):
    plan = make_plan(tmp_path / "a b?c={d}%41#é")
    studies.open_study(plan).ask()
    assert (tmp_path / "a b?c={d}%41#é/study.sqlite3").exists()
    assert len(studies.open_study(plan).trials) == 1


def test_a_journal_in_a_shared_folder(tmp_path):
    plan = make_plan(tmp_path, storage=f"journal:{tmp_path}/study.journal")
    study = studies.open_study(plan)
    run_trial(study, study.ask())
    assert drawn(studies.open_study(plan)) == drawn(study)


# PostgreSQL.


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with postgresql.server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


def test_workers_that_come_at_once_share_a_study_on_postgresql(tmp_path, server):
    plan = make_plan(tmp_path, storage=server.url, trials=6)

    def work(_) -> list[int]:
        # Of those that make the tables at once, all but one fail at first.
        study, numbers = studies.open_study(plan), []
        while len(studies.counted(study)) < plan.trials:
            trial = study.ask()
            if not studies.drop_if_surplus(study, trial, plan.trials):
                run_trial(study, trial)
                numbers.append(trial.number)
        return numbers

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, range(3), timeout=60))
    assert sorted(number for numbers in found for number in numbers) == list(range(6))
    study = studies.open_study(plan)
    assert len(studies.counted(study, TrialState.COMPLETE, TrialState.PRUNED)) == 6


def test_no_password_is_told(tmp_path, server, monkeypatch):
    monkeypatch.setattr(studies, "_OPEN_TRIES", 1)
    wrong = server.url.replace(server.password, "wrong-secret")
    with pytest.raises(InputError, match="password authentication failed") as error:
        studies.open_study(make_plan(tmp_path, storage=wrong))
    assert "wrong-secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_password_in_an_error_of_a_driver_is_left_out(tmp_path):
    url = "postgresql://me:pass%40word@h/d?sslpassword=second"
    plan = make_plan(tmp_path, storage=url)
    for said in (f"cannot use {url}", "user me, password pass@word", "second\n\n is no key"):
        line = studies._line_of(plan, RuntimeError(said))
        assert "***" in line and "\n" not in line
        assert not [secret for secret in ("pass@word", "pass%40word", "second") if secret in line]


def test_a_database_that_goes_away_is_an_outage(tmp_path, server):
    plan = make_plan(tmp_path, storage=server.url, study="outage")
    study = studies.open_study(plan)
    server.stop()
    line = "^the study's storage, postgresql.psycopg://127.0.0.1"
    with pytest.raises(OutageError, match=line) as error, studies.outages(plan):
        study.ask()
    assert server.password not in str(error.value) and error.value.exit_code == 138
    assert "\n" not in str(error.value)
