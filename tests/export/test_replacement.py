"""Folders that take the place of others: all, or none and what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_building import content_of

from nvc_errors import OutputError
from nvc_export.replacement import put_in_place


@pytest.fixture
def moves(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Two folders to put in place; there is something in the place of the first."""
    for name in ("new/a", "new/b", "out/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    return [(tmp_path / "new" / name, tmp_path / "out" / name) for name in "ab"]


def fail_to_rename(monkeypatch: pytest.MonkeyPatch, error: BaseException, *targets: Path) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target in targets:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)


def test_what_was_there_is_gone_at_the_end(moves: list[tuple[Path, Path]], tmp_path: Path) -> None:
    put_in_place(moves, tmp_path / "out")
    assert content_of(tmp_path) == {"out/a/file": b"new/a", "out/b/file": b"new/b"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_puts_back_what_was_there(
    error: BaseException,
    moves: list[tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_to_rename(monkeypatch, error, moves[1][1])
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        put_in_place(moves, tmp_path / "out")
    if expected is OutputError:
        assert str(caught.value) == f"{moves[1][1]}: cannot be written: No space left on device"
    assert content_of(tmp_path / "out") == {"a/file": b"out/a"}
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]


def test_what_cannot_be_put_back_is_kept_and_the_first_error_told(
    moves: list[tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_rename(monkeypatch, OSError(5, "Input/output error"), moves[0][1])
    with pytest.raises(OutputError, match=r"out/a: .*Input/output error; what .* is in ") as caught:
        put_in_place(moves, tmp_path / "out")
    aside = Path(str(caught.value).rpartition(" is in ")[2])
    assert (aside / "a.old" / "file").read_text() == "out/a"


def test_a_folder_that_takes_no_files_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none: cannot be written"):
        put_in_place([], tmp_path / "none")
