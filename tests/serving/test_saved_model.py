"""Exports: each signature answers as `predict` does, here and on the other end of the versions."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import programs
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train

from mnist_estimator import RunError, export
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import inputs, records
from mnist_estimator.data.manifest import Dataset, TrainedOn, read_manifest
from mnist_estimator.runs import checkpoints, open_run
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import predictors, saved_model, signatures, tflite, warmup

SERVER = Path(__file__).with_name("serve_export.py")
# Kernels of another TensorFlow add up in another order.
TOLERANCE = 1e-4


def servers() -> list[str]:
    """This Python and, where run_tests.sh names it, one with the other end of the versions."""
    return list(dict.fromkeys([sys.executable, os.environ.get("OTHER_PYTHON", sys.executable)]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run on 28x28 images with batch normalization; (its open run, data_dir, export's path)."""
    from mnist_estimator.data import writer

    folder = tmp_path_factory.mktemp("exported")
    data_dir = str(folder / "data")
    shape = (28, 28, 1)
    writer.write_dataset(
        data_dir,
        dataset="squares",
        train=array_source(80, shape=shape),
        test=array_source(TEST, shape=shape, seed=1),
        num_classes=CLASSES,
        class_names=("north", "east", "south", "west"),
        validation_split="10",
        shards=1,
    )
    options = {"model": "cnn", "batch_norm": "all", "precision": "float32"}
    # TensorFlow Lite's converter draws numbers, for which determinism would ask for a seed.
    options["deterministic"] = False
    train(folder / "run", data_dir, max_steps=6, export="best", **options)
    run = open_run.open_run(str(folder / "run"))
    (path,) = (folder / "run/export/best").iterdir()
    return run, data_dir, str(path)


def test_data(data_dir):
    manifest = read_manifest(data_dir)
    batches = inputs.eval_batches(Dataset(data_dir, manifest), "test", batch_size=TEST)
    ((features, labels),) = batches.as_numpy_iterator()
    return features[inputs.IMAGES], labels


test_data.__test__ = False


def picture(image: np.ndarray) -> bytes:
    return tf.io.encode_png(image).numpy()


def requests(images: np.ndarray) -> dict[str, np.ndarray]:
    serialized = [records.encode_example(image.tobytes(), 0) for image in images]
    encoded = [picture(image) for image in images]
    return {
        "serving_default/images": images.astype(np.float32),
        "serving_uint8/images": images,
        "predict_images/image_bytes": np.array(encoded, object),
        "classify/records": np.array(serialized, object),
    }


