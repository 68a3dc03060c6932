"""Finding bundles by name, path and digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from block_codec import block_files, block_manifest, write_archive, write_directory

from nvc_errors import BundleError, UsageError
from nvc_runtime import find_bundle, open_bundle
from nvc_runtime.bundle import DEFAULT_BUNDLE, catalog, known_bundles


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Two folders named by the environment variable, and one that stands for the shipped one."""
    made = [tmp_path / name for name in ("first", "second", "shipped")]
    for folder in made:
        folder.mkdir()
    monkeypatch.setenv("NVC_BUNDLES", os.pathsep.join(["", *map(str, made[:2]), "/nowhere"]))
    monkeypatch.setattr(catalog, "shipped_folder", lambda: made[2])
    return made[0], made[1], made[2]


def variant(comment: str) -> dict[str, bytes]:
    """Files of a bundle that differs in nothing but its card, and so in its digest."""
    return block_files(block_manifest() | {"card": {"comment": comment}})


def test_bundles_are_listed_in_the_order_of_the_folders(folders: tuple[Path, ...]) -> None:
    write_archive(folders[2] / "shipped.nvcb", block_files())
    write_directory(folders[1] / "tree", block_files())
    write_archive(folders[0] / "b.nvcb", block_files())
    write_archive(folders[0] / "a.nvcb", block_files())
    (folders[0] / "notes.txt").touch()
    (folders[0] / "empty").mkdir()
    assert [p.name for p in known_bundles()] == ["a.nvcb", "b.nvcb", "tree", "shipped.nvcb"]


def test_bundle_is_opened_by_name_with_or_without_suffix(folders: tuple[Path, ...]) -> None:
    path = write_archive(folders[1] / "codec-1.0.nvcb", block_files())
    assert open_bundle("codec-1.0").path == path
    assert open_bundle("codec-1.0.nvcb").path == path
    tree = write_directory(folders[0] / "codec-2.0", block_files())
    assert open_bundle("codec-2.0").path == tree
    with pytest.raises(UsageError):
        open_bundle("codec-2")


def test_first_folder_wins(folders: tuple[Path, ...]) -> None:
    write_archive(folders[2] / "codec.nvcb", variant("shipped"))
    mine = write_archive(folders[0] / "codec.nvcb", variant("mine"))
    assert open_bundle("codec").path == mine


def test_bundle_is_opened_by_path(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "elsewhere.zip", block_files())
    tree = write_directory(tmp_path / "tree", block_files())
    assert open_bundle(archive).digest == open_bundle(str(tree)).digest


def test_default_bundle_is_the_shipped_one(folders: tuple[Path, ...]) -> None:
    path = write_archive(folders[2] / f"{DEFAULT_BUNDLE}.nvcb", block_files())
    assert open_bundle().path == path


def test_unknown_name_lists_the_known_ones(folders: tuple[Path, ...]) -> None:
    with pytest.raises(UsageError, match="none"):
        open_bundle("nonsense")
    write_archive(folders[0] / "zebra.nvcb", block_files())
    write_archive(folders[2] / "ant.nvcb", block_files())
    with pytest.raises(UsageError, match=r"'nonsense'.*ant, zebra"):
        open_bundle("nonsense")


def test_bundle_is_found_by_digest_under_any_name(folders: tuple[Path, ...]) -> None:
    write_archive(folders[0] / "other.nvcb", variant("other"))
    wanted = open_bundle(write_archive(folders[1] / "renamed.nvcb", block_files()))
    assert find_bundle(wanted.digest, "block").path == wanted.path


def test_digest_that_is_not_here_names_the_bundle(folders: tuple[Path, ...]) -> None:
    write_archive(folders[0] / "other.nvcb", variant("other"))
    with pytest.raises(BundleError, match=r"'block'.*0707.*NVC_BUNDLES"):
        find_bundle(bytes([7]) * 32, "block")


def test_unreadable_bundle_does_not_hide_the_others(folders: tuple[Path, ...]) -> None:
    (folders[0] / "broken.nvcb").write_bytes(b"PK not really")
    wanted = open_bundle(write_archive(folders[1] / "block.nvcb", block_files()))
    assert find_bundle(wanted.digest, "block").path == wanted.path
    with pytest.raises(BundleError, match=r"unreadable.*broken\.nvcb"):
        find_bundle(bytes(32), "block")
    with pytest.raises(BundleError, match="ZIP"):
        open_bundle("broken")
