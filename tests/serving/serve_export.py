"""Answers requests from an exported model with plain TensorFlow, as a program of somebody else.

  python serve_export.py EXPORT_DIR REQUESTS.npz ANSWERS.npz

It runs in a process of its own, with any TensorFlow, and must not know of mnist_estimator. Requests
are arrays named SIGNATURE/INPUT, answers arrays named SIGNATURE/OUTPUT.
"""

import sys

import numpy as np
import tensorflow as tf


def main(export_dir, requests, answers):
    served = tf.saved_model.load(export_dir)
    found = {}
    for name, value in np.load(requests, allow_pickle=True).items():
        signature, _, key = name.partition("/")
        if key == "records":  # Serialized tf.Example: bytes of any length.
            key, value = "examples", value.astype(object)
        if key == "image_bytes":
            value = value.astype(object)
        function = served.signatures[signature]
        (wanted,) = function.structured_input_signature[1].values()
        argument = next(iter(function.structured_input_signature[1]))
        assert key in ("examples", argument), (key, argument)
        values = function(**{argument: tf.constant(value, wanted.dtype)})
        found |= {f"{signature}/{output}": value.numpy() for output, value in values.items()}
    assert not [module for module in sys.modules if module.startswith("mnist_estimator")]
    np.savez(answers, version=tf.__version__, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
