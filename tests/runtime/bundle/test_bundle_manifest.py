"""Manifests: the valid one is read as written, and every way of being wrong is a BundleError."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from block_codec import LEVELS, block_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_errors import BundleError
from nvc_runtime.bundle import Manifest, TensorSpec, parse_manifest
from nvc_runtime.bundle.manifest import MAX_MANIFEST_BYTES

MISSING = object()
JSON_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**400),
    *("", "x", [], [[]], [1], {}, {"x": {}}),
]


def parse(manifest: Any) -> Manifest:
    return parse_manifest(json.dumps(manifest).encode())


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The valid manifest with one value replaced, or removed."""
    manifest = block_manifest()
    *parents, last = path
    place: Any = manifest
    for key in parents:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return manifest


def every_path(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    inner = [found for key, child in children for found in every_path(child, (*path, key))]
    return [*([path] if path else []), *inner]


def test_valid_manifest_is_read_as_written() -> None:
    manifest = parse(block_manifest())
    assert (manifest.name, manifest.alignment, manifest.qualities) == ("block", 32, 4)
    assert manifest.scale_levels == LEVELS
    assert manifest.defaults.epsilon == 1e-3
    assert manifest.tensors["gain"] == TensorSpec(12, None)
    assert manifest.tensors["y"].shape(64, 96) == (1, 12, 8, 12)
    assert [s.index for s in manifest.inter.scale_steps] == ["index_0", "index_1"]
    assert manifest.intra.carry == {"ref_frame": "decoded", "ref_feature": None}
    assert manifest.padded(17, 64) == (32, 64)


def test_card_is_optional_and_carried() -> None:
    manifest = block_manifest()
    assert parse(manifest).card == {}
    assert parse(manifest | {"card": {"licence": "Apache-2.0"}}).card == {"licence": "Apache-2.0"}


def is_required(path: tuple[Any, ...]) -> bool:
    """Whether removing it must be an error: no list item, no entry of a table, not optional."""
    entry = path[0] in ("tensors", "files", "graphs") and len(path) == 2
    return isinstance(path[-1], str) and not entry and path[-1] not in ("side", "sync")


REQUIRED = [path for path in every_path(block_manifest()) if is_required(path)]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: "/".join(map(str, path)))
def test_missing_field_is_refused(path: tuple[Any, ...]) -> None:
    with pytest.raises(BundleError):
        parse(changed(path, MISSING))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "zip", "no nvc bundle"),
        (("format_version",), 2, "update nvc"),
        (("format_version",), True, "update nvc"),
        (("surprise",), 1, "unknown fields"),
        (("name",), "Upper Case", "name"),
        (("name",), "x" * 65, "name"),
        (("family",), "", "name"),
        (("alignment",), 0, "alignment"),
        (("alignment",), 2048, "alignment"),
        (("alignment",), 32.0, "alignment"),
        (("alignment",), 36, "must divide"),
        (("qualities",), 0, "qualities"),
        (("qualities",), 257, "qualities"),
        (("scale_levels", "count"), 257, "count"),
        (("scale_levels", "count"), 1, "count"),
        (("scale_levels", "sigma_min"), 0, "sigma|scales"),
        (("scale_levels", "sigma_min"), True, "sigma_min"),
        (("scale_levels", "sigma_max"), 0.001, "scales"),
        (("scale_levels", "sigma_max"), 10**400, "sigma_max"),
        (("scale_levels", "sigma_max"), float("nan"), "sigma_max"),
        (("scale_levels", "sigma_max"), float("inf"), "sigma_max"),
        (("scale_levels", "extra"), 1, "extra"),
        (("defaults", "quality"), 4, "quality"),
        (("defaults", "keyint"), -1, "keyint"),
        (("defaults", "skip_level"), 31, "skip_level"),
        (("defaults", "skip_level"), -2, "skip_level"),
        (("defaults", "epsilon"), 0.25, "epsilon"),
        (("defaults", "epsilon"), -1e-9, "epsilon"),
        (("defaults", "epsilon"), False, "epsilon"),
        (("defaults", "pixel_epsilon"), "0.01", "pixel_epsilon"),
        (("defaults", "intra_offset"), 4, "intra_offset"),
        (("defaults", "fast"), True, "fast"),
        (("tensors", "frame", "channels"), 4, "3 channels"),
        (("tensors", "exact_frame"), {"channels": 4, "stride": 1}, "3 channels"),
        (("tensors", "y", "channels"), 5000, "channels"),
        (("tensors", "y", "stride"), 12, "divide"),
        (("tensors", "y", "stride"), 64, "stride"),
        (("tensors", "y", "dtype"), "float16", "other field"),
        (("tensors", "gain", "quality_vector"), 1, "stride"),
        (("graphs", "prior_1", "inputs"), ["nowhere"], "unknown tensors"),
        (("graphs", "prior_1", "inputs"), [["hyper"]], "lists"),
        (("graphs", "prior_1", "outputs"), {}, "lists"),
        (("graphs", "prior_1", "file"), "graphs/other.onnx", "not under 'files'"),
        (("graphs", "prior_1", "file"), 3, "file"),
        (("graphs", "prior_1", "precision"), "fp16", "precision"),
        (("graphs", "../prior"), {"file": "x", "inputs": [], "outputs": []}, "name"),
        (("graphs", "prior_1", "outputs"), ["frame"], "given"),
        (("graphs", "prior_1", "outputs"), ["gain"], "given"),
        (("tables",), ["scale"], "lacks"),
        (("tables",), [1], "names"),
        (("tables",), "scale", "names"),
        (("programs", "bidirectional"), {}, "programs are"),
        (("programs", "intra", "steps"), {}, "steps"),
        (("programs", "intra", "output"), 7, "output"),
        (("programs", "intra", "comment"), "", "comment"),
        (("card",), [], "card"),
    ],
)
def test_malformed_field_is_refused(path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse(changed(path, value))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../secret",
        "graphs/../../secret",
        "graphs//x",
        "graphs/./x",
        "graphs\\x",
        "C:x",
        "",
        "graphs/",
        "nul\0byte",
        "line\nbreak",
        "x\n",
        "\ud800",
        "x" * 101,
    ],
)
def test_file_path_that_could_leave_the_bundle_is_refused(path: str) -> None:
    entry = block_manifest()["files"]["tables.safetensors"]
    with pytest.raises(BundleError, match="path"):
        parse(changed(("files", path), entry))


