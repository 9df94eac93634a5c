"""Files in /tmp."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import openpyxl


def work() -> dict:
    """Makes, appends to, moves, lists and reads files; writes far beyond the end of one; and looks for what is outside."""
    before = sorted(os.listdir("/tmp"))
    folder = Path("/tmp/folder")
    folder.mkdir()
    one = folder / "one.txt"
    one.write_text("tea ☕", encoding="utf-8")
    with one.open("a", encoding="utf-8") as appending:
        appending.write(" and more")
    two = one.rename("/tmp/two.txt")
    far = writes_far(Path("/tmp/far"))
    names = sorted(os.listdir("/tmp"))
    outside = is_writable("/outside") or os.path.exists("/tmp/../etc/passwd")
    return {"before": before, "text": two.read_text(encoding="utf-8"), "names": names, "far": far, "outside": outside}


def writes_far(path: Path) -> bool:
    try:
        with path.open("wb") as file:
            file.seek(1 << 40)
            file.write(b"x")
    except OSError:
        return False
    finally:
        path.unlink()
    return True


def is_writable(path: str) -> bool:
    try:
        with open(path, "w"):
            return True
    except OSError:
        return False


def archived(name: str) -> dict:
    """Puts a file into an archive, and that through files without names."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, name)
        source.write_text("x" * 1000)
        with tempfile.TemporaryFile() as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
                writing.write(source, name)
            with zipfile.ZipFile(archive) as reading:
                reading.extractall(Path(folder, "out"))
        shutil.move(Path(folder, "out", name), Path(folder, "moved"))
        text = Path(folder, "moved").read_text()
    return {"length": len(text), "left": os.listdir("/tmp")}


def workbook(cells: list) -> dict:
    """Writes a table as a spreadsheet, and reads it again."""
    book = openpyxl.Workbook()
    for row in cells:
        book.active.append(row)
    with tempfile.NamedTemporaryFile(suffix=".xlsx") as file:
        book.save(file.name)
        read = openpyxl.load_workbook(file.name)
    return {"cells": [list(row) for row in read.active.values]}