@pytest.mark.smoke
@pytest.mark.parametrize("server", servers())
def test_a_program_of_somebody_else_gets_the_answers_of_predict(exported, tmp_path, server):
    run, data_dir, path = exported
    images, _ = test_data(data_dir)
    asked = requests(images)
    np.savez(tmp_path / "requests.npz", **asked)
    answers = tmp_path / "answers.npz"
    done = subprocess.run(
        [server, str(SERVER), path, str(tmp_path / "requests.npz"), str(answers)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(answers, allow_pickle=True)
    same = str(found["version"]) == tf.__version__
    tolerance = 0 if same else TOLERANCE
    with tf.Graph().as_default():
        built = signatures.build(list(signatures.EXPORTED), run.params, run.trained_on)
        with signatures.restored(run.checkpoint) as session:
            for name, value in asked.items():
                signature = built[name.partition("/")[0]]
                (placeholder,) = signature.inputs.values()
                values = session.run(signature.outputs, {placeholder: value})
                for key, expected in values.items():
                    answer = found[f"{name.partition('/')[0]}/{key}"]
                    if expected.dtype.kind == "f":
                        np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance)
                    else:
                        assert answer.tolist() == expected.tolist()


def ask(path: str, signature: str, *values, **named):
    return tf.saved_model.load(path).signatures[signature](*values, **named)


def test_images_may_be_floats_bytes_and_without_channels(exported):
    _, data_dir, path = exported
    images, labels = test_data(data_dir)
    serve = tf.saved_model.load(path).signatures["serving_default"]
    forms = [images, images[..., 0], images / 255, images[..., 0] / 255]
    found = [serve(images=tf.constant(form, tf.float32)) for form in forms]
    for answer in found[1:]:
        np.testing.assert_allclose(answer["logits"], found[0]["logits"], atol=1e-4)
    assert np.mean(found[0]["classes"].numpy() == labels) > 0.5
    flat = ask(path, "serving_uint8", images=tf.constant(images[..., 0]))
    np.testing.assert_array_equal(flat["classes"], found[0]["classes"])


@pytest.mark.parametrize("shape", [(28, 28), (3, 14, 56), (3, 28, 28, 3), (3, 784)])
def test_images_of_another_shape_are_refused(exported, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected images \[N,28,28,1\]"):
        ask(exported[2], "serving_uint8", images=tf.zeros(shape, tf.uint8))


def test_classify_has_the_names_of_the_classes(exported):
    _, data_dir, path = exported
    images, _ = test_data(data_dir)
    answer = ask(path, "classify", tf.constant(requests(images[:2])["classify/records"]))
    assert answer["classes"].numpy().tolist() == [[b"north", b"east", b"south", b"west"]] * 2
    np.testing.assert_allclose(answer["scores"].numpy().sum(axis=1), 1, rtol=1e-5)
    assert Path(path, "assets/class_names.txt").read_text() == "north\neast\nsouth\nwest\n"


def test_warm_up_requests_can_be_parsed_and_answered(exported):
    """With messages declared a second time, as TensorFlow Serving's own have more fields."""
    file = Path(exported[2], "assets.extra", warmup.FILE)
    logs = list(v1.io.tf_record_iterator(str(file)))
    assert len(logs) == len(signatures.EXPORTED)
    asked = set()
    for log in logs:
        ((kind, request_log),) = wire(log)
        ((_, request),) = wire(request_log)
        fields = wire(request)
        ((number, name),) = wire(fields[0][1])
        assert (fields[0][0], number) == (1, 3)  # model_spec, its signature_name.
        asked.add((kind, name.decode()))
        if kind == 6:  # predict_log: a map of TensorProtos.
            ((_, key), (_, value)) = wire(fields[1][1])
            array = tf.make_ndarray(type(tf.make_tensor_proto(0)).FromString(value))
            answer = ask(exported[2], name.decode(), **{key.decode(): tf.constant(array)})
            assert len(answer["classes"]) == 1
        else:
            ((_, example_list),) = wire(fields[1][1])
            ((_, example),) = wire(example_list)
            assert "image_raw" in tf.train.Example.FromString(example).features.feature
    assert asked == {
        (6, "serving_default"), (6, "serving_uint8"), (6, "predict_images"), (2, "classify")
    }  # fmt: skip


def wire(message: bytes) -> list[tuple[int, bytes]]:
    """(number, content) of a message's fields, which all have a length."""
    fields, place = [], 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key, length = number(), number()
        assert key & 7 == 2
        fields.append((key >> 3, message[place : place + length]))
        place += length
    return fields


def test_a_model_from_an_export_predicts_as_the_run_does(exported):
    run, data_dir, path = exported
    encoded = [picture(image) for image in test_data(data_dir)[0]]
    with predictors.from_checkpoint(run) as one, predictors.from_export(path) as other:
        assert one.predict(encoded) == other.predict(encoded)
        assert one.pictures == other.pictures == "plain"


def test_pictures_of_the_images_are_predicted_as_the_images_are(exported):
    _, data_dir, path = exported
    images, _ = test_data(data_dir)
    asked = requests(images)
    by_images = ask(path, "serving_uint8", images=tf.constant(images))
    encoded = tf.constant(asked["predict_images/image_bytes"])
    by_pictures = ask(path, "predict_images", image_bytes=encoded)
    for key in ("classes", "probabilities", "logits"):
        np.testing.assert_array_equal(by_pictures[key], by_images[key])
    assert by_pictures["has_ink"].numpy().all()


@pytest.mark.parametrize(
    ("shape", "brightest", "scale"),
    [
        ((9, 7, 3), 255, 1),
        ((9, 7, 4), 200, 1),
        ((9, 7, 1), 1, 255),
        ((9, 7, 3), 15, 17),
        ((9, 7, 3), 15, 1),
        ((9, 7, 1), 100, 2.55),
    ],
)
def test_pictures_have_the_scale_of_the_data(shape, brightest, scale):
    """Whether their files have it already, or use the whole range of a picture."""
    data = trained_on(shape, brightest)
    images = np.random.default_rng(0).integers(0, brightest + 1, (6, *shape), np.uint8)
    images[:, 0, 0] = brightest
    encoded = [picture(np.round(image * scale).astype(np.uint8)) for image in images]
    found = received(data, encoded)
    np.testing.assert_array_equal(found["images"], images)
    assert found["has_ink"].all() and not found["problem"].astype(bool).any()


def test_no_picture_has_as_many_channels():
    found = received(trained_on((9, 7, 12), 255), [picture(np.zeros([9, 7, 3], np.uint8))])
    assert found["images"].shape == (1, 9, 7, 12)
    assert found["problem"].tolist() == [b"a picture, which has no 12 channels, as the images have"]


def trained_on(shape: tuple[int, int, int], brightest_pixel: int) -> TrainedOn:
    return TrainedOn(shape, 2, ("a", "b"), brightest_pixel, "plain", "")


def received(data: TrainedOn, encoded: list[bytes]) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        asked, images, more = signatures.RECEIVERS[signatures.PREDICT_IMAGES](data)
        fed = {asked[signatures.IMAGE_BYTES]: np.array(encoded, object)}
        return session.run({"images": images, **more}, fed)


def test_a_picture_that_cannot_be_read_is_answered_for_itself(exported):
    whole = picture(test_data(exported[1])[0][0])
    bad = [b"", b"hello", whole[:-40], b"RIFF\x10\0\0\0WEBPVP8 "]
    answer = ask(exported[2], "predict_images", image_bytes=tf.constant([whole, *bad, whole]))
    alone = ask(exported[2], "predict_images", image_bytes=tf.constant([whole]))
    readable = [True, False, False, False, False, True]
    assert [not line for line in answer["problem"].numpy()] == readable
    assert answer["has_ink"].numpy().tolist() == readable
    assert answer["classes"].numpy()[1:-1].tolist() == [-1] * 4
    assert not answer["probabilities"].numpy()[1:-1].any()
    for place in (0, -1):
        # Kernels add up in another order for another number of images.
        np.testing.assert_allclose(answer["logits"][place], alone["logits"][0], rtol=1e-5)
        assert answer["classes"][place] == alone["classes"][0]


def test_an_export_of_an_earlier_version_prepares_pictures_as_it_did(exported, tmp_path):
    shutil.copytree(exported[2], tmp_path / "old")
    file = tmp_path / "old" / saved_model.EXTRA_FOLDER / saved_model.MODEL_FILE
    model = json.loads(file.read_text())
    assert model.pop("pictures") == "plain"
    file.write_text(json.dumps(model))
    with predictors.from_export(str(tmp_path / "old")) as predictor:
        assert predictor.pictures == "digit"
    file.write_text(json.dumps(model | {"pictures": "upside down"}))
    line = r"model.json: damaged \(pictures is 'upside down', expected digit or plain\)"
    with pytest.raises(RunError, match=line):
        predictors.from_export(str(tmp_path / "old")).__enter__()


def test_what_decoders_write_becomes_a_doubt_about_the_file(exported, capfd):
    """Their lines name no file, and nobody could tell which one is damaged."""
    file = io.BytesIO()
    Image.fromarray(test_data(exported[1])[0][0, ..., 0]).save(file, "JPEG")
    whole = file.getvalue()
    damaged = whole[:-60] + whole[-2:]
    with predictors.from_export(exported[2]) as predictor:
        first, second, cut, last = predictor.predict([whole, damaged, whole[:-60], whole])
    assert second.doubt == "Corrupt JPEG data: premature end of data segment"
    assert first == last and first.doubt == ""
    assert str(cut) == "a picture that is cut off; get the file again"
    assert capfd.readouterr().err == ""


def test_a_broken_picture_is_an_error_of_its_own(exported):
    whole = picture(test_data(exported[1])[0][0])
    with predictors.from_export(exported[2]) as predictor:
        broken = bytearray(whole)
        broken[-30] ^= 1  # A checksum is wrong then.
        first, broken, last = predictor.predict([whole, bytes(broken), whole])
    assert first == last
    assert str(broken).startswith("cannot be decoded: ") and "{{node" not in str(broken)


def test_what_is_no_export_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="--export_dir: found no .*class_names.txt"):
        predictors.from_export(str(tmp_path)).__enter__()
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/class_names.txt").write_text("a\n")
    with pytest.raises(RunError, match="cannot be loaded"):
        predictors.from_export(str(tmp_path)).__enter__()
    with (
        pytest.raises(RunError, match=r"found signatures .*serving_default.*, expected other"),
        signatures.loaded(exported[2], "other"),
    ):
        pass


@pytest.mark.parametrize("mine", ["notes.txt", "variables/notes", "assets/names.txt"])
def test_a_folder_with_files_of_somebody_else_is_not_replaced(exported, tmp_path, mine):
    run = exported[0]
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    other = TrainedOn(**vars(run.trained_on) | {"digest": "another"})
    assert saved_model.export(run.params, other, run.checkpoint, str(tmp_path)) == path
    assert [p.name for p in tmp_path.iterdir()] == [os.path.basename(path)]
    (tmp_path / os.path.basename(path) / mine).write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=f"found {mine}, expected an export of this package"):
        saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_folder_of_another_export_is_not_replaced(exported, tmp_path):
    run = exported[0]
    path = tmp_path / str(checkpoints.step_of(run.checkpoint)) / "saved_model.pb"
    path.parent.mkdir()
    path.write_bytes(b"somebody's model")
    with pytest.raises(RunError, match="found no assets.extra/model.json, expected an export"):
        saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    assert path.read_bytes() == b"somebody's model"


