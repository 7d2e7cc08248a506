"""What a client sees: predictions, refusals, the key, the state pages, and an orderly end."""

import json
import re
import threading
import time

import pytest
import requests
from regmodel_docker import wait_for

GOOD = {"a": 1.0, "b": 2.0}
KEY = "clé-secrète"


@pytest.fixture(scope="module")
def launched(models, regmodels, write):
    """The services of this file, which start side by side."""
    for alias, version in (("api", 1), ("key", 2)):
        models.set_alias("steps", version, alias=alias)
    return {
        "steps": regmodels(models.uri, REGMODEL_MODEL_ALIAS="api", REGMODEL_MAX_ROWS="3"),
        "echo": regmodels(models.uri, "echo"),
        "fragile": regmodels(models.uri, "fragile"),
        "keyed": regmodels(models.uri, REGMODEL_MODEL_ALIAS="key", REGMODEL_API_KEY_FILE=write("key", KEY + "\n")),
        "prefixed": regmodels(models.uri, REGMODEL_MODEL_ALIAS="api", REGMODEL_PUBLIC_URL="https://models.example/team/reg"),
    }


@pytest.fixture
def service(launched):
    return launched["steps"].start()


@pytest.fixture
def echo(launched):
    return launched["echo"].start()


@pytest.fixture
def fragile(launched):
    return launched["fragile"].start()


@pytest.fixture
def keyed(launched):
    return launched["keyed"].start()


@pytest.fixture
def prefixed(launched):
    return launched["prefixed"].start()


def post(service, body, **headers):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return requests.post(service.url + "/predict", data=data, headers=headers, timeout=30)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [GOOD, {"b": 4, "a": 3}]},
        {"dataframe_records": [GOOD, {"a": 3, "b": 4}]},
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}},
    ],
)
def test_a_prediction_says_which_version_made_it(service, models, body):
    answer = post(service, body)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == pytest.approx([1005.0, 1011.0])
    run = models.version("steps", 1)["run_id"]
    assert answer.json()["model"] == {"name": "steps", "version": "1", "run_id": run}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("{", [(None, None, "json_invalid")]),
        ({"inputs": []}, [(None, "inputs", "empty")]),
        ({"inputs": [GOOD] * 4}, [(None, "inputs", "too_many_rows")]),
        ({"rows": [GOOD]}, [(None, "rows", "unknown_key"), (None, None, "missing")]),
        ({"inputs": [GOOD, {"a": 1}]}, [(1, "b", "missing")]),
        ({"inputs": [GOOD | {"c": 1}]}, [(0, "c", "unknown_field")]),
        ({"inputs": [GOOD, GOOD | {"a": "old"}]}, [(1, "a", "wrong_type")]),
        ({"inputs": [GOOD | {"a": True}]}, [(0, "a", "wrong_type")]),
        ({"inputs": [GOOD | {"a": None}]}, [(0, "a", "missing")]),
        ('{"inputs": [{"a": NaN, "b": Infinity}]}', [(0, "a", "not_finite"), (0, "b", "not_finite")]),
        ('{"inputs": [{"a": 1e999, "b": -1e999}]}', [(0, "a", "not_finite"), (0, "b", "not_finite")]),
        ({"inputs": [5]}, [(0, None, "wrong_type")]),
    ],
)
def test_what_does_not_fit_is_refused_with_row_and_field(service, body, found):
    answer = post(service, body)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert [(one["row"], one["field"], one["type"]) for one in detail] == found
    assert all(one["msg"] for one in detail)
    assert answer.json()["count"] == len(found)


def test_a_body_that_is_too_large_is_refused(service):
    answer = post(service, b'{"inputs": [' + b" " * (17 * 1024 * 1024) + b"]}")
    assert answer.status_code == 413
    assert service.get("/health").status_code == 200


