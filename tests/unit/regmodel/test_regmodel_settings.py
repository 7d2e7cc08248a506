"""Environment variables: defaults, files, and one list of everything that is wrong."""

import pytest
from regmodel.settings import SettingsError, prepare_mlflow_client, settings_from_env

URI = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}


def test_defaults():
    settings = settings_from_env(URI)
    assert (settings.model_name, settings.alias, settings.poll_seconds) == ("regmodel", "champion", 2.0)
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert settings.api_key is None


def test_an_empty_variable_counts_as_absent():
    empty = dict.fromkeys(
        ("REGMODEL_MODEL_NAME", "REGMODEL_POLL_SECONDS", "REGMODEL_PORT", "REGMODEL_API_KEY_FILE"), ""
    )
    assert settings_from_env(URI | empty) == settings_from_env(URI)


def test_all_problems_come_in_one_error(tmp_path):
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(SettingsError) as caught:
        settings_from_env(
            {
                "REGMODEL_POLL_SECONDS": "often",
                "REGMODEL_PORT": "70000",
                "REGMODEL_MAX_ROWS": "0",
                "REGMODEL_API_KEY_FILE": str(tmp_path / "empty"),
            }
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for name in ("MLFLOW_TRACKING_URI", "POLL_SECONDS='often'", "PORT=70000", "MAX_ROWS=0", "empty is empty"):
        assert any(name in line for line in lines), name


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0"])
def test_a_poll_interval_that_is_no_interval_is_refused(text):
    with pytest.raises(SettingsError, match="POLL_SECONDS"):
        settings_from_env(URI | {"REGMODEL_POLL_SECONDS": text})


def test_the_api_key_is_the_files_content_without_its_line_end_and_is_not_shown(tmp_path):
    (tmp_path / "key").write_text("s3cret\n")
    settings = settings_from_env(URI | {"REGMODEL_API_KEY_FILE": str(tmp_path / "key")})
    assert settings.api_key == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(("url", "prefix"), [("", ""), ("https://a.example", ""), ("https://a.example:444/", ""), ("https://a.example/x/y/", "/x/y")])
def test_the_path_of_the_public_url_is_the_services_prefix(url, prefix):
    assert settings_from_env(URI | {"REGMODEL_PUBLIC_URL": url}).prefix == prefix


@pytest.mark.parametrize("url", ["a.example/x", "ftp://a.example", "https://u:p@a.example", "https://a.example/x?y", 'https://a.example/"'])
def test_a_public_url_that_no_page_can_link_to_is_refused(url):
    with pytest.raises(SettingsError, match="REGMODEL_PUBLIC_URL"):
        settings_from_env(URI | {"REGMODEL_PUBLIC_URL": url})


def test_mlflows_password_comes_from_its_file_and_its_limits_can_be_overridden(tmp_path):
    (tmp_path / "password").write_text("pässword\n")
    environ = {
        "MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "password"),
        "MLFLOW_TRACKING_PASSWORD": "another",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    }
    prepare_mlflow_client(environ)
    assert environ["MLFLOW_TRACKING_PASSWORD"] == "pässword"
    assert environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_a_password_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD_FILE: .*No such file"):
        prepare_mlflow_client({"MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "absent")})