def test_weights_of_another_network_are_refused(exported, tmp_path):
    run, _, _ = exported
    params = run.params | {"batch_norm": "none"}
    with pytest.raises(RunError, match=r"cannot be restored: .*bias"):
        saved_model.export(params, run.trained_on, run.checkpoint, str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", [tflite.NONE, tflite.FLOAT16, tflite.INT8])
def test_tflite_models_answer_nearly_as_the_original(exported, tmp_path, quantize):
    run, data_dir, _ = exported
    manifest = read_manifest(data_dir)
    path = str(tmp_path / "new/model.tflite")
    tflite.export(run, data_dir, manifest, path, quantize=quantize)
    original = evaluation.evaluate_alone(run, data_dir, manifest, "test")["accuracy"]
    assert tflite.accuracy(path, data_dir, manifest, "test") == pytest.approx(original, abs=0.1)
    share = os.path.getsize(path) / (4 * sum(v.size for v in weights(run)))
    expected = {tflite.NONE: 1, tflite.FLOAT16: 0.5, tflite.INT8: 0.25}[quantize]
    assert share == pytest.approx(expected, rel=0.1)


def weights(run: open_run.OpenRun) -> list[np.ndarray]:
    reader = tf.train.load_checkpoint(run.checkpoint)
    names = [n for n in reader.get_variable_to_shape_map() if "Adam" not in n]
    return [np.asarray(reader.get_tensor(name)) for name in names]


def test_int8_is_whole_numbers_from_end_to_end(exported, tmp_path):
    run, data_dir, _ = exported
    path = str(tmp_path / "model.tflite")
    manifest = read_manifest(data_dir)
    tflite.export(run, data_dir, manifest, path, quantize=tflite.INT8)
    interpreter = tf.lite.Interpreter(model_path=path)
    types = {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    assert types <= {"uint8", "int8", "int32"}
    ((scale, zero),) = [detail["quantization"] for detail in interpreter.get_input_details()]
    assert (round(scale, 2), zero) == (1.0, 0)  # A pixel is given as it is.


def command(*flags: str, cwd: Path, code: int = 0, run=programs.run) -> tuple[str, str]:
    done = run(programs.command(*flags), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_command_says_what_it_wrote_and_how_good_it_is(exported, tmp_path):
    run, _, _ = exported
    flags = ["export", f"--model_dir={run.config.model_dir}"]
    stdout, stderr = command(*flags, f"--output={tmp_path}/saved", cwd=tmp_path)
    step = run.checkpoint.rpartition("-")[2]
    assert stdout == f"exported to {tmp_path}/saved/{step}\n"
    assert stderr == ""
    (folder,) = (tmp_path / "saved").iterdir()
    model = json.loads((folder / "assets.extra/model.json").read_text())
    assert model["signatures"] == list(signatures.EXPORTED)
    options = ["--format=tflite", "--quantize=int8", f"--output={tmp_path}/m.tflite"]
    stdout, stderr = command(*flags, *options, cwd=tmp_path, run=programs.run_forked)
    assert stdout.splitlines()[0] == f"exported to {tmp_path}/m.tflite"
    assert stdout.splitlines()[1] == "it takes pixels from 0 to 255, never from 0 to 1"
    assert stdout.splitlines()[2].startswith("test accuracy ")
    assert ", the original's " in stdout
    assert stderr == ""


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--quantize=int8"], "export: --quantize: found it without --format=tflite\n"),
        (["--model_dir=none"], "export: none/run.json: not found, expected the record of a run"),
        (["--format=onnx"], "export: flag --format=onnx: value should be one of"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, flags, line):
    stdout, stderr = command("export", *flags, cwd=tmp_path, code=2)
    assert stdout == ""
    assert stderr.startswith(line) and stderr.count("\n") == 1


def test_the_command_knows_its_quantizations():
    assert export._QUANTIZE == (tflite.NONE, tflite.FLOAT16, tflite.INT8)
