"""From results of wait_healthy to one axis, the critical path, the printed lines and the page."""

import pathlib
import re
from xml.etree import ElementTree

import pytest
from ansible_collections.mlops.stack.plugins.callback.timeline import lines
from ansible_collections.mlops.stack.plugins.plugin_utils._report import write_report
from ansible_collections.mlops.stack.plugins.plugin_utils._timeline._page import page
from ansible_collections.mlops.stack.plugins.plugin_utils._timeline._rows import SILENT, Timeline

UTILS = pathlib.Path(__file__).resolve().parents[2] / "plugins/module_utils"
REFUSED, LATE, OK = ("transient", "refused"), ("transient", "http_status"), ("ready", "ok")
# Every code of a probe that takes an answer to be told; the rest of what the probes say must be in SILENT.
ANSWERED = {
    "ok", "healthy", "http_status", "redirect", "redirect_refused", "redirect_loop", "bad_reply", "bad_status_line", "body_truncated",
    "body_too_large", "unsupported_encoding", "body_mismatch", "json_invalid", "json_mismatch", "no_match", "not_tls", "not_postgres",
    "not_redis", "pg_auth_method", "pg_password_missing", "pg_scram", "tls_certificate", "tls_client_certificate", "tls_handshake",
    "tls_refused",
}


def clock(seconds, host_ahead=0.0):
    """An hour into a day of the host whose clock is ahead of the controller's by so much."""
    at = 3600 + seconds + host_ahead
    return f"2026-01-31T{int(at // 3600):02d}:{int(at % 3600 // 60):02d}:{at % 60:06.3f}Z"


def check(*entries, container=None, started=None, state="ready", failure=None, ahead=0.0):
    """A check that found ``(seconds into the wait, (class, code))``, of a container started so many seconds into the run."""
    timeline = [{"at": at, "class": cls, "code": code, "detail": "s3cret", "count": 1} for at, (cls, code) in entries]
    attempts = [entry for entry in timeline if entry["class"] != "event"]
    return {
        "state": state,
        "ready_after": attempts[-1]["at"] if state == "ready" else None,
        "last": attempts[-1],
        "timeline": timeline,
        "failure": failure and {"code": failure, "detail": "s3cret"},
        "container": container and {"name": container, "started_at": clock(started, ahead)},
    }


def result(began, elapsed, reason="ready", ahead=0.0, **checks):
    return {
        "began": clock(began, ahead), "elapsed": elapsed, "reason": reason, "checks": checks,
        "invocation": {"module_args": {"redact": ["s3cret"]}}, "msg": "s3cret",
    }


def timeline(*results):
    """``(host, result, seconds into the run at which it came)``"""
    made = Timeline("2026-01-31T01:00:00.000Z")
    for host, one, received in results:
        assert made.add(host, one, received)
    return made


def find(made, name, host="a"):
    return next(s for s in made.services() if (s.host, s.name) == (host, name))


def path(made):
    return [(row["host"], row["name"]) for row in made.document(made.services())["critical_path"]["services"]]


def test_every_code_of_the_probes_is_either_an_answer_or_silence():
    found = set()
    for source in UTILS.rglob("_*.py"):
        text = source.read_text()
        found |= set(re.findall(r"\b(?:ready|transient|suspect|permanent|make)\(\s*\"([a-z_]+)\"", text))
        found |= set(re.findall(r"errno\.E\w+: \"([a-z_]+)\"", text))
    found -= {"log_unreadable"}  # of a log, never of a check
    assert len(found) > 50 and found - SILENT == ANSWERED and not SILENT & ANSWERED


@pytest.mark.parametrize("ahead", [0.0, 5000.0, -3000.0])
def test_the_hosts_clock_counts_only_within_a_wait(ahead):
    # The wait took 10 s and its result came at 30 s, so it began at 20 s; the container was started 2 s before.
    one = result(20, 10, ahead=ahead, web=check((0, REFUSED), (3, LATE), (9, OK), container="web-1", started=18, ahead=ahead))
    web = find(timeline(("a", one, 30)), "web")
    assert (web.started, web.answered, web.ready) == (pytest.approx(18), 23, 29)
    assert not web.ran_before and web.container == "web-1"


def test_a_container_from_before_the_run_ran_before():
    web = find(timeline(("a", result(5, 10, web=check((0, REFUSED), (9, OK), container="web-1", started=-60)), 15)), "web")
    assert web.ran_before and web.started is None and web.ready == 14


def test_without_the_wall_clock_the_start_is_unknown():
    one = result(0, 5, web=check((0, REFUSED), (4, OK), container="web-1", started=1))
    del one["began"]
    web = find(timeline(("a", one, 5)), "web")
    assert web.started is None and not web.ran_before and web.ready == 4


