"""An environment in which Estimator is enabled, as its programs find it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from support import programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment that has the packages of this one, and this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    return folder


def run(environment, *words, **options):
    return subprocess.run(
        [environment / "bin/python", *words],
        capture_output=True,
        text=True,
        timeout=programs.TIMEOUT_SECS,
        cwd=environment,
        **options,
    )


@pytest.fixture(scope="module")
def enabled(environment):
    finished = run(environment, "-m", "mnist_estimator.compat", "--enable")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"enabled: programs of {environment} find tf.estimator")
    return environment


def test_a_script_of_this_package_s_name_and_its_processes_find_estimator(enabled, tmp_path):
    script = tmp_path / "mnist_estimator.py"
    script.write_text(
        "import subprocess, sys\n"
        "from mnist_estimator.compat import estimator\n"
        "import tensorflow as tf\n"
        "assert tf.estimator is estimator\n"
        "print(tf.estimator.RunConfig.__name__, flush=True)\n"
        "if len(sys.argv) == 1:\n"
        "    subprocess.run([sys.executable, __file__, 'again'], check=True)\n"
    )
    finished = run(enabled, script)
    assert finished.stdout == "RunConfig\nRunConfig\n", finished.stderr


def test_a_program_s_own_module_of_this_package_s_name_is_its_own(enabled, tmp_path):
    (tmp_path / "mnist_estimator.py").write_text("BATCH = 7\n")
    script = tmp_path / "test_main.py"
    script.write_text(
        "import sys\n"
        "import tensorflow as tf\n"
        "import mnist_estimator\n"
        "def test():\n"
        "    assert mnist_estimator.BATCH == 7\n"
        "    assert tf.compat.v1.estimator.Estimator\n"
        "    assert not tf.io.gfile.exists('memory://bucket/file')\n"
        "    assert sys.modules['mnist_estimator.storage'].is_ours('gs://bucket')\n"
    )
    elsewhere = {**os.environ, "STORAGE_EMULATOR_HOST": "127.0.0.1:9"}
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", script)
    finished = run(enabled, *words, env=elsewhere)
    assert finished.returncode == 0, finished.stdout


def test_a_program_without_tensorflow_imports_nothing_for_it(enabled):
    finished = run(enabled, "-c", "import sys; print(*sys.modules)")
    modules = finished.stdout.split()
    assert "_mnist_estimator_startup" in modules
    assert not {"mnist_estimator", "tensorflow", "numpy", "importlib.util"} & set(modules)


def test_to_look_for_tensorflow_is_not_to_import_it(enabled):
    finished = run(
        enabled,
        "-c",
        "import importlib.util, sys; print(importlib.util.find_spec('tensorflow').origin)\n"
        "assert 'tensorflow' not in sys.modules\n",
    )
    assert finished.stdout.endswith("tensorflow/__init__.py\n"), finished.stderr


def test_where_the_package_is_gone_a_line_says_so_and_the_program_goes_on(enabled, tmp_path):
    source = (packages(enabled) / "_mnist_estimator_startup.py").read_text()
    (tmp_path / "startup.py").write_text(source.replace(str(ROOT), "/nowhere"))
    (tmp_path / "tensorflow.py").write_text("")
    program = "import startup, tensorflow; print(tensorflow.__file__)"
    finished = run(enabled, "-S", "-c", program, env={"PYTHONPATH": str(tmp_path)})
    assert finished.stdout == f"{tmp_path}/tensorflow.py\n", finished.stderr
    (line,) = finished.stderr.splitlines()
    assert line.startswith("tf.estimator is not put back: /nowhere/mnist_estimator cannot be imp")


def packages(environment) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))


def test_a_tensorflow_that_cannot_be_used_is_a_line_and_the_program_goes_on(enabled, tmp_path):
    (tmp_path / "tensorflow.py").write_text("__version__ = '2.99.0'\n")
    program = "import tensorflow; print(tensorflow.__version__)"
    finished = run(enabled, "-c", program, env={"PYTHONPATH": str(tmp_path)})
    assert finished.stdout == "2.99.0\n", finished.stderr
    (line,) = finished.stderr.splitlines()
    assert line.startswith("tf.estimator is not put back: TensorFlow 2.99.0 is installed, mnist_es")


def test_enabled_for_version_1_the_first_import_means_it(tmp_path_factory):
    folder = tmp_path_factory.mktemp("version_1")
    venv.create(folder, symlinks=True)
    (packages(folder) / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    assert run(folder, "-m", "mnist_estimator.compat", "--enable", "--tf1").returncode == 0
    (folder / "train.py").write_text(
        "import json\n"
        "import tensorflow as tf\n"
        "from tensorflow import contrib\n"
        "assert tf.Session and not tf.executing_eagerly() and contrib is tf.contrib\n"
        "print(tf.estimator.inputs.numpy_input_fn.__name__)\n"
    )
    finished = run(folder, "train.py")
    assert finished.stdout == "numpy_input_fn\n", finished.stderr


def test_disabled_it_leaves_nothing_behind(environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("twin")
    venv.create(folder, symlinks=True)
    twin = packages(folder)
    (twin / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    before = sorted(folder.rglob("*"))
    assert run(folder, "-m", "mnist_estimator.compat", "--enable").returncode == 0
    assert run(folder, "-c", "pass").returncode == 0  # Compiles the module.
    assert run(folder, "-m", "mnist_estimator.compat", "--disable").returncode == 0
    assert sorted(path for path in folder.rglob("*") if path.name != "__pycache__") == before