def test_every_type_reaches_the_model_as_its_signature_says(echo):
    types = {one["name"]: one["type"] for one in echo.get("/model").json()["signature"]["inputs"]}
    row = {
        "boolean": True,
        "integer": -5,
        "long": 2**60,
        "float": 0.5,
        "double": 2,
        "string": "é",
        "datetime": "2026-01-02T03:04:05",
    }
    assert set(types) == set(row) | {"maybe", "count"}
    answer = echo.predict([row, row | {"maybe": 1.5, "double": 0.1}])
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    dtypes = dict(pair.split(":") for pair in first.split("|")[0].split(","))
    assert dtypes.pop("string") in ("object", "str")
    assert dtypes.pop("datetime").startswith("datetime64")
    assert dtypes == {
        "boolean": "bool",
        "integer": "int32",
        "long": "int64",
        "float": "float32",
        "double": "float64",
        "maybe": "float64",
    }
    for value in ("True", "-5", str(2**60), "0.5", "2.0", "é", "2026-01-02 03:04:05", "None"):
        assert f"'{value}'" in first
    assert "'1.5'" in second
    assert echo.predict([row | {"count": 1}, row]).json()["detail"][0]["field"] == "count"


def test_a_model_that_fails_answers_500_for_that_request_only(fragile):
    for value, text in (
        (-1, "RuntimeError: negative age"),
        (-2, "predicted nan for row 0"),
        (-3, "1 predictions for 2 rows"),
    ):
        answer = fragile.predict([{"a": value, "b": 0}] * 2)
        assert answer.status_code == 500
        assert text in answer.json()["detail"]
        assert answer.json()["model"]["version"] == "1"
    assert fragile.predict([{"a": 7, "b": 0}]).json()["predictions"] == [7.0]
    assert fragile.metric('regmodel_predict_requests_total{status="500"}') == 3
    assert "RuntimeError: negative" in fragile.output()


def test_the_model_is_described(service, models):
    body = service.get("/model").json()
    run = models.version("steps", 1)["run_id"]
    assert (body["name"], body["alias"], body["version"], body["run_id"]) == ("steps", "api", "1", run)
    assert body["signature"]["inputs"] == [
        {"name": "a", "type": "double", "required": True},
        {"name": "b", "type": "double", "required": True},
    ]
    assert body["signature"]["outputs"][0]["name"] == "y"
    assert body["metrics"] == {"offset": 1000.0}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", body["loaded_at"])
    assert service.predict(body["example"]["inputs"]).status_code == 200
    assert service.get("/ready").json()["model"]["version"] == "1"


def test_metrics_tell_requests_versions_and_times(service):
    before = {
        name: service.metric(name) or 0
        for name in ('regmodel_predict_requests_total{status="422"}', "regmodel_predict_rows_total")
    }
    service.predict([GOOD, GOOD])
    service.predict([])
    for name, value in before.items():
        assert service.metric(name) == value + (1 if "422" in name else 2)
    text = service.get("/metrics").text
    assert "# TYPE regmodel_predict_duration_seconds histogram" in text
    answers = sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("regmodel_predict_requests_total")
    )
    assert service.metric("regmodel_predict_duration_seconds_count") == answers
    assert service.metric("regmodel_model_loaded") == 1
    assert service.metric("regmodel_model_version") == service.metric("regmodel_alias_version") == 1
    assert abs(service.metric("regmodel_registry_last_success_timestamp_seconds") - time.time()) < 60
    assert service.metric("process_resident_memory_bytes") > 0


def test_the_page_and_the_documentation_need_no_other_host(service):
    page = service.get("/")
    assert "Version 1</b> is served" in page.text
    assert 'name="a"' in page.text
    all_links_are_answered(service, page)


