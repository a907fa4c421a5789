"""Estimator as `compat` hands it out, and what `compat` says when it cannot."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import (
    _keras,
    _loaded,
    _quiet,
    _versions,
    estimator,
    estimator_v1,
    tf,
    v1,
)

BUILT_IN = _versions.release(tf.__version__) < (2, 16)
KERAS_2 = BUILT_IN or not _keras.remedy
SLOPE = 2.0


def model_fn(features, labels, mode):
    w = v1.get_variable("w", [1], initializer=v1.zeros_initializer())
    y = features["x"] * w
    if mode == estimator.ModeKeys.PREDICT:
        outputs = {"serving_default": estimator.export.PredictOutput({"y": y})}
        return estimator.EstimatorSpec(mode, predictions={"y": y}, export_outputs=outputs)
    loss = tf.reduce_mean(tf.square(y - labels))
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    return estimator.EstimatorSpec(
        mode,
        loss=loss,
        train_op=optimizer.minimize(loss, global_step=v1.train.get_global_step()),
        eval_metric_ops={"error": v1.metrics.mean_absolute_error(labels, y)},
    )


def input_fn(repeat=1):
    examples = {"x": [1.0, 2.0]}, [SLOPE * 1.0, SLOPE * 2.0]
    return tf.data.Dataset.from_tensor_slices(examples).repeat(repeat).batch(2)


def receiver():
    x = v1.placeholder(tf.float32, [None], name="x")
    return estimator.export.ServingInputReceiver({"x": x}, {"x": x})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = estimator.RunConfig(str(tmp_path_factory.mktemp("model")), tf_random_seed=1)
    return estimator.Estimator(model_fn, config=config).train(lambda: input_fn(50), max_steps=50)


@pytest.mark.smoke
def test_train_and_evaluate_separately(trained):
    metrics = trained.evaluate(input_fn)
    assert metrics["global_step"] == 50
    assert metrics["error"] < 1e-3


@pytest.mark.smoke
def test_predict(trained):
    predictions = [each["y"] for each in trained.predict(input_fn)]
    assert predictions == pytest.approx([SLOPE * 1, SLOPE * 2], abs=1e-3)


@pytest.mark.smoke
def test_exported_model_serves(trained, tmp_path):
    folder = trained.export_saved_model(str(tmp_path), receiver)
    serve = tf.saved_model.load(folder.decode()).signatures["serving_default"]
    assert serve(x=tf.constant([10.0]))["y"].numpy() == pytest.approx([SLOPE * 10], abs=1e-2)


@pytest.mark.smoke
def test_train_and_evaluate(tmp_path):
    exporter = estimator.FinalExporter("final", receiver)
    metrics, exported = estimator.train_and_evaluate(
        estimator.Estimator(model_fn, str(tmp_path)),
        estimator.TrainSpec(lambda: input_fn(50), max_steps=50),
        estimator.EvalSpec(input_fn, steps=None, exporters=exporter),
    )
    assert metrics["global_step"] == 50
    assert metrics["error"] < 1e-3
    assert pathlib.Path(exported[0].decode(), "saved_model.pb").exists()


def test_strategy_of_one_device(tmp_path):
    config = estimator.RunConfig(
        str(tmp_path), train_distribute=tf.distribute.MirroredStrategy(["cpu:0"])
    )
    trained = estimator.Estimator(model_fn, config=config)
    trained.train(lambda: input_fn(50), max_steps=50)
    assert trained.get_variable_value("w") == pytest.approx([SLOPE], abs=1e-3)


def test_warm_start(trained, tmp_path):
    settings = estimator.WarmStartSettings(trained.model_dir, vars_to_warm_start="w")
    other = estimator.Estimator(model_fn, str(tmp_path), warm_start_from=settings)
    other.train(lambda: input_fn(1), max_steps=1)
    assert other.get_variable_value("w") == pytest.approx([SLOPE], abs=1e-3)


def test_every_name_that_is_listed_can_be_had():
    if not KERAS_2:
        pytest.skip("half of them need Keras 2")
    for namespace in (estimator, estimator.export, estimator.experimental, estimator_v1.inputs):
        names = [name for name in dir(namespace) if not name.startswith("_")]
        assert names
        assert not [name for name in names if not hasattr(namespace, name)]


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(estimator, "TPUEstimator")


@pytest.mark.skipif(BUILT_IN, reason="the built-in one imports all of it")
def test_modules_of_the_package_can_be_imported():
    from tensorflow_estimator import estimator as api
    from tensorflow_estimator.python.estimator import estimator_lib
    from tensorflow_estimator.python.estimator.run_config import RunConfig

    assert api.RunConfig is estimator_lib.RunConfig is RunConfig is estimator.RunConfig


@pytest.mark.skipif(not KERAS_2, reason="needs the extra keras")
def test_canned_estimator_trains():
    canned = estimator.DNNRegressor([4], [tf.feature_column.numeric_column("x")])
    canned.train(lambda: input_fn(5).map(column), max_steps=5)
    assert canned.evaluate(lambda: input_fn().map(column))["global_step"] == 5


def column(features, labels):
    return {"x": features["x"][:, None]}, labels[:, None]


@pytest.mark.skipif(BUILT_IN, reason="Keras 2 is built in")
def test_canned_estimator_without_keras_2_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    namespace = type(estimator)(estimator.__name__)
    monkeypatch.setattr(_keras, "remedy", _keras.switch_to_keras_2())
    assert not hasattr(namespace, "DNNClassifier")
    assert namespace.Estimator is estimator.Estimator
    assert namespace.classifier_parse_example_spec
    with pytest.raises(InputError, match=r"DNNClassifier needs Keras 2.*mnist_estimator\[keras\]"):
        _ = namespace.DNNClassifier


def test_tensorflow_too_new_is_one_error_before_it_is_imported(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')")
    (tmp_path / "tensorflow-2.22.0.dist-info").mkdir()
    (tmp_path / "tensorflow-2.22.0.dist-info" / "METADATA").write_text("Version: 2.22.0\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    finished = run_python("from mnist_estimator.compat import tf", PYTHONPATH=path)
    assert "VersionError: TensorFlow 2.22.0 is installed" in finished.stderr.splitlines()[-1]


def test_last_words_of_a_crash_come_through():
    finished = run_python(
        "import os; from mnist_estimator.compat import _quiet\n"
        "_quiet.quiet()\n"
        "with _quiet.without_noise(_quiet.START_UP_NOISE):\n"
        "    os.write(2, b'F0000 this processor has no AVX\\n'); os.abort()"
    )
    assert finished.returncode < 0
    assert finished.stderr == "F0000 this processor has no AVX\n"


TINY_PROGRAM = """
import sys, tempfile
from mnist_estimator import compat
compat.quiet()
from tests.compat import test_compat as example
with tempfile.TemporaryDirectory() as folder:
    # Its counter of steps fetches the global step beside the train_op, sees the same one twice
    # now and then, and warns.
    config = example.estimator.RunConfig(folder, log_step_count_steps=None)
    model = example.estimator.Estimator(example.model_fn, config=config)
    model.train(lambda: example.input_fn(5), max_steps=5)
    model.evaluate(example.input_fn)
    list(model.predict(example.input_fn))
    model.export_saved_model(folder, example.receiver)