@pytest.mark.parametrize(
    "entry",
    [
        {"sha256": "0" * 63, "size_bytes": 1},
        {"sha256": "G" * 64, "size_bytes": 1},
        {"sha256": 0, "size_bytes": 1},
        {"sha256": "0" * 64, "size_bytes": -1},
        {"sha256": "0" * 64, "size_bytes": 1 << 31},
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "size_bytes": 1, "md5": ""},
        [],
    ],
)
def test_malformed_file_entry_is_refused(entry: Any) -> None:
    with pytest.raises(BundleError):
        parse(changed(("files", "extra.bin"), entry))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe\xfa", b"[" * 100_000, b"1" * 5000],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)


def test_size_is_limited_before_parsing() -> None:
    data = json.dumps(block_manifest()).encode().ljust(MAX_MANIFEST_BYTES)
    assert parse_manifest(data).name == "block"
    with pytest.raises(BundleError, match="at most"):
        parse_manifest(data + b" ")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutations_give_a_manifest_or_a_bundle_error(data: st.DataObject) -> None:
    manifest: Any = block_manifest()
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(every_path(manifest)))
        *parents, last = path
        place = manifest
        for key in parents:
            place = place[key]
        action = data.draw(st.sampled_from(["replace", "remove", "borrow", "rename"]))
        if action == "remove":
            del place[last]
        elif action == "rename" and isinstance(place, dict):
            place[data.draw(st.text(max_size=8))] = place.pop(last)
        elif action == "borrow":
            source: Any = manifest
            for key in data.draw(st.sampled_from(every_path(manifest))):
                source = source[key]
            place[last] = copy.deepcopy(source)
        else:
            place[last] = copy.deepcopy(data.draw(st.sampled_from(JSON_VALUES)))
    try:
        parsed = parse(manifest)
    except BundleError:
        return
    assert set(parsed.intra.carry) == set(parsed.inter.carry)
    assert all(graph.file in parsed.files for graph in parsed.graphs.values())


@settings(max_examples=200, deadline=None)
@given(st.integers(0), st.binary(min_size=1, max_size=3))
def test_damaged_text_gives_a_manifest_or_a_bundle_error(place: int, patch: bytes) -> None:
    data = bytearray(json.dumps(block_manifest()).encode())
    place %= len(data)
    data[place : place + len(patch)] = patch
    try:
        parse_manifest(bytes(data))
    except BundleError:
        return
