"""What lies in a model_dir already, and may not be this package's."""

from __future__ import annotations

import pytest

from mnist_estimator import InputError
from mnist_estimator.runs import layout, status


@pytest.mark.parametrize("name", ["metrics.json", "evaluations.json", "status.json"])
def test_a_file_without_a_run_is_of_another_program(tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=f"found {name} without a run's run.json, so it may not"):
        layout.check_folder(str(tmp_path))


def test_a_chief_that_failed_before_its_record_may_begin_again(tmp_path):
    status.Recorder(str(tmp_path), False).write(status.FAILED, exit_code=2)
    layout.check_folder(str(tmp_path))


@pytest.mark.parametrize("name", layout.FOLDERS)
def test_a_folder_that_is_a_link_is_refused(tmp_path, name):
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path)
    with pytest.raises(InputError, match="link"):
        layout.check_no_links(str(tmp_path / "run"))


def test_a_new_folder_and_a_link_to_the_model_dir_are_fine(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    layout.check_folder(str(tmp_path / "link"))
    layout.check_folder(str(tmp_path / "new"))
