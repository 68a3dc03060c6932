"""What is refused: the exit code, one line on stderr, nothing on stdout, and no file left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nvc_runtime.stream import StreamReader, StreamWriter

RunTool = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder in which nothing may be left."""
    path = tmp_path / "out"
    path.mkdir()
    return path


def refused(outcome: Any, code: int, folder: Path, *words: str) -> None:
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.error_line.startswith("nvc-run: ")
    for word in words:
        assert word in outcome.error_line
    assert list(folder.iterdir()) == []


def encode(nvc: RunTool, source: object, out: object, *rest: object) -> Any:
    return nvc("encode", "-i", source, "-o", out, "--bundle", "block", *rest)


def test_a_file_that_is_no_video(nvc: RunTool, tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "text.mp4"
    source.write_text("This is a letter, not a film.\n" * 50)
    refused(encode(nvc, source, folder / "a.nvc"), 3, folder, str(source))


@pytest.mark.parametrize("content", [b"", b"YUV4MPEG2 W64 H64 F25:1\n"], ids=["empty", "no frames"])
def test_a_video_without_frames(content: bytes, nvc: RunTool, tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "empty.y4m"
    source.write_bytes(content)
    refused(encode(nvc, source, folder / "a.nvc"), 3, folder)


def test_a_video_that_breaks_off(nvc: RunTool, clip: Path, tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "short.y4m"
    source.write_bytes(clip.read_bytes()[:-100])
    refused(encode(nvc, source, folder / "a.nvc"), 3, folder, str(source))


def test_a_picture_that_is_too_large(nvc: RunTool, tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "wide.y4m"
    source.write_bytes(b"YUV4MPEG2 W5000 H64 F25:1\nFRAME\n")
    refused(encode(nvc, source, folder / "a.nvc"), 3, folder, "5000x64", "4096")


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_an_input_that_is_missing(name: str, nvc: RunTool, folder: Path) -> None:
    bundle = ["--bundle", "block"] if name == "encode" else []
    outcome = nvc(name, "-i", "no-such-file", "-o", folder / "a.y4m", *bundle)
    refused(outcome, 3, folder, "no-such-file")


def test_a_stream_that_is_none(nvc: RunTool, clip: Path, folder: Path) -> None:
    refused(nvc("decode", "-i", clip, "-o", folder / "a.y4m"), 3, folder, "no nvc stream")
    refused(nvc("probe", "-i", clip), 3, folder, "no nvc stream")


def test_a_stream_of_a_bundle_that_is_not_here(
    nvc: RunTool, stream: Path, tmp_path: Path, folder: Path
) -> None:
    foreign = tmp_path / "foreign.nvc"
    with stream.open("rb") as source, foreign.open("wb") as target:
        reader = StreamReader(source)
        header = replace(reader.header, bundle_digest=b"\x5a" * 32, bundle_name="elsewhere")
        with StreamWriter(target, header) as writer:
            for packet in reader:
                writer.write(packet)
    outcome = nvc("decode", "-i", foreign, "-o", folder / "a.y4m")
    refused(outcome, 3, folder, "elsewhere", "5a5a5a5a", "--bundle")


def test_a_stream_with_the_wrong_bundle_given(
    nvc: RunTool, stream: Path, tmp_path: Path, folder: Path
) -> None:
    from block_codec import block_files, block_manifest, write_archive

    other = write_archive(
        tmp_path / "other.nvcb", block_files(block_manifest() | {"family": "another"})
    )
    outcome = nvc("decode", "-i", stream, "-o", folder / "a.y4m", "--bundle", other)
    refused(outcome, 3, folder, "digest", "other.nvcb")


def test_a_bundle_that_does_not_exist(nvc: RunTool, clip: Path, folder: Path) -> None:
    outcome = nvc("encode", "-i", clip, "-o", folder / "a.nvc", "--bundle", "no-such-bundle")
    refused(outcome, 2, folder, "no-such-bundle", "block")


def test_an_engine_whose_library_is_missing(
    nvc: RunTool, stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "nvc_engines.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    outcome = nvc("decode", "-i", stream, "-o", folder / "a.y4m", "--engine", "openvino:cpu")
    refused(outcome, 5, folder, "openvino:cpu", "pip install")


@pytest.mark.parametrize("engine", ["ort:gpu", "orc:cpu", "ort:cpu,opt=most", "ort:cpu,fast"])
def test_an_engine_name_that_is_wrong(
    engine: str, nvc: RunTool, stream: Path, folder: Path
) -> None:
    refused(nvc("decode", "-i", stream, "-o", folder / "a.y4m", "--engine", engine), 2, folder)


@pytest.mark.parametrize(
    "option",
    [
        ("--quality", 64),
        ("--skip-level", 31),
        ("--epsilon", 0.25),
        ("--epsilon", -1),
        ("--epsilon", "nan"),
    ],
)
def test_settings_that_the_bundle_does_not_take(
    option: tuple[str, object], nvc: RunTool, clip: Path, folder: Path
) -> None:
    refused(encode(nvc, clip, folder / "a.nvc", *option), 2, folder, str(option[1]))


def test_an_output_in_a_folder_that_is_missing(
    nvc: RunTool, clip: Path, stream: Path, folder: Path
) -> None:
    refused(encode(nvc, clip, folder / "gone" / "a.nvc"), 1, folder, "gone")
    refused(nvc("decode", "-i", stream, "-o", folder / "gone" / "a.y4m"), 1, folder, "gone")


def test_an_output_below_a_file(nvc: RunTool, clip: Path, stream: Path, folder: Path) -> None:
    refused(encode(nvc, clip, stream / "a.nvc"), 1, folder, str(stream))


def test_an_output_name_without_a_format(nvc: RunTool, stream: Path, folder: Path) -> None:
    refused(nvc("decode", "-i", stream, "-o", folder / "a.avi"), 2, folder, ".y4m")


def test_an_output_that_is_a_folder_or_device(nvc: RunTool, clip: Path, folder: Path) -> None:
    refused(encode(nvc, clip, folder, "-y"), 2, folder, "folder")
    refused(encode(nvc, clip, "/dev/null", "-y"), 2, folder, "/dev/null")
    assert not Path("/dev/null").is_file()


def test_an_output_that_exists(nvc: RunTool, clip: Path, stream: Path, tmp_path: Path) -> None:
    for name, source in (("encode", clip), ("decode", stream)):
        old = tmp_path / f"{name}.y4m"
        old.write_bytes(b"precious")
        outcome = nvc(name, "-i", source, "-o", old)
        assert (outcome.code, outcome.out) == (2, "")
        assert "-y" in outcome.error_line
        assert old.read_bytes() == b"precious"


@pytest.mark.parametrize("linked", ["same", "hard link", "symbolic link"])
@pytest.mark.parametrize("name", ["encode", "decode"])
def test_an_output_that_is_the_input(
    name: str, linked: str, nvc: RunTool, clip: Path, stream: Path, tmp_path: Path
) -> None:
    source = target = tmp_path / "in.y4m"
    source.write_bytes((clip if name == "encode" else stream).read_bytes())
    before = source.read_bytes()
    if linked != "same":
        target = tmp_path / "link.y4m"
        target.hardlink_to(source) if linked == "hard link" else target.symlink_to(source)
    outcome = nvc(name, "-i", source, "-o", target, "-y")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is the input" in outcome.error_line
    assert source.read_bytes() == before


def test_a_stream_that_breaks_off(nvc: RunTool, stream: Path, tmp_path: Path, folder: Path) -> None:
    short = tmp_path / "short.nvc"
    short.write_bytes(stream.read_bytes()[:-60])
    refused(nvc("decode", "-i", short, "-o", folder / "a.y4m"), 3, folder, "3 frames are whole")


def test_what_is_whole_can_be_rescued(
    nvc: RunTool, stream: Path, tmp_path: Path, folder: Path
) -> None:
    data = bytearray(stream.read_bytes())
    damaged = tmp_path / "damaged.nvc"
    first_inter = data.index(b"\xf5\x9a", data.index(b"\xf5\x9a") + 2)
    data[first_inter + 20] ^= 1
    damaged.write_bytes(data)
    refused(nvc("decode", "-i", damaged, "-o", folder / "a.y4m"), 3, folder, "frame 1")
    out = folder / "b.y4m"
    outcome = nvc("decode", "-i", damaged, "-o", out, "--resume-at-intra", "--json", "--quiet")
    assert outcome.code == 3
    assert outcome.json["frames"] == 3
    assert outcome.json["damage"]
    assert "frame 1" in outcome.error_line
    assert out.is_file()
    probed = nvc("probe", "-i", damaged, "--json")
    assert (probed.code, probed.json["frames"]) == (3, 3)


def test_a_defect_of_our_own_keeps_its_traceback(
    nvc: RunTool, clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvc_runtime import Encoder

    def encode_wrongly(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Encoder, "encode", encode_wrongly)
    with pytest.raises(ZeroDivisionError):
        encode(nvc, clip, folder / "a.nvc")
    assert list(folder.iterdir()) == []


def test_an_error_message_stays_on_one_line(nvc: RunTool, folder: Path) -> None:
    outcome = encode(nvc, "no\nsuch\x1b[31mfile", folder / "a.nvc")
    refused(outcome, 3, folder, "no such?[31mfile")