@pytest.mark.parametrize("stripped", [True, False])
def test_behind_a_proxy_pages_links_and_requests_have_its_path(prefixed, stripped):
    path = "" if stripped else "/team/reg"
    page = prefixed.get(path + "/")
    assert 'const prefix = "/team/reg";' in page.text
    all_links_are_answered(prefixed, page)
    document = prefixed.get(path + "/openapi.json").json()
    assert document["servers"] == [{"url": "/team/reg"}]
    answer = requests.post(f"{prefixed.url}{path}/predict", json={"inputs": [GOOD]}, timeout=30)
    assert answer.json()["predictions"] == pytest.approx([1005.0])
    assert prefixed.get("/health").status_code == 200


def all_links_are_answered(service, page):
    nonce = re.search(r"script-src 'nonce-([^']+)'", page.headers["Content-Security-Policy"]).group(1)
    assert page.text.count(f'nonce="{nonce}"') == 2
    docs = service.get("/docs")
    assert docs.status_code == 200
    for text in (page.text, docs.text):
        links = re.findall(r'(?:src|href)="([^"]+)"', text) + re.findall(r"url: '([^']+)'", text)
        assert links
        for link in links:
            assert link.startswith(("/", "data:")), link
            if link.startswith("/"):
                assert service.get(link).status_code == 200, link


def test_the_description_of_the_api_follows_the_model(service):
    predict = service.get("/openapi.json").json()["paths"]["/predict"]["post"]
    content = predict["requestBody"]["content"]["application/json"]
    row = content["schema"]["oneOf"][0]["properties"]["inputs"]["items"]
    assert row["required"] == ["a", "b"]
    assert post(service, content["example"]).status_code == 200
    assert {"200", "401", "413", "422", "500", "503"} <= predict["responses"].keys()
    assert "security" not in predict


def test_with_a_key_only_its_holder_gets_predictions(keyed):
    key = KEY.encode()
    for headers, status in (
        ({}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": key[:-1]}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": b"Basic " + key}, 401),
        ({"X-API-Key": key}, 200),
        ({"Authorization": b"Bearer " + key}, 200),
        ({"Authorization": b"bearer " + key}, 200),
    ):
        answer = post(keyed, {"inputs": [GOOD]}, **headers)
        assert answer.status_code == status, headers
        if status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "API key" in answer.json()["detail"]
        assert requests.get(keyed.url + "/model", headers=headers, timeout=30).status_code == status
    for path in ("/health", "/ready", "/metrics", "/"):
        assert keyed.get(path).status_code == 200
    for path, method in (("/predict", "post"), ("/model", "get")):
        operation = keyed.get("/openapi.json").json()["paths"][path][method]
        assert operation["security"] == [{"key": []}, {"bearer": []}]
        assert "401" in operation["responses"]


def test_without_the_key_the_page_and_the_description_tell_nothing_of_the_models_fields(keyed):
    page = keyed.get("/")
    assert 'id="key"' in page.text
    assert 'name="a"' not in page.text
    assert '"a"' not in keyed.get("/openapi.json").text
    shown = requests.get(keyed.url + "/", headers={"X-API-Key": KEY.encode()}, timeout=30)
    assert 'name="a"' in shown.text
    assert 'id="key"' not in shown.text
    assert requests.get(keyed.url + "/", headers={"X-API-Key": "wrong"}, timeout=30).status_code == 401
    assert KEY not in keyed.output()


def test_a_request_under_way_is_answered_after_sigterm(fragile):
    answers = []
    client = threading.Thread(target=lambda: answers.append(fragile.predict([{"a": -4, "b": 0}])))
    client.start()
    wait_for(lambda: "a slow prediction begins" in fragile.output())
    assert fragile.stop() == 0
    client.join()
    assert answers[0].status_code == 200


def test_settings_that_cannot_be_used_end_the_start_with_every_reason(regmodel):
    service = regmodel("", REGMODEL_POLL_SECONDS="often", REGMODEL_API_KEY_FILE="/nonexistent/key")
    service.launch()
    wait_for(lambda: not service.running())
    assert service.state("ExitCode") == "2"
    assert [line.split(":")[0] for line in service.output().splitlines()] == ["regmodel"] * 3
