"""Measures how well a network reads ordinary pictures of digits, and what each preparation adds.

  python benchmarks/predict_pictures.py --source_dir=data/idx --model_dir=tboard/mod1 --keep=made

Makes pictures of MNIST test digits as people have them (scans, photographs, drawings with
transparency), the same ones for the same seed. Prepares each with `preparation.digit_images`, and
predicts with the run's newest checkpoint. Prints the accuracy for each kind of picture: with the
whole preparation; without the centre of mass (the box is centred); without the polarity (ink is
taken to be the darker colour); without both; and without any (the picture, shrunk and inverted).
--keep also writes the pictures, and sheet.png with all prepared images in the same order.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
from collections.abc import Callable
from unittest import mock

import numpy as np
from PIL import Image, ImageFilter

from mnist_estimator import model_fn, predictions
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import idx, inputs
from mnist_estimator.data.manifest import read_manifest
from mnist_estimator.pictures import digits, preparation
from mnist_estimator.runs import open_run
from mnist_estimator.runs.record import read_run

_SHAPE = (28, 28, 1)


def main() -> None:
    """Makes the pictures, reads them in every way and prints the table."""
    given = _arguments()
    digits, labels = test_digits(given.source_dir)
    random = np.random.default_rng(given.seed)
    chosen = random.choice(len(labels), given.pictures, replace=False)
    kinds = [list(KINDS)[place % len(KINDS)] for place in range(given.pictures)]
    made = [KINDS[kind](digits[index], random) for kind, index in zip(kinds, chosen, strict=True)]
    images = {name: prepare(made, ways) for name, ways in ABLATIONS.items()}
    # All in one session: a run that still trains may have another newest checkpoint later.
    classes = classify(np.concatenate(list(images.values())), given.model_dir)
    classes = dict(zip(images, np.split(classes, len(images)), strict=True))
    right = {name: found == labels[chosen] for name, found in classes.items()}
    if given.keep:
        keep(pathlib.Path(given.keep), made, kinds, labels[chosen], images["recipe"])
        for place in np.flatnonzero(~right["recipe"]):
            wrong = f"{labels[chosen][place]} -> {classes['recipe'][place]}"
            print(f"{place:04d} {kinds[place]}: {wrong}")
    print_table(np.array(kinds), right)


def _arguments() -> argparse.Namespace:
    # A test imports this file, and absl's flags would be defined for its whole process.
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source_dir", required=True, help="folder with IDX files")
    parser.add_argument("--model_dir", required=True, help="folder of the run")
    parser.add_argument("--pictures", type=int, default=200, help="how many to make, at least 40")
    parser.add_argument("--seed", type=int, default=0, help="of the digits and all else")
    parser.add_argument("--keep", default="", help="folder to write the pictures to")
    given = parser.parse_args()
    if given.pictures < 40:
        parser.error(f"--pictures: found {given.pictures}, expected 40 or more")
    return given


def print_table(kinds: np.ndarray, right: dict[str, np.ndarray]) -> None:
    """Prints a row for each kind and one for all."""
    print("| kind | pictures |", " | ".join(right), "|\n| --- | --: |", " --: |" * len(right))
    for kind in [*KINDS, "all"]:
        rows = kinds == kind if kind != "all" else np.full(len(kinds), True)
        shares = [f"{100 * found[rows].mean():.1f}" for found in right.values()]
        print(f"| {kind} | {rows.sum()} |", " | ".join(shares), "|")


def test_digits(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's test images uint8 [10000,28,28] and labels, from plain or gzipped IDX files."""
    arrays = []
    for role in ("t10k-images", "t10k-labels"):
        (path,) = sorted(pathlib.Path(folder).glob(f"{role}*"))[:1]
        with open(path, "rb") as file:
            arrays.append(idx.read_idx(file, name=str(path)))
    return arrays[0], arrays[1]


