"""Answers/s of an export by each signature, and the same preparation in Pillow and numpy."""

from __future__ import annotations

import os
import shutil
import subprocess

from benchmarks.comparison import environments, package_data
from benchmarks.comparison.children import ROOT
from benchmarks.comparison.parts import Options, Part, Task, Value

_TEXT = """\
An export of the network, loaded with TensorFlow. The time of an answer is that of one client who
asks again and again; answers/s are those of as many clients at once as there are cores. The
pictures are MNIST test digits of 280x280, dark on light, as PNG. *Pillow and numpy* prepares them
as a person would write it (inverted, a threshold, the bounding box, fitted into 20x20, the centre
of mass in the middle) and asks `serving_uint8`. It reads clean scans only, and a ratio compares it
with `predict_images`, which also finds digits on dark, coloured and unevenly lit paper."""

_OURS = "mnist_estimator"
_PEER = "Pillow and numpy"
_PROGRAM = "answers.py"
_SIGNATURES = ("serving_default", "serving_uint8", "classify", "predict_images")
_BATCHES = (1, 128)
_FOLDER = "answers"
_STEPS = 300


def _tasks(options: Options, round_number: int) -> list[Task]:
    return [
        _task(contender, signature, ask, environment, batch, options)
        for batch in _BATCHES
        for contender, signature, ask, environment in [
            *((_OURS, name, name, "tensorflow") for name in _SIGNATURES),
            (_PEER, "predict_images", "pillow", "datasets"),
        ]
    ]


def _task(
    contender: str, signature: str, ask: str, environment: str, batch: int, options: Options
) -> Task:
    seconds = 1 if options.quick else 5
    arguments = (f"--ask={ask}", f"--batch={batch}", f"--seconds={seconds}")
    setting = f"{signature}, {batch} at a time"
    return Task(contender, setting, environment, _PROGRAM, arguments, deadline=600)


def _prepare(options: Options) -> None:
    """Trains a network for some steps and exports it to `WORK/answers/export`."""
    package_data.prepared(options)
    work = options.work_dir.resolve()
    folder = work / _FOLDER
    mark, digest = folder / "package", environments.package_digest()
    # An export holds the graph of the package that made it.
    if mark.exists() and mark.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    python = environments.python("tensorflow", options.work_dir)
    flags = [f"--data_dir={work / package_data.FOLDER}", f"--model_dir={folder / 'run'}"]
    flags += [f"--max_steps={_STEPS}", "--eval_split=none", "--export=final"]
    command = [python, "-m", "mnist_estimator.train", *flags]
    subprocess.run(command, check=True, cwd=ROOT, timeout=3600)
    os.rename(folder / "run" / "export" / "final" / str(_STEPS), folder / "export")
    mark.write_text(digest)


PART = Part(
    name="answers",
    title="Answers of an export",
    text=_TEXT,
    values=(
        Value("answers_per_second", "Answers, all cores", "images/s"),
        Value("milliseconds", "Time of an answer", "ms", larger_is_better=False),
        Value("cpu_milliseconds", "Processor's time of an image", "ms", larger_is_better=False),
        Value("right", "Right answers", "share of the images"),
    ),
    ours=_OURS,
    settings_down=True,
    tasks=_tasks,
    prepare=_prepare,
)