@pytest.mark.parametrize(("entries", "answered"), [
    ([(0, REFUSED), (2, ("transient", "closed")), (4, ("transient", "timeout")), (6, OK)], 6),
    ([(0, REFUSED), (2, ("transient", "pg_57P03")), (6, OK)], 2),
    ([(0, ("event", "start")), (1, ("transient", "json_mismatch")), (6, OK)], 1),
    ([(0, ("transient", "starting")), (6, ("ready", "healthy"))], 6),
    ([(0, ("transient", "created")), (6, ("ready", "running"))], None),
])
def test_the_first_answer(entries, answered):
    assert find(timeline(("a", result(0, 6, x=check(*entries)), 6)), "x").answered == answered


def test_an_answer_of_an_earlier_life_does_not_count():
    lives = check((1, LATE), (4, ("event", "die")), (5, ("event", "create")), (6, ("event", "start")), (7, REFUSED), (9, OK),
                  container="x", started=6)
    x = find(timeline(("a", result(0, 9, x=lives), 9)), "x")
    assert (x.created, x.started, x.answered, x.ready) == (5, pytest.approx(6), 9, 9)


def test_checks_of_one_container_are_one_service_ready_with_the_last():
    one = result(0, 9, http=check((0, REFUSED), (4, OK), container="c", started=0),
                 up=check((0, ("ready", "running")), container="c", started=0),
                 deep=check((0, REFUSED), (5, LATE), (9, OK), container="c", started=0))
    made = timeline(("a", one, 9))
    (service,) = made.services()
    assert service.name == "c" and service.checks == ["http", "up", "deep"]
    assert (service.answered, service.ready) == (4, 9) and not service.at_once


def test_a_later_wait_confirms_and_does_not_move_what_came_up_before():
    first = result(0, 5, db=check((0, REFUSED), (5, OK), container="db", started=-1 + 1))
    same = result(20, 2, db=check((0.1, OK), container="db", started=0), web=check((0, REFUSED), (2, OK)))
    again = result(20, 2, db=check((0.1, OK), container="db", started=15))
    assert find(timeline(("a", first, 5), ("a", same, 22)), "db").ready == 5
    anew = find(timeline(("a", first, 5), ("a", again, 22)), "db")
    assert anew.ready == 20.1 and anew.at_once and anew.started == pytest.approx(15)


def test_one_host_where_the_webserver_waits_for_init_and_that_for_postgres():
    made = timeline(("a", result(
        1, 30,
        postgres=check((0, REFUSED), (3, OK), container="postgres", started=0.2),
        redis=check((0, REFUSED), (1, OK), container="redis", started=0.2),
        init=check((0, ("transient", "starting")), (12, ("ready", "healthy")), container="init", started=0.4),
        webserver=check((0, REFUSED), (20, LATE), (25, OK), container="webserver", started=0.5),
        # Asked at the webserver, a moment later: no step of its own.
        scheduler=check((0, REFUSED), (20.1, LATE), (25.2, OK), container="scheduler", started=0.5),
    ), 31))
    assert path(made) == [("a", "redis"), ("a", "postgres"), ("a", "init"), ("a", "webserver")]


def test_known_dependencies_leave_chance_out():
    made = timeline(("a", result(
        1, 30,
        postgres=check((0, REFUSED), (3, OK), container="postgres", started=0.2),
        mlflow=check((0, REFUSED), (19, OK), container="mlflow", started=0.2),
        init=check((0, ("transient", "starting")), (12, ("ready", "healthy")), container="init", started=0.4),
        webserver=check((0, REFUSED), (25.1, OK), container="webserver", started=0.5),
        scheduler=check((0, REFUSED), (25, OK), container="scheduler", started=0.5),
    ), 31))
    assert ("a", "mlflow") in path(made) and "inferred" in made.document([])["critical_path"]["basis"]
    # The last two wait for each other as far as the names say; that ends, too.
    made.waits_for = {"init": ["postgres"], "mlflow": ["postgres"], "webserver": ["init", "scheduler"], "scheduler": ["init", "webserver"]}
    assert {name for _host, name in path(made)} == {"postgres", "init", "webserver", "scheduler"}
    assert "inferred" not in made.document([])["critical_path"]["basis"]
    made.waits_for = {}
    assert path(made) == [("a", "scheduler")]


def test_a_worker_waits_for_the_webserver_of_another_host():
    control = result(10, 12, ahead=900.0, webserver=check((0, REFUSED), (12, OK), container="w", started=9, ahead=900.0))
    worker = result(11, 20, ahead=-900.0, worker=check((0, REFUSED), (18, LATE), (20, OK), container="k", started=10, ahead=-900.0),
                    exporter=check((0, REFUSED), (1, OK), container="e", started=10, ahead=-900.0))
    made = timeline(("control", control, 22), ("worker", worker, 31))
    assert path(made) == [("worker", "exporter"), ("control", "webserver"), ("worker", "worker")]


@pytest.mark.parametrize(("started", "expected"), [(0, ["db", "web"]), (8, ["web"])])
def test_what_was_ready_before_the_start_is_no_predecessor(started, expected):
    one = result(0, 20, db=check((0, REFUSED), (5, OK)), web=check((0, REFUSED), (20, OK), container="web", started=started))
    assert [name for _host, name in path(timeline(("a", one, 20)))] == expected