def keep(
    folder: pathlib.Path, made: list, kinds: list, labels: np.ndarray, images: np.ndarray
) -> None:
    """Writes the pictures and a sheet of what was made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, (encoded, kind, label) in enumerate(zip(made, kinds, labels, strict=True)):
        suffix = "png" if encoded.startswith(b"\x89") else "jpg"
        name = f"{place:04d}-{kind.replace(' ', '-')}-{label}.{suffix}"
        (folder / name).write_bytes(encoded)
    columns = 20
    padded = np.pad(images[..., 0], [(0, -len(images) % columns), (1, 1), (1, 1)])
    sheet = padded.reshape(-1, columns, 30, 30).transpose(0, 2, 1, 3).reshape(-1, columns * 30)
    Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2)).save(
        folder / "sheet.png"
    )


def prepare(made: list[bytes], ways: dict[str, Callable]) -> np.ndarray:
    """Prepares pictures with parts of the recipe replaced: uint8 [N,28,28,1]."""
    with tf.Graph().as_default(), contextlib.ExitStack() as stack:
        for name, way in ways.items():
            stack.enter_context(mock.patch.object(digits, name, way))
        encoded = v1.placeholder(tf.string, [None])
        images, _ = preparation.digit_images(encoded, _SHAPE)
        with v1.Session() as session:
            return session.run(images, {encoded: made})


def classify(images: np.ndarray, model_dir: str) -> np.ndarray:
    """The classes that a run's newest checkpoint finds, int64 [N]."""
    settings, record = read_run(model_dir)
    manifest = read_manifest(record["dataset"]["data_dir"])
    with tf.Graph().as_default(), v1.Session() as session:
        fed = v1.placeholder(tf.uint8, [None, *_SHAPE])
        spec = model_fn.model_fn(
            {inputs.IMAGES: fed},
            None,
            estimator.ModeKeys.PREDICT,
            settings.model_params(manifest),
        )
        checkpoint = open_run.find_checkpoint(model_dir, open_run.NEWEST)
        v1.train.Saver().restore(session, checkpoint)
        print(f"{checkpoint}:\n")
        return session.run(spec.predictions[predictions.CLASSES], {fed: images})


