"""`predict` on pictures of digits as people have them, and on files that are none."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import programs

from mnist_estimator.data import known_datasets, sources
from mnist_estimator.pictures import picture_files

ROOT = Path(__file__).parents[1]
DIGITS = "pictures: prepared as handwritten digits are for MNIST (digit)\n"
PICTURES = 44  # Four of each kind that the benchmark makes.


def command(*arguments, cwd, code=0, run=programs.run_forked):
    done = run(programs.command(*arguments), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a run on the bundled digits, and a folder of pictures named by their digit."""
    folder = tmp_path_factory.mktemp("work")
    flags = ["--max_steps=150", "--eval_split=none"]
    command("train", "--dataset=sample", "--model_dir=run", *flags, cwd=folder)
    (folder / "pictures").mkdir()
    for number, (label, content) in enumerate(made_pictures()):
        suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
        (folder / f"pictures/{number:02d}-{label}.{suffix}").write_bytes(content)
    return folder


def made_pictures():
    """Yields (digit, encoded picture): test digits, made into pictures as the benchmark does it."""
    spec = importlib.util.spec_from_file_location("made", ROOT / "benchmarks/predict_pictures.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    test = sources.from_folder(known_datasets.sample_dir()).test
    images, labels = next(test.chunks(PICTURES))
    random = np.random.default_rng(3)
    makers = list(made.KINDS.values())
    for number, (image, label) in enumerate(zip(images[..., 0], labels, strict=True)):
        yield int(label), makers[number % len(makers)](image, random)


def shares_right(lines: list[dict]) -> float:
    return np.mean([line["digit"] == Path(line["file"]).stem[-1] for line in lines])


def test_pictures_of_all_kinds_are_read(work):
    flags = ["--model_dir=run", "pictures", "--json"]
    stdout, stderr = command("predict", *flags, cwd=work, run=programs.run)
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert stderr == DIGITS
    assert [line["file"] for line in lines] == sorted(
        f"pictures/{path.name}" for path in (work / "pictures").iterdir()
    )
    # So short a training gets some 95% of the digits right as they are.
    assert shares_right(lines) >= 0.85
    assert all(line["probability"] >= line["runner_up_probability"] for line in lines)


def test_an_export_needs_no_run_and_gives_the_same_lines(work, tmp_path):
    (export,) = (work / "run/export/best").iterdir()
    pattern = str(work / "pictures/0*")
    from_run, _ = command("predict", f"--model_dir={work}/run", pattern, cwd="/")
    os.symlink(export, tmp_path / "served")
    from_export, _ = command("predict", "--export_dir=served", pattern, cwd=tmp_path)
    assert from_run == from_export
    assert len(from_run.splitlines()) == 10
    assert re.fullmatch(
        r".*/00-\d\.\w+: \d  [01]\.\d{4}  \(or \d  0\.\d{4}\)", from_run.splitlines()[0]
    )


def test_what_cannot_be_read_is_one_line_and_the_others_go_through(work, tmp_path):
    whole = sorted((work / "pictures").glob("*.png"))[0]
    (tmp_path / "whole.png").write_bytes(whole.read_bytes())
    (tmp_path / "broken.png").write_bytes(whole.read_bytes()[:-60])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "blank.png").write_bytes(blank())
    names = ["broken.png", "whole.png", "text.png", "bomb.png", "gone.png", "blank.png"]
    flags = [f"--model_dir={work}/run", "--json"]
    stdout, stderr = command("predict", *flags, *names, cwd=tmp_path, code=2)
    answers = {line["file"]: line for line in map(json.loads, stdout.splitlines())}
    assert answers["whole.png"]["digit"] == answers["whole.png"]["class"] == whole.stem[-1]
    assert answers["blank.png"] == {"file": "blank.png", "digit": None, "class": None}
    assert "error" in answers["broken.png"] and "error" in answers["bomb.png"]
    # What is not there is said before TensorFlow is imported.
    gone, said, *lines = stderr.splitlines()
    assert f"{said}\n" == DIGITS
    lines.insert(0, gone)
    assert [line.split(": ")[1] for line in lines] == [
        "gone.png", "broken.png", "text.png", "bomb.png"
    ]  # fmt: skip
    assert all(line.startswith("predict: ") for line in lines)
    text, _ = command("predict", flags[0], "blank.png", "whole.png", cwd=tmp_path)
    assert text.splitlines()[0] == "blank.png: no digit found"


def blank() -> bytes:
    from mnist_estimator.compat import tf

    return tf.io.encode_png(np.full([60, 40, 3], 230, np.uint8)).numpy()


def bomb() -> bytes:
    """The header of a PNG of ten gigapixels."""
    whole = bytearray(blank())
    whole[16:24] = (100_000).to_bytes(4, "big") * 2
    return bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "found no pictures, expected files, folders or patterns; see --help"),
        (["none.png"], "none.png: No such file"),
        (["x*.png"], "x*.png: matches nothing"),
        (["--export_dir=a", "--model_dir=b", "x.png"], "--export_dir and --model_dir: found both"),
        (
            ["--export_dir=a", "--checkpoint=b", "x.png"],
            "--export_dir and --checkpoint: found",
        ),
        (["--modeldir=a", "x.png"], "Unknown command line flag 'modeldir'"),
    ],
)
def test_a_mistake_is_answered_without_tensorflow(tmp_path, arguments, line):
    script = (
        "import sys\n"
        "from mnist_estimator import predict\n"
        "from mnist_estimator.runtime import program\n"
        "predict.define_flags()\n"
        "try:\n"
        "    program.run(predict.main, takes_arguments=True)\n"
        "finally:\n"
        "    assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr and done.stderr.count("\n") == 1


def test_a_model_dir_without_a_run_is_one_line(tmp_path):
    (tmp_path / "x.png").write_bytes(blank())
    _, stderr = command("predict", "--model_dir=no", "x.png", cwd=tmp_path, code=2)
    assert stderr == "predict: no/run.json: not found, expected the record of a run; train first\n"


def test_a_reader_that_goes_away_is_no_traceback(work):
    flags = "-m mnist_estimator.predict --model_dir=run pictures pictures"
    done = subprocess.run(
        f"{sys.executable} {flags} | head -1",
        shell=True,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("pictures/00-")
    assert "Traceback" not in done.stderr


def test_the_limits_are_what_the_docs_say():
    text = (ROOT / "docs/serving.md").read_text()
    assert f"{picture_files.MAX_PIXELS // 10**6} megapixels" in text
    assert f"{picture_files.MAX_FILE_BYTES >> 20} MiB" in text
