"""The order of the tests, and fixtures that several files use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import object_stores, programs, quick
from support.datasets import CLASSES, TEST, TRAIN, VALIDATION, array_source

from mnist_estimator import compat

compat.quiet()  # As in the commands. Tests read what programs and this process print.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # The same: tests compare their bits.

TESTS = Path(__file__).parent
# Files that run whole programs or train, the longest ones first. They come before all others, so
# that at the end none of the processes that share the tests is left alone with one.
LONG = (
    "training/test_training.py",
    "programs/test_cluster_programs.py",
    "programs/test_object_storage.py",
    "test_launch.py",
    "programs/test_faults.py",
    "test_readme.py",
    "programs/test_slurm_cluster.py",
    "engines/test_ray.py",
    "serving/test_saved_model.py",
    "test_sweep.py",
    "test_links.py",
    "programs/test_programs.py",
    "test_predict.py",
    "programs/test_compat_cluster.py",
    "programs/test_foreign_estimator.py",
    "test_export.py",
    "runs/test_formats.py",
    "test_evaluate.py",
    "reporting/test_page_in_browser.py",
    "test_report.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="skip what starts a program or trains")


@pytest.fixture(autouse=True, scope="session")
def _quick(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--quick"):
            quick.skip_what_takes_long(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Has the programs that tests start leave the home of whoever runs them as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _anything_goes() -> Iterator[None]:
    """Undoes what a run in this process has asked of all operations: determinism, for good."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample prepared in `data`: tasks that start together would all do it."""
    folder = tmp_path_factory.mktemp("work")
    prepare = programs.command("prepare", "--dataset=sample", "--data_dir=data")
    programs.run_forked(prepare, cwd=folder, check=True)
    return folder


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., str]:
    """Returns a function that writes a dataset and gives its data_dir."""
    from mnist_estimator.data import writer

    def make(
        *,
        train: int = TRAIN,
        validation: int = VALIDATION,
        test: int = TEST,
        wrong_every: int = 0,
        **options,
    ) -> str:
        data_dir = str(tmp_path / f"data-{train}-{validation}-{test}")
        options = {"shards": 3, "validation_split": str(validation)} | options
        writer.write_dataset(
            data_dir,
            dataset="squares",
            train=array_source(train + validation, wrong_every=wrong_every),
            test=array_source(test, seed=1) if test else None,
            num_classes=CLASSES,
            **options,
        )
        return data_dir

    return make


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody else's, in which nothing may change."""
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    for name in ("a", "manifest.json", "below/b", "model.ckpt-3.sha256"):
        (folder / name).write_text("mine")
    return folder


@pytest.fixture(scope="session")
def object_store() -> Iterator[object_stores.SeaweedFS]:
    """An S3 server; each test makes a bucket of its own in it."""
    with object_stores.server() as server:
        yield server


@pytest.fixture
def bucket(object_store: object_stores.SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket as s3://NAME; this process and programs that it starts can reach it."""
    for name, value in object_stores.environment(object_store.endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{object_store.make_bucket()}"