"""


def test_a_program_prints_nothing_of_its_own():
    finished = run_python(TINY_PROGRAM)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stderr.splitlines()
    if (2, 18) <= _versions.release(tf.__version__) <= (2, 20):
        # Written with the first step, and no log level or setting keeps these from it.
        known = ("All log messages before absl::InitializeLog", "MLIR V1 optimization pass")
        lines = [line for line in lines if not any(text in line for text in known)]
    assert lines == []


def test_a_user_can_have_it_all_printed():
    finished = run_python(TINY_PROGRAM, TF_CPP_MIN_LOG_LEVEL="0")
    # Which lines there are depends on the processor.
    assert re.search(_quiet.START_UP_NOISE, finished.stderr)
    assert "Instructions for updating" in finished.stderr


def run_python(program, **environment):
    """Runs a program as a user would, with nothing set that the tests themselves have set."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )


# Prints what a program's import of TensorFlow changes, and what TensorFlow is set to after it.
OBSERVED = """
import json, logging, os, sys, warnings

started = []
sys.addaudithook(lambda event, arguments: started.append(str(arguments[:2]))
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system") else None)
environment = dict(os.environ)

def open_files():
    names = os.listdir("/proc/self/fd")
    links = [f"/proc/self/fd/{name}" for name in names]
    return sorted((link, os.readlink(link)) for link in links if os.path.lexists(link))

def children():
    tasks = os.listdir("/proc/self/task")
    return [open(f"/proc/self/task/{task}/children").read().split() for task in tasks]

before = open_files()
IMPORT
after = open_files()
from tensorflow.python.util import deprecation
print(json.dumps({
    "changed in the environment": sorted(dict(os.environ).items() ^ environment.items()),
    "new or other open files": [file for file in after if file not in before],
    "processes started": started,
    "children": sum(children(), []),
    "warnings filters": [repr(entry) for entry in warnings.filters],
    "logger": logging.getLogger("tensorflow").level,
    "prints deprecations": deprecation._PRINT_DEPRECATION_WARNINGS,
    "Keras": __import__("tensorflow").keras.Model.__module__.partition(".")[0],
}))
"""


