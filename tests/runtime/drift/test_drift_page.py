"""The HTML page: complete, self-contained, and truthful about a failure."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from block_codec import INDEX_TENSORS
from coding import encode
from drifting_engine import AdversarialDrift, DriftingEngine, SampleDrift

from nvc_engines import Engine
from nvc_runtime import Bundle, EncoderSettings
from nvc_runtime.drift.page import page_from_report
from nvc_runtime.verify import verify_stream

EPSILON = 2.0**-7


class _Links(HTMLParser):
    """Collects everything a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def stream(block_bundle: Bundle, reference_engine: Engine) -> bytes:
    settings = EncoderSettings(epsilon=EPSILON, skip_level=-1)
    return encode(block_bundle, reference_engine, settings, count=4).data


def _page(stream: bytes, bundle: Bundle, engines: list[Engine], folder: Path) -> str:
    path = folder / "clip.nvc"
    path.write_bytes(stream)
    report = verify_stream(path, engines, bundle=bundle)
    return page_from_report(report, stream, engines, bundle=bundle)


def test_page_of_engines_that_agree(
    stream: bytes, block_bundle: Bundle, reference_engine: Engine, tmp_path: Path
) -> None:
    output = block_bundle.manifest.intra.output
    assert output is not None
    drifting = DriftingEngine(reference_engine, SampleDrift(output, 0.1))
    page = _page(stream, block_bundle, [reference_engine, drifting], tmp_path)
    links = _Links()
    links.feed(page)
    assert "Verification: passed" in page
    assert "First frame with different samples: 0" in page
    assert not links.tags & {"script", "link", "iframe"}
    assert len(links.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in links.sources)


def test_page_of_an_engine_that_fails(
    stream: bytes, block_bundle: Bundle, reference_engine: Engine, tmp_path: Path
) -> None:
    broken = DriftingEngine(reference_engine, AdversarialDrift(INDEX_TENSORS, 0.2))
    page = _page(stream, block_bundle, [reference_engine, broken], tmp_path)
    assert "Verification: FAILED" in page
    assert "differ at frame 0" in page
    assert "epsilon" in page
