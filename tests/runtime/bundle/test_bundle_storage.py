"""Bundles on disk: both forms give the same bundle, and damaged ones are refused."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_codec import (
    TABLES_FILE,
    Files,
    block_files,
    block_manifest,
    write_archive,
    write_directory,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nvc_errors import BundleError
from nvc_runtime import Bundle
from nvc_runtime.bundle.manifest import MAX_MANIFEST_BYTES

FORMS = pytest.mark.parametrize("form", ["directory", "stored", "deflated"])


def write(form: str, folder: Path, files: Files) -> Path:
    if form == "directory":
        return write_directory(folder / "block", files)
    method = zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED
    return write_archive(folder / "block.nvcb", files, method)


def load_all(path: Path) -> Bundle:
    """Open a bundle and read every file of it."""
    bundle = Bundle(path)
    for name in bundle.manifest.graphs:
        bundle.graph(name)
    return bundle


def with_arrays(**changes: Any) -> Files:
    """The bundle with arrays of its tables replaced (or, for None, removed), digests and all."""
    files = block_files()
    arrays: dict[str, Any] = {**load_safetensors(files[TABLES_FILE]), **changes}
    data = save_safetensors({name: a for name, a in arrays.items() if a is not None})
    return with_tables(data)


def with_tables(data: bytes) -> Files:
    manifest = block_manifest()
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    manifest["files"][TABLES_FILE] = entry
    return block_files(manifest) | {TABLES_FILE: data}


@FORMS
def test_bundle_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    files = block_files()
    bundle = load_all(write(form, tmp_path, files))
    assert bundle.digest == hashlib.sha256(files["manifest.json"]).digest()
    assert bundle.name == "block"
    assert bundle.graph("prior_1").onnx == files["graphs/prior_1.onnx"]
    assert sorted(bundle.tables) == ["scale", "z"]
    gain = bundle.quality_vector("gain", 3)
    assert gain.shape == (1, 12, 1, 1)
    np.testing.assert_array_equal(gain * bundle.quality_vector("gain_inverse", 3), 1)


@FORMS
def test_files_the_manifest_does_not_name_are_ignored(tmp_path: Path, form: str) -> None:
    files = block_files() | {"engines/ort/plan": b"compiled"}
    assert load_all(write(form, tmp_path, files)).name == "block"


@FORMS
@pytest.mark.parametrize("name", [name for name in block_files() if name != "manifest.json"])
def test_every_file_is_checked(tmp_path: Path, form: str, name: str) -> None:
    files = block_files()
    flipped = bytes([files[name][0] ^ 1]) + files[name][1:]
    for number, wrong in enumerate((flipped, files[name][:-1], files[name] + b"\0", b"")):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write(form, folder, files | {name: wrong})
        with pytest.raises(BundleError, match="not the one its manifest describes"):
            load_all(path)
    missing = tmp_path / "missing"
    missing.mkdir()
    path = write(form, missing, {n: data for n, data in files.items() if n != name})
    with pytest.raises(BundleError, match="missing"):
        load_all(path)


@FORMS
def test_bundle_without_manifest_is_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(BundleError, match="no nvc bundle"):
        Bundle(write(form, tmp_path, {"readme.txt": b""}))


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        Bundle(tmp_path / "none.nvcb")


def test_manifest_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(BundleError):
        Bundle(tmp_path)


def test_message_names_the_bundle(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "odd.nvcb", block_files({"format": "zip"}))
    with pytest.raises(BundleError, match=r"odd\.nvcb"):
        Bundle(path)


@pytest.mark.parametrize(
    "path", ["../outside.bin", "/outside.bin", "graphs/../../outside.bin", "..\\outside.bin"]
)
@FORMS
def test_paths_cannot_leave_the_bundle(tmp_path: Path, form: str, path: str) -> None:
    secret = b"outside"
    (tmp_path / "outside.bin").write_bytes(secret)
    manifest = block_manifest()
    manifest["files"][path] = {"sha256": hashlib.sha256(secret).hexdigest(), "size_bytes": 7}
    manifest["graphs"]["prior_1"]["file"] = path
    (tmp_path / "inside").mkdir()
    with pytest.raises(BundleError, match="path"):
        load_all(write(form, tmp_path / "inside", block_files(manifest)))


@pytest.mark.parametrize("name", ["manifest.json", TABLES_FILE])
def test_archive_that_unpacks_to_more_than_promised_stays_small(tmp_path: Path, name: str) -> None:
    """100 MB of zeros in 100 kB: what is unpacked is bounded by the manifest, or by its limit."""
    files = {n: data for n, data in block_files().items() if n != name}
    path = write_archive(tmp_path / "bomb.nvcb", files)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w") as file,
    ):
        for _ in range(100):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            Bundle(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_MANIFEST_BYTES


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(BundleError, match="deflate"):
        Bundle(write_archive(tmp_path / "block.nvcb", block_files(), method))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_archive_is_refused_or_intact(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = write_archive(folder / "block.nvcb", block_files())
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        # Local headers, the central directory at the end, or anything between.
        place = data.draw(
            st.integers(0, len(content) - 1) | st.integers(len(content) - 900, len(content) - 1)
        )
        patch = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + len(patch)] = patch
    path.write_bytes(content)
    try:
        bundle = load_all(path)
    except BundleError:
        return
    assert bundle.digest == hashlib.sha256(block_files()["manifest.json"]).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"scale.sizes": None},
        {"z.frequencies": None},
        {"z.offsets": np.zeros(2, np.int64)},
        {"z.sizes": np.array([1, 3], np.int32)},
        {"quality.gain": None},
        {"quality.gain": np.ones((4, 11), np.float32)},
        {"quality.gain": np.ones((3, 12), np.float32)},
        {"quality.gain": np.ones((4, 12), np.float64)},
        {"quality.gain": np.full((4, 12), np.nan, np.float32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Bundle(write_archive(tmp_path / "block.nvcb", with_arrays(**changes)))


@pytest.mark.parametrize(("used", "instead"), [("scale", "z"), ("z", "scale")])
def test_table_set_needs_a_table_for_each_level_or_channel(
    tmp_path: Path, used: str, instead: str
) -> None:
    arrays = load_safetensors(block_files()[TABLES_FILE])
    parts = ("frequencies", "sizes", "offsets")
    changes = {f"{used}.{part}": arrays[f"{instead}.{part}"] for part in parts}
    with pytest.raises(BundleError, match="one for each"):
        Bundle(write_archive(tmp_path / "block.nvcb", with_arrays(**changes)))


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_tables_file_that_is_no_safetensors_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleError):
        Bundle(write_archive(tmp_path / "block.nvcb", with_tables(data)))


def test_tables_of_a_type_numpy_lacks_are_refused(tmp_path: Path) -> None:
    header = {"quality.gain": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + b"\0\0"
    with pytest.raises(BundleError):
        Bundle(write_archive(tmp_path / "block.nvcb", with_tables(data)))


def test_tables_file_must_be_named(tmp_path: Path) -> None:
    manifest = block_manifest()
    del manifest["files"][TABLES_FILE]
    with pytest.raises(BundleError, match="tables"):
        Bundle(write_archive(tmp_path / "block.nvcb", block_files(manifest)))
