"""The tool as a process: pipes, signals and a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nvc_runtime.cli.launch import INTERRUPTED, TERMINATED

Process = Callable[..., Any]
START = ["-c", "from nvc_runtime.cli.main import main; main()"]


def test_a_video_through_pipes(process: Process, clip: Path, stream: Path) -> None:
    coded = process(
        "encode", "-i", "-", "-o", "-", "--bundle", "block", "--keyint", 2, "--json",
        input=clip.read_bytes(),
    )  # fmt: skip
    assert coded.returncode == 0
    assert coded.stdout == stream.read_bytes()
    assert b'"psnr_rgb_db"' in coded.stderr
    shown = process("decode", "-i", "-", "-o", "-", "--quiet", input=coded.stdout)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.startswith(b"YUV4MPEG2 W80 H48")
    assert shown.stdout.count(b"FRAME\n") == 4


@pytest.mark.parametrize(
    ("tag", "frame_bytes"), [("422", (43 + 2 * 22) * 37), ("444", 43 * 3 * 37)]
)
def test_odd_sizes_and_finer_chroma_through_pipes(
    tag: str, frame_bytes: int, process: Process
) -> None:
    head = f"YUV4MPEG2 W43 H37 F30000:1001 Ip A0:0 C{tag} XYSCSS={tag} XCOLORRANGE=FULL\n".encode()
    frames = [b"FRAME\n" + bytes([level]) * frame_bytes for level in (90, 120)]
    coded = process(
        "encode", "-i", "-", "-o", "-", "--bundle", "block", input=head + b"".join(frames)
    )
    assert coded.returncode == 0, coded.stderr
    shown = process("decode", "-i", "-", "-o", "-", "--quiet", input=coded.stdout)
    assert (shown.returncode, shown.stderr) == (0, b"")
    found, _, rest = shown.stdout.partition(b"\n")
    assert found.startswith(b"YUV4MPEG2 W43 H37 F30000:1001 ")
    assert f" C{tag} XCOLORRANGE=FULL ".encode() in found
    assert [len(part) for part in rest.split(b"FRAME\n")] == [0, frame_bytes, frame_bytes]


def test_probe_and_verify_read_standard_input(process: Process, stream: Path) -> None:
    probed = process("probe", "-i", "-", input=stream.read_bytes())
    assert probed.returncode == 0
    checked = process("verify", "-i", "-", "--engines", "ort:cpu", input=stream.read_bytes())
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["decode", "-o", "-"], ["decode", "-o", "md5"], ["probe"]])
def test_a_reader_that_goes_away_ends_it_quietly(
    arguments: list[str], process: Process, stream: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = process(*arguments, "-i", stream, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        (["encode", "-i", "-", "-o", "null.nvc"], "<&-"),
        (["decode", "-i", "-", "-o", "null"], "<&-"),
        (["verify", "-i", "-", "--engines", "ort:cpu"], "<&-"),
        (["decode", "-i", "IN", "-o", "-"], ">&-"),
        (["decode", "-i", "IN", "-o", "md5"], ">&-"),
        (["encode", "-i", "IN", "-o", "-"], ">&-"),
    ],
)
def test_closed_standard_streams_are_one_line(
    arguments: list[str], closed: str, stream: Path, tmp_path: Path
) -> None:
    words = [str(stream) if word == "IN" else word for word in arguments]
    if words[0] == "encode":
        words += ["--bundle", "block"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *START, *words],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"is closed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(process: Process, clip: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("encode", "-i", clip, "-o", "-", "--bundle", "block", stdout=full)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"standard output" in done.stderr


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Let processes hear SIGINT, which one started in the background would have ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_leaves_nothing_behind(
    number: int, code: int, jobs: int, clip: Path, tmp_path: Path
) -> None:
    command = [sys.executable, *START, "encode", "-i", "-", "-o", str(tmp_path / "a.nvc")]
    with subprocess.Popen(
        [*command, "--bundle", "block", "--keyint", "1", "--jobs", str(jobs)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(clip.read_bytes()[:-1000])
        running.stdin.flush()
        deadline = time.monotonic() + 30
        # Of several jobs a frame may wait for those that are still to be read.
        while not _has_part(tmp_path, 300 if jobs == 1 else 80):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if jobs > 1:
            time.sleep(1.0)  # for processes to start
        os.killpg(running.pid, number)  # as a terminal does, to all processes
        assert running.wait(30) == code
        assert len(running.stderr.read().splitlines()) <= 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("heard_interrupts")
def test_a_signal_is_noticed_while_input_is_waited_for(clip: Path, tmp_path: Path) -> None:
    """One that another thread takes does not end the system call that the main thread is in."""
    start = """
import signal, threading, time
def interrupt():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
from nvc_runtime.video.y4m_reader import Y4mReader
read = Y4mReader._read_frame
def read_and_interrupt(*arguments):
    threading.Thread(target=interrupt, daemon=True).start()
    return read(*arguments)
Y4mReader._read_frame = read_and_interrupt
"""
    command = [sys.executable, "-c", start + START[1], "encode", "-i", "-", "--bundle", "block"]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "a.nvc")], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        running.stdin.write(clip.read_bytes()[:200])
        running.stdin.flush()
        try:
            assert running.wait(30) == INTERRUPTED
        finally:
            running.kill()
    assert list(tmp_path.iterdir()) == []


def test_a_bar_is_drawn_on_a_terminal(clip: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = ["encode", "-i", str(clip), "-o", str(tmp_path / "a.nvc"), "--bundle", "block"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, *START, *arguments],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        timeout=60,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass  # Linux reports the closed terminal so.
    os.close(ours)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"encode" in shown
    assert b"\x1b[" in shown
    assert b"4 frames" in shown


def _has_part(folder: Path, size_bytes: int) -> bool:
    """Whether a temporary file of that size is there."""
    return any(path.stat().st_size > size_bytes for path in folder.glob(".*.part"))
