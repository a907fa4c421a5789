"""Which of the lines that TensorFlow's libraries print are left out."""

from __future__ import annotations

import os

from mnist_estimator.compat import _quiet


def test_start_up_noise_is_left_out_and_errors_are_not(capfd):
    with _quiet.without_noise(_quiet.START_UP_NOISE):
        os.write(2, b"E0000 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting ...\n")
        os.write(2, b"E0000 other.cc:1] Something is wrong\n")
        os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on. ...\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "E0000 other.cc:1] Something is wrong\nafter\n"