def test_what_held_when_first_asked_is_not_on_the_path():
    one = result(0, 20, db=check((3, OK)), web=check((0, REFUSED), (20, OK)))
    assert path(timeline(("a", one, 20))) == [("a", "web")]


def test_no_path_where_a_wait_failed_or_a_host_was_lost():
    bad = result(0, 9, "permanent", db=check((0, REFUSED), (5, OK)), web=check((0, REFUSED), state="failed", failure="restart_loop"))
    made = timeline(("a", bad, 9))
    assert path(made) == [] and find(made, "web").code == "restart_loop"
    shown = lines(made, made.services())
    assert [bad for _text, bad in shown] == [False, False, False, True] and "failed (restart_loop)" in shown[-1][0]
    lost = timeline(("a", result(0, 9, db=check((0, REFUSED), (5, OK))), 9))
    lost.lose("b")
    assert path(lost) == [] and lines(lost, lost.services())[-1] == ("b became unreachable during a wait; what it had seen is lost", True)


def test_a_wait_that_was_tried_again_counts_as_it_ended():
    bad = result(0, 9, "timeout", web=check((0, REFUSED), state="failed"))
    good = result(10, 5, web=check((0, REFUSED), (5, OK)))
    made = timeline(("a", bad, 9), ("a", good, 15))
    assert path(made) == [("a", "web")] and find(made, "web").ready == 15


@pytest.mark.parametrize("other", [
    {}, {"censored": "the output has been hidden"}, {"results": [result(0, 1, web=check((0, OK)))]}, {"elapsed": 1.0, "checks": {}},
    {"elapsed": "****", "checks": {"web": check((0, OK))}}, {"msg": "url is not of the form", "failed": True},
])
def test_a_result_that_tells_of_no_wait_is_left_alone(other):
    made = Timeline()
    assert made.add("a", other, 1.0) is False and made.services() == []


def test_everything_ready_at_once_is_one_line():
    made = timeline(("a", result(0, 1.3, x=check((0.2, OK)), y=check((0.1, OK))), 4), ("b", result(0, 1, z=check((0.1, OK))), 4))
    assert lines(made, made.services()) == [("3 services on 2 hosts were ready at once (0.2 s)", False)]
    one = timeline(("a", result(0, 1, x=check((0.2, OK))), 4))
    assert lines(one, one.services()) == [("1 service on 1 host was ready at once (0.2 s)", False)]


def test_the_lines():
    made = timeline(("a", result(0, 20, db=check((3, OK)), web=check((0, REFUSED), (19, LATE), (20, OK), container="web", started=2)), 20))
    assert [text for text, _bad in lines(made, made.services())] == [
        "seconds since the run began; > is the critical path, inferred from the order of events",
        "  host  service  started  first answer   ready",
        "  a     db             -        by 3.0  by 3.0",
        "> a     web          2.0          19.0    20.0",
        "critical path: web 20.0",
    ]


HOSTILE = '<script>alert(1)</script>&"\'\x1b[31m\u202e'


@pytest.fixture(params=["good", "failed", "none"])
def any_timeline(request):
    if request.param == "none":
        lost = Timeline()
        lost.lose(HOSTILE)
        return lost
    last = {"state": "failed", "failure": HOSTILE} if request.param == "failed" else {}
    checks = {
        HOSTILE: check((0, REFUSED), (2, LATE), (9, OK), container=HOSTILE, started=1),
        "old": check((0, REFUSED), (5, OK), container="old", started=-50),
        "again": check((1, ("event", "create")), (3, REFUSED), (9, OK), container="again", started=2),
        "last": check((0, REFUSED), (9.5, OK), **last),
    }
    return timeline((HOSTILE, result(0, 10, "permanent" if last else "ready", **checks), 10.2))


def test_the_page_is_well_formed_and_names_are_only_text(any_timeline):
    text = page(any_timeline, any_timeline.services())
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    assert {element.tag for element in tree.iter()}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not re.search(r"\b(?:src|href)=|url\(|https?:", text)
    assert "\x1b" not in text and "\u202e" not in text and "s3cret" not in text
    cells = " ".join(tree.find(".//tbody").itertext())
    for service in any_timeline.services():
        assert service.name in cells and service.host in cells
    for element in tree.iter():
        for value in (element.get(name, "0") for name in ("x", "y", "cx", "cy", "width", "height")):
            assert value == "100%" or float(value) >= 0 or element.get("name"), ElementTree.tostring(element)


def test_the_document_holds_no_secret_and_no_message(any_timeline):
    document = str(any_timeline.document(any_timeline.services()))
    assert "s3cret" not in document and "module_args" not in document


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "timeline.json"
    target.write_text("old")
    write_report(str(tmp_path), target.name, "new")
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_report(str(tmp_path), target.name, "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.json"] and target.read_text() == "new"
