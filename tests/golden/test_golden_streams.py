"""Streams that every version must decode alike on every engine, and streams that must fail.

`tools/make_vectors.py` made them, a folder for each bundle that was ever shipped; it is run by
hand when a bundle is shipped, never by a test. A bundle that another of its name has replaced lies
beside its streams.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nvc_engines import Engine, Graph, GraphSource, Shape, open_engine, parse_engine_spec
from nvc_errors import EngineUnavailableError, NvcError
from nvc_runtime.bundle import DEFAULT_BUNDLE, Bundle, find_bundle, open_bundle
from nvc_runtime.codec import Decoder
from nvc_runtime.video import frame_hash

FOLDER = Path(__file__).parent / "vectors"
RETIRED = "bundle.nvcb"
VECTORS: dict[str, Any] = {
    path.parent.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*/vectors.json"))
}
STREAMS = [(bundle, name) for bundle, found in VECTORS.items() for name in found["streams"]]
FAILING = [(bundle, name) for bundle, found in VECTORS.items() for name in found["failing"]]
ENGINES = [
    "ort:cpu,threads=1",
    "ort:cpu,opt=basic,threads=1",
    "ort:cpu,opt=none,threads=1",
    "openvino:cpu,threads=1",
    "torch:cpu,threads=1",
    "torch:cpu,mkldnn=0,threads=1",
]
GPU_ENGINES = ["ort:cuda", "torch:cuda", "torch:cuda,cuda_graphs=0"]


def golden_bundle(folder: str) -> Bundle:
    """Return the bundle of a folder's streams: a shipped one, or a retired one beside them."""
    named = VECTORS[folder]["bundle"]
    digest, retired = bytes.fromhex(named["digest"]), FOLDER / folder / RETIRED
    if not retired.exists():
        assert named["name"] == folder
        return find_bundle(digest, named["name"])
    bundle = open_bundle(str(retired))
    assert bundle.digest == digest
    return bundle


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    """The bundles that the vectors name."""
    return {folder: golden_bundle(folder) for folder in VECTORS}


@pytest.fixture(
    scope="module",
    params=[*ENGINES, *(pytest.param(name, marks=pytest.mark.gpu) for name in GPU_ENGINES)],
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    spec = parse_engine_spec(request.param)
    if spec.backend in ("openvino", "torch"):
        pytest.importorskip(spec.backend)
    try:
        opened = open_engine(spec)
    except EngineUnavailableError as error:
        if spec.device != "cuda":
            raise
        pytest.skip(str(error))
    with opened:
        load_once(opened)
        yield opened


def load_once(engine: Engine) -> None:
    """Keep graphs for further decoders: all streams of a bundle have the same padded size."""
    loaded: dict[tuple[str, str], Graph] = {}
    load = engine.load

    def cached(source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        key = (source.sha256, repr(sorted(shapes.items())))
        if key not in loaded:
            loaded[key] = load(source, shapes)
        return loaded[key]

    engine.load = cached  # type: ignore[method-assign]


def test_the_embedded_default_has_golden_streams() -> None:
    assert DEFAULT_BUNDLE in VECTORS


@pytest.mark.parametrize("bundle", sorted(VECTORS))
def test_folder_holds_what_is_listed_and_nothing_else(bundle: str) -> None:
    listed = VECTORS[bundle]["streams"] | VECTORS[bundle]["failing"]
    assert {path.name for path in (FOLDER / bundle).glob("*.nvc")} == set(listed)
    for name, expected in listed.items():
        data = (FOLDER / bundle / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == expected["sha256"], name


@pytest.mark.parametrize(("bundle", "name"), STREAMS)
def test_golden_stream_decodes(
    bundle: str, name: str, bundles: dict[str, Bundle], engine: Engine
) -> None:
    expected = VECTORS[bundle]["streams"][name]
    with (FOLDER / bundle / name).open("rb") as file:
        decoder = Decoder(file, engine, bundle=bundles[bundle])
        frames = list(decoder)
    assert [f"{frame.digest:08x}" for frame in frames] == expected["frame_digests"]
    assert decoder.report().symbols_digest == expected["symbols_digest"]
    shape = (expected["height"], expected["width"], 3)
    assert all(frame.rgb.shape == shape for frame in frames)
    if expected["frame_md5"] is not None:
        assert [frame_hash(frame.rgb) for frame in frames] == expected["frame_md5"]


@pytest.mark.parametrize(("bundle", "name"), FAILING)
def test_failing_stream_fails(bundle: str, name: str, bundles: dict[str, Bundle]) -> None:
    expected = VECTORS[bundle]["failing"][name]
    frames, error = 0, "none"
    with (
        open_engine("ort:cpu,threads=1") as engine,
        (FOLDER / bundle / name).open("rb") as file,
    ):
        try:
            for _ in Decoder(file, engine, bundle=bundles[bundle]):
                frames += 1
        except NvcError as found:
            error = type(found).__name__
    assert (error, frames) == (expected["error"], expected["frames_before"])
