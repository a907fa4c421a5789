"""From pixels to predictions: one network, several views of an image, or several networks."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_estimator import own_networks
from mnist_estimator.compat import tf, v1

# Prediction keys.
CLASSES = "classes"  # int64 [B]
PROBABILITIES = "probabilities"  # float32 [B,K]
LOGITS = "logits"  # float32 [B,K]

# How far down and right each view of an image is moved: the first ones for `views` 1, 5 and 9.
_MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def predict(
    pixels: tf.Tensor, params: Mapping[str, Any], *, training: bool
) -> dict[str, tf.Tensor]:
    """The predictions for float32 pixels [B,H,W,C], by the keys above.

    Several views or networks give the mean of their probabilities, and the logarithm of it as
    logits.

    Args:
      params: as for `model_fn.model_fn`.
    """
    logits = _logits(pixels, params, training=True) if training else _answers(pixels, params)
    with tf.name_scope("predictions"):
        return {
            CLASSES: tf.argmax(logits, axis=1),
            PROBABILITIES: tf.nn.softmax(logits),
            LOGITS: logits,
        }


def compute_dtype(precision: str) -> tf.DType:
    """The type that the layers compute in for a `--precision`; auto looks at the processor.

    bfloat16 is only worth its lower precision where it is faster: on processors that multiply it in
    hardware (x86: AVX512-BF16 or AMX), when no GPU takes the work.
    """
    if precision != "auto":
        return tf.as_dtype(precision)
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    in_hardware = flags & {"avx512_bf16", "amx_bf16"}
    return tf.bfloat16 if in_hardware and not tf.config.list_physical_devices("GPU") else tf.float32


def uses_averages(params: Mapping[str, Any]) -> bool:
    """Whether predictions are made with the moving averages of the weights."""
    return bool(params["ema_decay"] and params["use_ema"])


def member_scope(number: int) -> str:
    """The variable scope of a network of an ensemble, the first one of number 0."""
    return f"member{number}"


def _answers(pixels: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """The logits of all networks for all views, float32 [B,K], divided by the temperature."""
    views = _moved(pixels, _MOVES[: params["views"]])
    found = []
    for number, member in enumerate(params["members"]):
        with v1.variable_scope(member_scope(number)):
            of_run = {**member, "precision": params["precision"]}
            found.append(_logits(views, of_run, training=False))
    every = tf.concat(found, axis=0) if found else _logits(views, params, training=False)
    count = max(len(found), 1) * params["views"]
    if count > 1:
        # Of logarithms, as the probability of a class may be too small for float32.
        by_view = tf.reshape(tf.nn.log_softmax(every), [count, -1, every.shape[-1]])
        by_view = tf.maximum(by_view, by_view.dtype.min)
        most = tf.reduce_max(by_view, axis=0)
        every = most + tf.math.log(tf.reduce_mean(tf.exp(by_view - most), axis=0))
    return every / params["temperature"] if params["temperature"] != 1 else every


def _logits(pixels: tf.Tensor, params: Mapping[str, Any], *, training: bool) -> tf.Tensor:
    """The logits of one network, float32 [B,K]."""
    with tf.name_scope("scale"):
        # The largest pixel, 255 or in black and white data 1, becomes pixel_max.
        scaled = pixels / (params["full_scale"] / params["pixel_max"])
        scaled = tf.cast(scaled, compute_dtype(params["precision"]))
    found = own_networks.logits(params["model"], scaled, params, training=training)
    return tf.cast(found, tf.float32)


def _moved(pixels: tf.Tensor, moves: Sequence[tuple[int, int]]) -> tf.Tensor:
    """The images [B,H,W,C] moved each way, all of one way together: [len(moves)*B,H,W,C]."""
    if len(moves) == 1:
        return pixels
    _, height, width, _ = pixels.shape
    padded = tf.pad(pixels, [[0, 0], [1, 1], [1, 1], [0, 0]])
    views = [padded[:, 1 - y : 1 - y + height, 1 - x : 1 - x + width] for y, x in moves]
    return tf.concat(views, axis=0)