def box_centred(digit: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """What `digits._centred` does, by the middle of the box."""
    spare = [height, width] - tf.shape(digit)
    return tf.ensure_shape(
        tf.pad(digit, tf.stack([spare // 2, spare - spare // 2], 1)), [height, width]
    )


def dark_ink(grey: tf.Tensor) -> tf.Tensor:
    """What `digits._is_dark` says, if ink is always the darker."""
    del grey
    return tf.constant(True)


def plain_digit(pixels: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What `digits.digit` makes, without looking: the whole picture, shrunk and inverted."""
    grey = tf.reduce_mean(pixels[..., :3], -1, keepdims=True)
    image = tf.image.resize(255 - grey, [height, width], tf.image.ResizeMethod.AREA)[..., 0]
    return tf.cast(tf.round(image), tf.uint8), tf.constant(True)


ABLATIONS: dict[str, dict[str, Callable]] = {
    "recipe": {},
    "no centring": {"_centred": box_centred},
    "no polarity": {"_is_dark": dark_ink},
    "neither": {"_centred": box_centred, "_is_dark": dark_ink},
    "plain resize": {"digit": plain_digit},
}


def _ink(digit: np.ndarray, random: np.random.Generator, *, low: int = 40, high: int = 900):
    """A digit drawn large: how much ink, float64 [h,w] from 0 to 1, sides odd in both senses."""
    height = int(random.integers(low, high))
    width = int(height * random.uniform(0.8, 1.25))
    room = Image.fromarray(np.pad(digit, int(random.integers(0, 8))))
    turned = room.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC)
    scaled = turned.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled, np.float64) / 255


def _mixed(ink: np.ndarray, stroke: object, paper: object) -> np.ndarray:
    """Strokes of one colour on paper of another, each [3] or [h,w,3]: float64 [h,w,3]."""
    stroke, paper = np.asarray(stroke, np.float64), np.asarray(paper, np.float64)
    return ink[..., None] * stroke + (1 - ink[..., None]) * paper


def _png(array: np.ndarray) -> bytes:
    return _encoded(array, "PNG")


def _jpeg(array: np.ndarray, random: np.random.Generator) -> bytes:
    return _encoded(array, "JPEG", quality=int(random.integers(25, 61)))


def _encoded(array: np.ndarray, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.clip(np.round(array), 0, 255).astype(np.uint8)).save(file, form, **options)
    return file.getvalue()


def scanned(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Black on white, grey."""
    return _png(255 * (1 - _ink(digit, random)))


def inverted(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """White on black, as a blackboard's."""
    return _png(30 + 200 * _ink(digit, random))


def coloured_paper(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Dark on paper of a light colour."""
    paper = random.integers(140, 256, 3)
    return _png(_mixed(_ink(digit, random), random.integers(0, 70, 3), paper))


def coloured_ink(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Two colours of about the same luminance, with no order between light and dark."""
    pairs = (
        ((200, 30, 30), (20, 130, 30)),
        ((30, 90, 220), (190, 60, 60)),
        ((0, 150, 90), (210, 90, 0)),
    )
    stroke, paper = random.permutation(pairs[random.integers(len(pairs))])
    return _png(_mixed(_ink(digit, random), stroke, paper))


def textured(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Rough paper: noise of several sizes."""
    ink = _ink(digit, random)
    texture = np.zeros(ink.shape)
    for size in (3, 12, 48):
        cells = random.normal(0, 6, (max(2, ink.shape[0] // size), max(2, ink.shape[1] // size)))
        rough = Image.fromarray(cells.astype(np.float32))
        texture += np.asarray(rough.resize(ink.shape[::-1], Image.Resampling.BICUBIC))
    paper = np.array([215, 205, 185]) + texture[..., None]
    return _png(_mixed(ink, (40, 40, 60), paper))


def _lit(shape: tuple[int, int], random: np.random.Generator, least: float) -> np.ndarray:
    """Light that falls off in some direction, from 1 to `least`: [h,w,1]."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None] - 0.5
    angle = random.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    return (least + (1 - least) * (along + 0.5))[..., None]


def gradient(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Lit from one side: the paper at the dark end is darker than grey."""
    ink = _ink(digit, random)
    return _png(_mixed(ink, (40, 40, 40), (250, 250, 240)) * _lit(ink.shape, random, 0.35))


def jpeg(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Dark blue on white, compressed until it shows."""
    return _jpeg(_mixed(_ink(digit, random), (30, 30, 120), (245, 245, 245)), random)


def shifted(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Small, anywhere on a larger page."""
    ink = _ink(digit, random, low=40, high=300)
    height, width = (int(side * random.uniform(1.4, 3)) for side in ink.shape)
    page = np.zeros((height, width))
    top, left = (
        int(random.integers(whole - part + 1))
        for whole, part in zip(page.shape, ink.shape, strict=True)
    )
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return _png(255 * (1 - page))


def opaque_strokes(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Strokes of one colour, everything else transparent."""
    ink = _ink(digit, random)
    colour = random.integers(0, 256, 3) if random.random() < 0.5 else np.zeros(3)
    return _png(np.dstack([np.broadcast_to(colour, (*ink.shape, 3)), 255 * ink]))


def opaque_paper(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """A sheet of one colour from which the strokes are cut out."""
    ink = _ink(digit, random)
    colour = random.integers(0, 256, 3)
    return _png(np.dstack([np.broadcast_to(colour, (*ink.shape, 3)), 255 * (1 - ink)]))


def photographed(digit: np.ndarray, random: np.random.Generator) -> bytes:
    """Out of focus, dim at the corners, noisy, lit from one side, and compressed."""
    ink = _ink(digit, random, low=200)
    sheet = _mixed(ink, (60, 60, 70), (225, 215, 200)) * _lit(ink.shape, random, 0.6)
    y, x = (np.linspace(-1, 1, side) for side in ink.shape)
    sheet *= 1 - 0.3 * (y[:, None, None] ** 2 + x[:, None] ** 2)
    image = Image.fromarray(sheet.astype(np.uint8))
    radius = max(ink.shape) * random.uniform(0.003, 0.012)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float64)
    return _jpeg(blurred + random.normal(0, 10, blurred.shape), random)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], bytes]] = {
    "scanned": scanned,
    "inverted": inverted,
    "coloured paper": coloured_paper,
    "coloured ink": coloured_ink,
    "textured": textured,
    "gradient": gradient,
    "JPEG": jpeg,
    "off-centre": shifted,
    "opaque strokes": opaque_strokes,
    "opaque paper": opaque_paper,
    "photographed": photographed,
}

if __name__ == "__main__":
    main()
