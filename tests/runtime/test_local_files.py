"""Local files: nothing is written or removed through a link, only plain files are read."""

from __future__ import annotations

import os

import pytest
from support.unchanged import untouched

from mnist_estimator.runtime import local_files


def test_a_folder_is_removed_and_what_its_links_point_to_is_not(tmp_path, outside):
    folder = tmp_path / "folder"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_text("")
    (folder / "link").symlink_to(outside)
    (folder / "deep/er/link").symlink_to(outside / "below")
    (folder / "deep/file").symlink_to(outside / "a")
    (folder / "loop").symlink_to(folder)
    os.link(outside / "a", folder / "hard")
    with untouched(outside):
        local_files.remove_folder(str(folder))
    assert not folder.exists()


@pytest.mark.parametrize("target", ["outside", "outside/a", "nowhere"])
def test_a_link_in_place_of_a_folder_is_removed_itself(tmp_path, outside, target):
    (tmp_path / "link").symlink_to(tmp_path / target)
    with untouched(outside):
        local_files.remove_folder(str(tmp_path / "link"), first=["manifest.json", "below/b"])
    assert not os.path.lexists(tmp_path / "link")


def test_what_goes_first_goes_through_no_link(tmp_path, outside):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "below").symlink_to(outside / "below")
    with untouched(outside):
        local_files.remove_folder(str(folder), first=["below/b"])
    assert not folder.exists()


def test_a_folder_that_becomes_a_link_meanwhile_is_not_gone_through(tmp_path, outside, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    rmtree = local_files.shutil.rmtree

    def swapped(path, **options):
        os.rename(folder, tmp_path / "moved")
        folder.symlink_to(outside)
        rmtree(path, **options)

    monkeypatch.setattr(local_files.shutil, "rmtree", swapped)
    with untouched(outside):
        local_files.remove_folder(str(folder))
    assert local_files.shutil.rmtree is swapped and rmtree.avoids_symlink_attacks
