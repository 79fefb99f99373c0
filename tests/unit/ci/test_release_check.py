"""A release is held to its version in three places, its metadata, its files."""

from __future__ import annotations

import importlib.util
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

import workbench

ROOT = Path(__file__).parents[3]
METADATA = b"Metadata-Version: 2.4\nName: radix-workbench\nVersion: %b\nDescription-Content-Type: text/markdown\n\n# it\n"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("release_check", ROOT / ".ci/release_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_changelog_and_the_citation_have_the_version_of_the_package(check):
    changelog, citation = (ROOT / "docs/changelog.md").read_text(), (ROOT / "CITATION.cff").read_text()
    found = [*check.faults_of_version(Version(workbench.__version__), changelog, citation)]
    assert [fault for fault in found if "when" not in fault] == []


@pytest.mark.parametrize(
    "changelog, says",
    [
        ("## 0.2.0 (2026-12-01)\n\n## 0.1.0 (2026-11-01)\n", ""),
        ("## 0.2.0\n", "does not say when"),
        ("## 0.3.0 (2026-12-01)\n\n## 0.2.0 (2026-12-01)\n", "begins with 0.3.0, the package is 0.2.0"),
        ("# Changelog\n", "begins with no version"),
    ],
)
def test_a_version_is_the_newest_of_the_changelog_and_dated(check, changelog, says):
    found = [*check.faults_of_version(Version("0.2.0"), changelog, "version: 0.2.0\n")]
    assert len(found) == bool(says)
    assert says in "".join(found)
    assert len([*check.faults_of_version(Version("0.2.0"), changelog, "version: 0.1.0\n")]) == bool(says) + 1


def test_metadata_that_an_index_refuses_is_found(check):
    assert not [fault for fault in check.faults_of_metadata(METADATA % workbench.__version__.encode()) if "metadata" in fault]
    (bad, *_) = check.faults_of_metadata(METADATA % b"one")
    assert "version" in bad
    (plain, *_) = check.faults_of_metadata((METADATA % b"0.1.0").replace(b"text/markdown", b"text/plain"))
    assert plain == "metadata: the description is not the README"


def test_files_that_lack_or_exceed_what_is_committed_are_found(check, tmp_path):
    info = "radix_workbench-0.1.0.dist-info"
    wheel, sdist = tmp_path / "a.whl", tmp_path / "a.tar.gz"
    tracked = check._git("ls-files", "workbench").splitlines()
    with zipfile.ZipFile(wheel, "w") as out:
        for name in [*tracked[1:], "workbench/left_over.py"]:
            out.writestr(name, "")
        out.writestr(f"{info}/METADATA", METADATA % workbench.__version__.encode())
        out.writestr(f"{info}/entry_points.txt", "[console_scripts]\nworkbench = workbench.cli:no_such\n")
    with tarfile.open(sdist, "w:gz") as out_sdist:
        out_sdist.add(ROOT / tracked[0], f"radix_workbench-0.1.0/{tracked[0]}")
    found = [*check.faults(wheel, sdist)]
    assert f"a.whl lacks {tracked[0]}" in found
    assert f"a.tar.gz lacks {tracked[1]}" in found
    assert f"a.tar.gz lacks {tracked[0]}" not in found
    assert "a.whl has workbench/left_over.py, which is not committed" in found
    assert "a.whl lacks its licence" in found
    assert "the entry point workbench.cli:no_such is no function" in found
