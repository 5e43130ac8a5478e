from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dataharbour.errors import ApplicationNotAllowed, ApplicationNotFound
from dataharbour.jobs.applications import resolve_application


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "spark jobs"
    (root / "team").mkdir(parents=True)
    (root / "a.py").write_text("print(1)")
    (root / "team" / "b.py").write_text("print(2)")
    (tmp_path / "outside.py").write_text("secret")
    return root


def test_a_relative_name_is_found_and_pinned(root):
    found = resolve_application("team/b.py", [root])
    assert found.path == root / "team" / "b.py"
    assert found.sha256 == hashlib.sha256(b"print(2)").hexdigest()


def test_an_absolute_path_and_a_uri_are_the_same_file(root):
    by_path = resolve_application(str(root / "a.py"), [root])
    assert resolve_application((root / "a.py").as_uri(), [root]) == by_path


def test_the_first_root_wins(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.py").write_text("print(9)")
    assert resolve_application("a.py", [other, root]).path == other / "a.py"
    assert resolve_application("team/b.py", [other, root]).path == root / "team" / "b.py"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.py",
        "team/../../outside.py",
        "/etc/passwd.py",
        "file:///etc/x.py",
        "file://host/a.py",
        "file:///a.py?x=1",
        "http://example.org/a.py",
        "s3a://lake/a.py",
        "local:/a.py",
        "-m.py",
        "a.py\0",
        "a.jar",
        "",
        ".",
        "a.py#b",
        "a.py,b.py",
        "%2e%2e/outside.py",
        "//[x.py",
        "file://[/x.py",
        "x" * 300 + ".py",
        "a.py/b.py",
        "ring.py",
        "\ud800.py",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(root, name):
    (root / "ring.py").symlink_to("ring.py")
    with pytest.raises((ApplicationNotAllowed, ApplicationNotFound)):
        resolve_application(name, [root])


def test_a_link_that_leads_outside_is_refused(root, tmp_path):
    os.symlink(tmp_path / "outside.py", root / "link.py")
    with pytest.raises(ApplicationNotAllowed, match="outside the allowed folders"):
        resolve_application("link.py", [root])


def test_an_encoded_way_out_of_a_root_is_refused(root):
    with pytest.raises(ApplicationNotAllowed, match="outside the allowed folders"):
        resolve_application(f"{root.as_uri()}/%2e%2e/outside.py", [root])


def test_a_missing_file_says_where_it_was_looked_for(root):
    with pytest.raises(ApplicationNotFound, match=r"'nothing\.py'") as caught:
        resolve_application("nothing.py", [root])
    assert str(root) in caught.value.remedy


def test_a_root_that_is_a_link_is_followed(root, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(root)
    assert resolve_application("a.py", [link]).path == root / "a.py"


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "a.ipynb").write_text("{}")
    (folder / "helper.py").write_text("x = 1")
    return folder


def test_a_notebook_is_found_below_its_own_folder(root, notebooks):
    found = resolve_application("reports/a.ipynb", [root], notebooks=notebooks)
    assert found.path == notebooks / "reports" / "a.ipynb"
    assert found.sha256 == hashlib.sha256(b"{}").hexdigest()


def test_the_folder_of_notebooks_holds_no_other_applications(root, notebooks):
    with pytest.raises(ApplicationNotFound):
        resolve_application("helper.py", [root], notebooks=notebooks)
    with pytest.raises(ApplicationNotAllowed):
        resolve_application(str(notebooks / "helper.py"), [root], notebooks=notebooks)


def test_the_other_folders_hold_no_notebooks(root, notebooks):
    (root / "b.ipynb").write_text("{}")
    with pytest.raises(ApplicationNotFound):
        resolve_application("b.ipynb", [root], notebooks=notebooks)
    for name in (str(root / "b.ipynb"), (root / "b.ipynb").as_uri().replace(".ipynb", "%2eipynb")):
        with pytest.raises(ApplicationNotAllowed):
            resolve_application(name, [root], notebooks=notebooks)


def test_a_link_to_another_kind_of_file_is_refused(root, notebooks):
    (root / "c.py").write_text("x = 1")
    (notebooks / "real.py").write_text("x = 1")
    (notebooks / "c.ipynb").symlink_to("real.py")
    with pytest.raises(ApplicationNotAllowed, match="another kind of file"):
        resolve_application("c.ipynb", [root], notebooks=notebooks)


def test_a_notebook_that_leads_outside_of_its_folder_is_refused(root, notebooks, tmp_path):
    (tmp_path / "outside.ipynb").write_text("{}")
    (notebooks / "link.ipynb").symlink_to(tmp_path / "outside.ipynb")
    for name in ("link.ipynb", "../outside.ipynb", str(tmp_path / "outside.ipynb")):
        with pytest.raises(ApplicationNotAllowed, match="outside the allowed folders"):
            resolve_application(name, [root], notebooks=notebooks)


def test_where_no_folder_of_notebooks_is_set_there_are_none(root):
    with pytest.raises(ApplicationNotFound) as caught:
        resolve_application("a.ipynb", [root])
    assert "[dataharbour] notebooks" in caught.value.remedy
