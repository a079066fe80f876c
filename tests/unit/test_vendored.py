"""What others wrote and we carry along is what they released, and names no place to fetch more from."""

import hashlib
import re
from pathlib import Path

import pytest

from vault import http

FOLDERS = sorted(version.parent for version in (Path(http.__file__).parent / "static").glob("*/VERSION"))
REGISTRY = re.compile(
    rb"npmjs|yarnpkg|jsdelivr|unpkg|cdnjs|pypi\.|pythonhosted|artifactory|sonatype|verdaccio|_authToken|registry\.",
    re.IGNORECASE,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_there_are_some() -> None:
    """The folders are where this test looks for them."""
    assert "swagger" in {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_files_are_the_released_ones(folder: Path) -> None:
    """Each file has its hash in VERSION, under a line `package version`, and there is no other file."""
    package, *lines = (folder / "VERSION").read_text().splitlines()
    assert re.fullmatch(r"[a-z@/-]+ \d+\.\d+\.\d+", package)
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert names(folder) == {*stated, "VERSION"}
    assert "LICENSE" in stated
    assert stated == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in stated}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_registry_is_named(folder: Path) -> None:
    """No file names a package registry or a content network, and VERSION has no address at all."""
    for name in names(folder):
        assert REGISTRY.findall((folder / name).read_bytes()) == [], name
    assert "://" not in (folder / "VERSION").read_text()
