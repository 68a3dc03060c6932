"""Streams that every version must decode alike on every engine, and streams that must fail.

`tools/make_vectors.py` made them; it is run by hand when a bundle is shipped, never by a test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nvc_engines import Engine, Graph, GraphSource, Shape, open_engine, parse_engine_spec
from nvc_errors import BundleError, EngineUnavailableError, NvcError
from nvc_runtime.bundle import DEFAULT_BUNDLE, Bundle, find_bundle
from nvc_runtime.bundle.catalog import BUNDLE_SUFFIX, shipped_folder
from nvc_runtime.codec import Decoder
from nvc_runtime.video import frame_hash

FOLDER = Path(__file__).parent / "vectors"
VECTORS_FILE = FOLDER / "vectors.json"
VECTORS: dict[str, Any] = (
    json.loads(VECTORS_FILE.read_text())
    if VECTORS_FILE.exists()
    else {"streams": {}, "failing": {}, "bundle": None}
)
ENGINES = [
    "ort:cpu,threads=1",
    "ort:cpu,opt=basic,threads=1",
    "ort:cpu,opt=none,threads=1",
    "openvino:cpu,threads=1",
    "torch:cpu,threads=1",
    "torch:cpu,mkldnn=0,threads=1",
]
GPU_ENGINES = ["ort:cuda", "torch:cuda"]

pytestmark = pytest.mark.skipif(
    not VECTORS_FILE.exists(),
    reason="no golden streams yet: python tools/make_vectors.py makes them",
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle the vectors name. A bundle that is shipped must be the one."""
    named = VECTORS["bundle"]
    try:
        return find_bundle(bytes.fromhex(named["digest"]), named["name"])
    except BundleError as error:
        if (shipped_folder() / f"{DEFAULT_BUNDLE}{BUNDLE_SUFFIX}").exists():
            pytest.fail(f"{error}; the golden streams must decode with what is shipped")
        pytest.skip(f"no bundle is shipped: {error}")


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
    """Keep graphs for further decoders: all streams have the same padded size."""
    loaded: dict[tuple[str, str], Graph] = {}
    load = engine.load

    def cached(source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        key = (source.sha256, repr(sorted(shapes.items())))
        if key not in loaded:
            loaded[key] = load(source, shapes)
        return loaded[key]

    engine.load = cached  # type: ignore[method-assign]


def test_folder_holds_what_is_listed_and_nothing_else() -> None:
    listed = VECTORS["streams"] | VECTORS["failing"]
    assert {path.name for path in FOLDER.glob("*.nvc")} == set(listed)
    for name, expected in listed.items():
        data = (FOLDER / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == expected["sha256"], name


@pytest.mark.parametrize("name", list(VECTORS["streams"]))
def test_golden_stream_decodes(name: str, bundle: Bundle, engine: Engine) -> None:
    expected = VECTORS["streams"][name]
    with (FOLDER / name).open("rb") as file:
        decoder = Decoder(file, engine, bundle=bundle)
        frames = list(decoder)
    assert [f"{frame.digest:08x}" for frame in frames] == expected["frame_digests"]
    assert decoder.report().symbols_digest == expected["symbols_digest"]
    shape = (expected["height"], expected["width"], 3)
    assert all(frame.rgb.shape == shape for frame in frames)
    if expected["frame_md5"] is not None:
        assert [frame_hash(frame.rgb) for frame in frames] == expected["frame_md5"]


@pytest.mark.parametrize("name", list(VECTORS["failing"]))
def test_failing_stream_fails(name: str, bundle: Bundle) -> None:
    expected = VECTORS["failing"][name]
    frames, error = 0, "none"
    with open_engine("ort:cpu,threads=1") as engine, (FOLDER / name).open("rb") as file:
        try:
            for _ in Decoder(file, engine, bundle=bundle):
                frames += 1
        except NvcError as found:
            error = type(found).__name__
    assert (error, frames) == (expected["error"], expected["frames_before"])
