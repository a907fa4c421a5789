"""Predictors from checkpoints and from exports, and pictures that are damaged."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.exports import picture

from mnist_estimator import RunError
from mnist_estimator.serving import predictors, saved_model


def test_a_model_from_an_export_predicts_as_the_run_does(exported):
    run, path = exported.run, exported.path
    encoded = [picture(image) for image in exported.test_data()[0]]
    with predictors.from_checkpoint(run) as one, predictors.from_export(path) as other:
        assert one.predict(encoded) == other.predict(encoded)
        assert one.pictures == other.pictures == "plain"


def test_an_export_of_an_earlier_version_prepares_pictures_as_it_did(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "old")
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
    Image.fromarray(exported.test_data()[0][0, ..., 0]).save(file, "JPEG")
    whole = file.getvalue()
    damaged = whole[:-60] + whole[-2:]
    with predictors.from_export(exported.path) as predictor:
        first, second, cut, last = predictor.predict([whole, damaged, whole[:-60], whole])
    assert second.doubt == "Corrupt JPEG data: premature end of data segment"
    assert first == last and first.doubt == ""
    assert str(cut) == "a picture that is cut off; get the file again"
    assert capfd.readouterr().err == ""


def test_a_broken_picture_is_an_error_of_its_own(exported):
    whole = picture(exported.test_data()[0][0])
    with predictors.from_export(exported.path) as predictor:
        broken = bytearray(whole)
        broken[-30] ^= 1  # A checksum is wrong then.
        first, broken, last = predictor.predict([whole, bytes(broken), whole])
    assert first == last
    assert str(broken).startswith("cannot be decoded: ") and "{{node" not in str(broken)


def test_an_answer_that_is_not_a_number_is_an_error(exported, monkeypatch):
    one = picture(exported.test_data()[0][0])
    with predictors.from_export(exported.path) as predictor:
        session = predictor._session

        class Undefined:
            def run(self, *arguments):
                found = session.run(*arguments)
                found["probabilities"][0, 0] = np.nan
                return found

        predictor._session = Undefined()
        first, second = predictor.predict([one, one])
    assert str(first).startswith("the network's answer is not a number")
    assert isinstance(second, predictors.Answer)


def test_what_is_no_export_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="--export_dir: found no .*class_names.txt"):
        predictors.from_export(str(tmp_path)).__enter__()
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/class_names.txt").write_text("a\n")
    with pytest.raises(RunError, match="cannot be loaded"):
        predictors.from_export(str(tmp_path)).__enter__()
