"""What of a team's folder is delivered, and what is said of the rest."""

import os
import pathlib
import subprocess

from ansible_collections.mlops.stack.plugins.plugin_utils._team_folder import team_folder, team_folder_problems

PRIVATE = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"


def put(folder, *names, text="x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder, **options):
    return list(team_folder(str(folder), **options).files)


def test_of_a_clone_its_source_is_taken(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", "https://user:token@git.example/dags.git"], check=True)
    put(tmp_path, "a.py", "sub/b.py", "sub/query.sql", "data.csv", ".airflowignore", ".env.example")
    put(tmp_path, ".venv/x.py", "own-env/pyvenv.cfg", "own-env/lib/y.py", "conda/conda-meta/history", "sub/__pycache__/b.pyc", ".mypy_cache/z",
        "node_modules/n.js", "a.py~", ".a.py.swp", "sub/.ipynb_checkpoints/b.py", ".idea/w.xml")
    (tmp_path / "submodule").mkdir()
    put(tmp_path, "submodule/c.py")
    (tmp_path / "submodule/.git").write_text("gitdir: ../.git/modules/submodule")
    assert names(tmp_path) == [".airflowignore", ".env.example", "a.py", "data.csv", "sub/b.py", "sub/query.sql", "submodule/c.py"]


def test_secrets_stay_on_the_controller_and_are_told(tmp_path):
    put(tmp_path, "a.py", "ca.pem", "plain.json")
    put(tmp_path, ".env", "sub/.env.production", "id_rsa", "server.key", ".netrc", "inventory/local/.secrets/generated/salt")
    put(tmp_path, "keys/sa.json", text='{"type": "service_account", "private_key": "x"}')
    put(tmp_path, "server.pem", text=PRIVATE)
    # Code that only speaks of keys.
    put(tmp_path, "parse.py", text=PRIVATE)
    (tmp_path / "settings").symlink_to(".env")
    found = team_folder(str(tmp_path))
    assert list(found.files) == ["a.py", "ca.pem", "parse.py", "plain.json"] and not found.problems
    problems, warnings = team_folder_problems([{"name": "airflow_dags_dir", "path": str(tmp_path)}, {"name": "x", "path": "/nowhere"}], [])
    assert problems == [] and len(warnings) == 1
    told = warnings[0].rpartition(": ")[2].split(", ")
    assert sorted(told) == sorted([".env", ".netrc", "id_rsa", "inventory/local/.secrets", "keys/sa.json", "server.key", "server.pem",
                                   "sub/.env.production"])


def test_secrets_of_other_names_stay_too(tmp_path):
    put(tmp_path, "prod.env", ".ENV", ".aws/credentials", ".kube/config", ".my.cnf", "terraform.tfstate", ".vault_pass.txt", "Server.KEY", "id_ecdsa_sk")
    put(tmp_path, "deploy_key", "server.txt", text="Bag Attributes\n" + PRIVATE)
    put(tmp_path, "pgp.asc", text="-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n")
    put(tmp_path, "putty", text="PuTTY-User-Key-File-3: ssh-ed25519\n")
    put(tmp_path, "user.json", text='{"client_id": "a", "refresh_token": "b"}')
    put(tmp_path, "schema.json", text='{"properties": {"refresh_token": {"type": "string"}}}')
    found = team_folder(str(tmp_path))
    assert list(found.files) == ["schema.json"] and found.problems == []
    assert len(found.secrets) == 14


def test_the_repository_around_a_folder_says_what_git_ignores_in_it(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    put(tmp_path, ".gitignore", text="teams/one/dags/local_settings.py\n*.token\n/a.py\n")
    put(tmp_path, "teams/.gitignore", text="one/dags/notes\n!kept.token\n/cloned/\n")
    dags = tmp_path / "teams/one/dags"
    put(dags, "a.py", "local_settings.py", "gh.token", "kept.token", "notes", "sub/x.token")
    listed = subprocess.run(["git", "-C", dags, "ls-files", "--others", "--exclude-standard", "-z"], check=True, capture_output=True, text=True).stdout
    assert names(dags) == sorted(listed.strip("\0").split("\0")) == ["a.py", "kept.token"]
    # A clone that the repository around it ignores is meant as it is.
    put(tmp_path / "teams/cloned", "b.token", "b.py")
    assert names(tmp_path / "teams/cloned") == ["b.py", "b.token"]


def test_gitignore_files_mean_what_they_mean_to_git(tmp_path):
    put(tmp_path, ".gitignore", text="*.log\n/build/\nlocal_*\n!local_kept.py\ndeep/**/tmp\n# note\n\\#odd\n")
    put(tmp_path, "sub/.gitignore", text="!wanted.log\n/only_here\n")
    put(tmp_path, "a.py", "x.log", "build/b", "sub/build/b", "local_a.py", "local_kept.py", "deep/er/tmp", "deep/er/kept", "sub/wanted.log", "sub/y.log",
        "sub/only_here", "only_here", "#odd")
    git = subprocess.run(["git", "-C", tmp_path, "-c", "init.defaultBranch=main", "init", "--quiet"], check=False)
    assert git.returncode == 0
    listed = subprocess.run(["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard", "-z"], check=True, capture_output=True, text=True).stdout
    assert names(tmp_path) == sorted(listed.strip("\0").split("\0"))


def test_what_a_repository_above_ignores_is_taken(tmp_path):
    put(tmp_path, ".gitignore", text="dags/\n")
    put(tmp_path, "dags/a.py")
    assert names(tmp_path / "dags") == ["a.py"]


def test_what_docker_does_not_read_is_left_out_of_an_image_and_of_nothing_else(tmp_path):
    put(tmp_path, ".dockerignore", text="# note\n*\n!app\n!*.lock\napp/data/\n**/*.md\nDockerfile\n")
    put(tmp_path, "Dockerfile", "app/main.py", "app/data/x", "app/deep/read.md", "tests/t.py", "a.lock", "notes.txt")
    assert names(tmp_path, build=True) == [".dockerignore", "Dockerfile", "a.lock", "app/main.py"]
    assert len(names(tmp_path)) == 8


def test_links_within_the_folder_are_followed(tmp_path):
    put(tmp_path, "shared/common/c.py", "a.py")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/common").symlink_to("../shared/common")
    (tmp_path / "dags/b.py").symlink_to(tmp_path / "a.py")
    (tmp_path.parent / "by_link").symlink_to(tmp_path)
    assert names(tmp_path.parent / "by_link") == ["a.py", "dags/b.py", "dags/common/c.py", "shared/common/c.py"]
    found = team_folder(str(tmp_path))
    assert found.problems == [] and pathlib.Path(found.files["dags/common/c.py"]).read_text() == "x"


def test_what_cannot_be_taken_is_named_each_by_itself(tmp_path):
    folder = tmp_path / "dags"
    put(tmp_path, "shared/common/c.py", "secret")
    put(folder, "a.py", "sub/b.py")
    for name, target in {"common": "../shared/common", "one.py": "../secret", "gone": "nowhere", "me": "me", "sub/up": "..", "sub/there": "../other",
                         "other/back": "../sub"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    problems, _warnings = team_folder_problems([{"name": "airflow_dags_dir", "path": str(folder)}], [])
    start = f"airflow_dags_dir {folder}: "
    for expected in ("common is a link to ../shared/common, outside of the folder; put a copy in its place", "one.py is a link to ../secret, outside",
                     "gone is a link to nowhere, where nothing is; correct or remove it", "me is a link to me, where nothing is",
                     "sub/up is a link to .., a directory that it lies in; remove it", "pipe is neither a file nor a directory; remove it",
                     "other/back/there is a link to ../other, a directory that it lies in"):
        assert len([problem for problem in problems if problem.startswith(start + expected)]) == 1, (expected, problems)
    assert len(problems) == 9, problems
