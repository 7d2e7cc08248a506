"""The page: what it says in each state, and that nothing of a model's text becomes markup."""

from html.parser import HTMLParser

from regmodel.page import render

EVIL = "<script>alert('x')</script>\"&"


def model(**changes):
    return {
        "name": "regmodel",
        "version": "7",
        "run_id": "abc",
        "alias": "champion",
        "alias_version": "8",
        "loading": None,
        "problem": None,
        "polled_at": "2026-01-01T00:00:00+00:00",
        "loaded_at": "2026-01-01T00:00:00+00:00",
        "signature": {
            "inputs": [
                {"name": "age", "type": "double", "required": True},
                {"name": "count", "type": "long", "required": False},
                {"name": "smokes", "type": "boolean", "required": True},
                {"name": "city", "type": "string", "required": True},
                {"name": "seen", "type": "datetime", "required": True},
            ],
            "outputs": [{"type": "double", "name": "progression", "required": True}],
        },
        "metrics": {"rmse": 48.123456789},
        "example": {"inputs": [{"age": 32.5, "smokes": True, "city": "Lyon"}]},
        **changes,
    }


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page(body, prefix=""):
    return Page(render(body, "nonce1", prefix=prefix))


def test_what_is_served_is_said_with_a_form_filled_from_the_example():
    shown = page(model())
    assert "Version 7 is served" in shown.text
    assert "48.1235" in shown.text
    fields = {attrs["name"]: attrs for attrs in shown.all("input") + shown.all("select") if "name" in attrs}
    assert list(fields) == ["age", "count", "city", "seen", "smokes"]
    assert (fields["age"]["type"], fields["age"]["value"]) == ("number", "32.5")
    assert "required" in fields["age"]
    assert "required" not in fields["count"]
    assert fields["city"]["value"] == "Lyon"
    assert "type" not in fields["seen"]
    assert [attrs for attrs in shown.all("option") if "selected" in attrs]


def test_without_a_model_the_reason_is_said_and_there_is_no_form():
    shown = page({"detail": "alias champion is not set on regmodel", "name": "regmodel", "alias": "champion"})
    assert "No model is served. alias champion is not set on regmodel" in shown.text
    assert not shown.all("form")


def test_a_problem_is_shown_beside_the_model():
    assert "version 8 failed" in page(model(problem="version 8 failed")).text


def test_the_key_is_asked_for_before_anything_is_shown():
    def asks(shown):
        return [attrs["id"] for attrs in shown.all("input") + shown.all("form") if attrs.get("id") in ("key", "unlock", "try")]

    assert asks(page(None)) == ["key", "unlock"]
    assert asks(page(model())) == ["try"]


def test_links_begin_with_the_path_at_the_proxy():
    links = [attrs["href"] for attrs in page(model(), "/team/regmodel").all("a")]
    assert len(links) == 4
    assert all(link.startswith("/team/regmodel/") for link in links)


def test_nothing_that_comes_from_a_model_becomes_markup():
    evil = model(
        name=EVIL,
        version=EVIL,
        run_id=EVIL,
        alias=EVIL,
        alias_version=EVIL,
        problem=EVIL,
        metrics={EVIL: 1.0},
        signature={
            "inputs": [{"name": EVIL, "type": "string", "required": True}],
            "outputs": [{"type": EVIL, "name": EVIL}],
        },
        example={"inputs": [{EVIL: EVIL}]},
    )
    for body in (evil, {"detail": EVIL, "name": EVIL, "alias": EVIL}):
        shown = page(body)
        assert len(shown.all("script")) == 1
        assert "alert('x')" in shown.text


def test_nothing_is_loaded_from_elsewhere():
    html = render(model(), "nonce1")
    assert "http:" not in html
    assert "https:" not in html
    assert [attrs.get("nonce") for attrs in Page(html).all("script") + Page(html).all("style")] == ["nonce1"] * 2
