"""Reports under their names, replaced whole, and the words and options that tools share."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_files


def test_reports_of_names_with_dots_lie_side_by_side(tmp_path: Path) -> None:
    for name in ("h200", "h200.v2"):
        report_files.write_report(tmp_path / "out" / name, {"name": name}, f"# {name}\n")
    names = ["h200.json", "h200.md", "h200.v2.json", "h200.v2.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "h200.md").read_text() == "# h200\n"


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report_files.write_whole(path, "before")
    with pytest.raises(UnicodeEncodeError):
        report_files.write_whole(path, "half of it \udc80")
    assert path.read_text() == "before"


def test_numbers_and_changes() -> None:
    assert report_files.numbers_from_text("0,16,-1") == [0, 16, -1]
    shown = [report_files.percent(value) for value in (None, 0.04, -3.25)]
    assert shown == ["-", "+0.0 %", "-3.2 %"]
    assert report_files.percent(-3.256, 2) == "-3.26 %"
