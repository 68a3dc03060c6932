"""A clip, its stream, and ways to run the tool: within this process, and as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nvc_runtime import Bundle
from nvc_runtime.cli.main import run
from nvc_runtime.video import open_writer

WIDTH, HEIGHT, FRAMES = 80, 48, 4


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.out)
        return data

    @property
    def error_line(self) -> str:
        """The only line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


RunTool = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def bundles(block_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `--bundle block`, and digests in streams, lead to the test codec."""
    monkeypatch.setenv("NVC_BUNDLES", str(block_bundle.path.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def nvc(capfd: pytest.CaptureFixture[str]) -> RunTool:
    """Run the tool in this process."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


def command(arguments: Sequence[object]) -> list[str]:
    """Return the command line of the tool as a process of its own."""
    start = "from nvc_runtime.cli.main import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the tool as a process."""

    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            command(arguments),
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            env=dict(os.environ),
            **options,
        )

    return call


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Y4M file."""
    from block_codec import moving_frames, video_info

    path = tmp_path_factory.mktemp("clip") / "clip.y4m"
    with open_writer(path, video_info(WIDTH, HEIGHT)) as writer:
        for frame in moving_frames(WIDTH, HEIGHT, FRAMES):
            writer.write(frame)
    return path


@pytest.fixture(scope="session")
def stream(clip: Path, block_bundle: Bundle) -> Path:
    """The clip, encoded, with intra frames 0 and 2."""
    path = clip.parent / "clip.nvc"
    arguments = ["encode", "-i", clip, "-o", path, "--bundle", block_bundle.path, "--keyint", 2]
    assert run([str(argument) for argument in [*arguments, "--quiet"]]) == 0
    return path


@pytest.fixture(scope="session")
def assert_documented() -> Callable[..., None]:
    """Fail if docs/cli.md lacks a key of a JSON value; what is below `but` is not looked at."""
    text = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")

    def keys_of(value: object, but: frozenset[str]) -> set[str]:
        if isinstance(value, list):
            return set().union(*(keys_of(item, but) for item in value))
        if not isinstance(value, dict):
            return set()
        inside = (keys_of(item, but) for key, item in value.items() if key not in but)
        return set(value).union(*inside)

    def check(data: dict[str, Any], *but: str) -> None:
        missing = [key for key in keys_of(data, frozenset(but)) if f"`{key}`" not in text]
        assert not missing

    return check
