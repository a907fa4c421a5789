"""Lets TensorBoard read runs in object stores: `tensorboard --logdir s3://bucket/run`.

TensorBoard finds this module by the entry point `tensorboard_plugins` of setup.py, and asks it
about the flags before it reads anything. It adds no page to TensorBoard.
"""

from __future__ import annotations

import argparse
import importlib.util
import re

from tensorboard.plugins import base_plugin

from mnist_estimator import InputError, RunError, storage


class Loader(base_plugin.TBLoader):
    """Makes the scheme of the run's folder known to TensorFlow, and loads no plugin."""

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Looks for folders in object stores. Changes only what their files need.

        Raises:
          FlagsError: if there is one that cannot be read here: what to do.
        """
        folders = _remote_folders(getattr(flags, "logdir", ""), getattr(flags, "logdir_spec", ""))
        # Without TensorFlow, TensorBoard reads object stores by libraries of its own.
        if not folders or importlib.util.find_spec("tensorflow") is None:
            return
        # A file that grows is a new object each time: TensorBoard has to open it again.
        if flags.detect_file_replacement is None:
            flags.detect_file_replacement = True
        try:
            storage.install_for(*folders)
        except (InputError, RunError) as error:
            raise base_plugin.FlagsError(f"{folders[0]}: {error}") from None


def _remote_folders(*flags: str | None) -> list[str]:
    """The folders of `--logdir=A` or `--logdir_spec=name:A,B` that have a scheme of `storage`."""
    schemes = "|".join(storage.SCHEMES)
    return [
        folder
        for flag in flags
        for folder in re.findall(rf"(?:^|(?<=[,:]))(?:{schemes})://[^,]*", flag or "")
    ]