def observed(statement, **environment):
    finished = run_python(OBSERVED.replace("IMPORT", statement), **environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain_import():
    """What plain TensorFlow does, with the Keras that `compat` has it use."""
    switch = {"TF_USE_LEGACY_KERAS": "1"} if importlib.util.find_spec("tf_keras") else {}
    return observed("import tensorflow", **switch)


@pytest.mark.smoke
def test_an_import_changes_nothing_that_plain_tensorflow_does_not(plain_import):
    assert plain_import["changed in the environment"] == []
    nothing_yet = "import mnist_estimator.compat; assert 'tensorflow' not in sys.modules"
    all_of_it = "from mnist_estimator.compat import estimator, tf, v1"
    assert observed(f"{nothing_yet}; {all_of_it}") == plain_import


def test_a_program_that_asks_for_quiet_gets_it(plain_import):
    asked = "from mnist_estimator import compat; compat.quiet()"
    found = observed(f"{asked}; from mnist_estimator.compat import tf")
    assert found["changed in the environment"] == [["TF_CPP_MIN_LOG_LEVEL", "2"]]
    assert "grep" in "".join(found["processes started"]) and not found["children"]
    assert not found["prints deprecations"]
    assert found["new or other open files"] == plain_import["new or other open files"]
    late = observed(f"import tensorflow; {asked}")
    assert not late["prints deprecations"]
    everything = observed(f"{asked}; compat.tf", TF_CPP_MIN_LOG_LEVEL="0")
    assert everything["changed in the environment"] == []
    assert everything["prints deprecations"]
    assert everything["processes started"] == plain_import["processes started"]


@pytest.mark.parametrize("error", [ImportError, MemoryError, OSError])
def test_a_tensorflow_that_cannot_be_imported_is_one_line(monkeypatch, error):
    """As with too little memory. What TensorFlow makes of it is many lines."""

    def fails(name, *args, **kwargs):
        try:
            raise error("lib.so: failed to map segment")
        except error:
            raise ImportError("Traceback:\n\nFailed to load the native TensorFlow") from None

    monkeypatch.setattr("builtins.__import__", fails)
    with pytest.raises(RunError) as raised:
        _loaded._tensorflow()
    line = str(raised.value)
    assert line.startswith("TensorFlow cannot be imported: lib.so: failed to map segment; ")
    assert "ulimit -v" in line and "\n" not in line


def test_a_call_at_the_import_of_tensorflow_comes_before_the_collector():
    program = (
        "import gc, sys; from mnist_estimator import compat\n"
        "compat.on_import(lambda: print('tensorflow' in sys.modules, gc.isenabled()))\n"
        "print('wait'); compat.tf; compat.on_import(lambda: print('again'))"
    )
    words = [sys.executable, "-c", program]
    result = subprocess.run(words, capture_output=True, check=True, text=True, timeout=300)
    assert result.stdout.split() == ["wait", "True", "False", "again"]
