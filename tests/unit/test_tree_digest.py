# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import io
import os
import pathlib
import re
import tarfile

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.filter.tree_digest import ROLES, tree_digest, tree_tar


@pytest.fixture
def roles(tmp_path):
    for name, text in {"a/one": "1", "a/deep/two": "2", "b": "3"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def touch(roles):
    os.utime(roles / "a/one", (0, 0))


def bytecode(roles):
    (roles / "a/__pycache__").mkdir()
    (roles / "a/__pycache__/one.pyc").write_bytes(b"x")


def change(roles):
    (roles / "a/deep/two").write_text("4")


def rename(roles):
    (roles / "a/one").rename(roles / "a/eins")


def add(roles):
    (roles / "a/deep/three").write_text("")


def make_executable(roles):
    (roles / "a/one").chmod(0o755)


def move_bytes_between_files(roles):
    (roles / "a/one").write_text("")
    (roles / "a/deep/two").write_text("21")


@pytest.mark.parametrize("alter", [touch, bytecode])
def test_what_an_image_is_not_made_of_leaves_its_digest(roles, alter):
    before = tree_digest(["a", "b"], roles=roles)
    alter(roles)
    assert tree_digest(["a", "b"], roles=roles) == before


@pytest.mark.parametrize("alter", [change, rename, add, make_executable, move_bytes_between_files])
def test_what_an_image_is_made_of_changes_its_digest(roles, alter):
    before = tree_digest(["a", "b"], roles=roles)
    alter(roles)
    assert tree_digest(["a", "b"], roles=roles) != before


def test_order_and_repetition_of_paths_do_not_count(roles):
    assert tree_digest(["b", "a", "a/one"], roles=roles) == tree_digest(["a", "b"], roles=roles)


def test_arguments_count_each_in_its_place(roles):
    digests = {tree_digest(["a"], *arguments, roles=roles) for arguments in [(), ("x",), ("x", "y"), ("y", "x"), ("xy",)]}
    assert len(digests) == 5
    assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in digests)


@pytest.mark.parametrize("filter_", [tree_digest, tree_tar])
def test_a_path_that_is_not_there_is_named(roles, filter_):
    with pytest.raises(AnsibleFilterError, match=r"'c/d' is not below .*"):
        filter_(["a", "c/d"], roles=roles)


def test_the_archive_holds_the_files_without_their_owner_and_time(roles):
    make_executable(roles)
    bytecode(roles)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(tree_tar(["a", "b"], roles=roles)))) as archive:
        members = {member.name: (member.mode, member.mtime, member.uid) for member in archive}
        assert archive.extractfile("a/deep/two").read() == b"2"
    assert members == {"a/one": (0o755, 0, 0), "a/deep/two": (0o644, 0, 0), "b": (0o644, 0, 0)}


def test_a_directory_in_the_place_of_a_path_counts_by_its_content_alone(roles, tmp_path_factory):
    own, moved = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("moved")
    for folder in (own, moved):
        (folder / "Dockerfile").write_text("FROM x")
        (folder / ".git").mkdir()
        (folder / ".git/HEAD").write_text(folder.name)
    instead = [tree_digest(["a", "b"], elsewhere={"a": str(folder)}, roles=roles) for folder in (own, moved)]
    assert instead[0] == instead[1] != tree_digest(["a", "b"], roles=roles)
    assert tree_digest(["a", "b"], elsewhere={"a": ""}, roles=roles) == tree_digest(["a", "b"], roles=roles)
    (own / ".gitignore").write_text("data\n")
    (own / "data").write_text("left out")
    (own / "linked").symlink_to("Dockerfile")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(tree_tar(["a", "b"], elsewhere={"a": str(own)}, roles=roles)))) as archive:
        assert archive.getnames() == ["a/.gitignore", "a/Dockerfile", "a/linked", "b"]
        assert archive.extractfile("a/linked").read() == b"FROM x"
    (own / "linked").unlink()
    (own / "linked").symlink_to(roles / "b")
    with pytest.raises(AnsibleFilterError, match="linked is a link to .*, outside of the folder"):
        tree_tar(["a"], elsewhere={"a": str(own)}, roles=roles)
    with pytest.raises(AnsibleFilterError, match="gone' is not a directory on the controller"):
        tree_digest(["a"], elsewhere={"a": str(own / "gone")}, roles=roles)


CATALOGUE = yaml.safe_load((ROLES / "mlops/defaults/main/images.yml").read_text())["mlops_images"]


@pytest.mark.parametrize(("image", "package", "lock"), [
    ("mlflow", "mlflow", "images/files/mlflow/requirements.lock"),
    ("airflow", "apache-airflow", "images/files/airflow/requirements.lock"),
])
def test_the_version_in_an_image_name_is_that_of_its_lock(image, package, lock):
    locked = re.search(rf"^{package}==(\S+)", (ROLES / lock).read_text(), re.MULTILINE)[1]
    assert CATALOGUE[image].strip().startswith(f"mlops/{image}:{locked}-")


@pytest.mark.parametrize("lock", sorted(ROLES.glob("**/requirements.lock")), ids=lambda path: path.parent.name)
def test_a_lock_names_no_index_and_pins_every_file(lock: pathlib.Path):
    text = lock.read_text()
    assert "://" not in text and "index" not in re.findall(r"^--(\S+)", text, re.MULTILINE)
    requirements = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert requirements and all("==" in entry and "--hash=sha256:" in entry for entry in requirements)
