"""Turning and shifting of pictures, as `tf.contrib.image` did it: outside is 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def rotate(
    images: Any, angles: Any, interpolation: str = "NEAREST", name: str | None = None
) -> Any:
    """Turns pictures against the clock about their middle.

    Args:
      images: [height, width], [height, width, channels] or [batch, height, width, channels].
      angles: in radians, one or [batch].
      interpolation: "NEAREST" or "BILINEAR".
    """
    with v1.name_scope(name, "rotate"):
        images = tf.convert_to_tensor(images)
        shape = tf.cast(v1.shape(_batch(images)), tf.float32)
        transforms = angles_to_projective_transforms(angles, shape[1], shape[2])
        return transform(images, transforms, interpolation)


def translate(
    images: Any, translations: Any, interpolation: str = "NEAREST", name: str | None = None
) -> Any:
    """Shifts pictures by [dx, dy] or [batch, 2], in pixels to the right and down."""
    with v1.name_scope(name, "translate"):
        transforms = translations_to_projective_transforms(translations)
        return transform(images, transforms, interpolation)


def transform(
    images: Any,
    transforms: Any,
    interpolation: str = "NEAREST",
    output_shape: Sequence[int] | None = None,
    name: str | None = None,
) -> Any:
    """Takes each pixel of the output from where a projection puts it in the input.

    Args:
      transforms: [8] or [batch, 8]: a0..b2, c0, c1. The output's (x, y) is the input's
        ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
      output_shape: height and width; None: the input's.
    """
    with v1.name_scope(name, "transform"):
        images = tf.convert_to_tensor(images)
        transforms = tf.convert_to_tensor(transforms, tf.float32)
        batch = _batch(images)
        if transforms.shape.rank not in (1, 2):
            raise TypeError(
                f"transforms have the shape {transforms.shape}, expected [8], [batch, 8]"
            )
        if output_shape is None:
            known = batch.shape[1:3]
            output_shape = known.as_list() if known.is_fully_defined() else v1.shape(batch)[1:3]
        outputs = tf.raw_ops.ImageProjectiveTransformV2(
            images=batch,
            transforms=transforms if transforms.shape.rank == 2 else transforms[None],
            output_shape=tf.cast(output_shape, tf.int32),
            interpolation=interpolation.upper(),
        )
        if images.shape.rank == 4:
            return outputs
        return outputs[0] if images.shape.rank == 3 else outputs[0, :, :, 0]


def angles_to_projective_transforms(
    angles: Any, image_height: Any, image_width: Any, name: str | None = None
) -> Any:
    """Angles in radians, one or [batch] -> [batch, 8] for `transform`."""
    with v1.name_scope(name, "angles_to_projective_transforms"):
        angles = tf.convert_to_tensor(angles, tf.float32)
        if angles.shape.rank not in (0, 1):
            raise TypeError(f"angles have the shape {angles.shape}, expected one or [batch]")
        angles = tf.reshape(angles, [-1])
        cosine, sine, zero = tf.cos(angles), tf.sin(angles), tf.zeros_like(angles)
        right, low = image_width - 1, image_height - 1
        dx = (right - (cosine * right - sine * low)) / 2
        dy = (low - (sine * right + cosine * low)) / 2
        return tf.stack([cosine, -sine, dx, sine, cosine, dy, zero, zero], axis=1)


def translations_to_projective_transforms(translations: Any, name: str | None = None) -> Any:
    """[2] or [batch, 2] pixels -> [batch, 8] for `transform`."""
    with v1.name_scope(name, "translations_to_projective_transforms"):
        translations = tf.convert_to_tensor(translations, tf.float32)
        if translations.shape.rank not in (1, 2):
            raise TypeError(
                f"translations have the shape {translations.shape}, expected [batch, 2]"
            )
        dx, dy = tf.unstack(tf.reshape(translations, [-1, 2]), axis=1)
        one, zero = tf.ones_like(dx), tf.zeros_like(dx)
        return tf.stack([one, zero, -dx, zero, one, -dy, zero, zero], axis=1)


def _batch(images: Any) -> Any:
    rank = images.shape.rank
    if rank not in (2, 3, 4):
        raise TypeError(f"images have the shape {images.shape}, expected 2 to 4 dimensions")
    if rank == 4:
        return images
    return images[None] if rank == 3 else images[None, :, :, None]
