"""The arithmetic, tables and plot of the benchmark."""

import pathlib
import sys
import xml.etree.ElementTree as xml

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
from bench_report import COLOURS, Cell, paired_ratio, percentile, probe_bound, seconds, svg, table

CELLS = [
    Cell("wait_healthy (http)", "http", True, 10, 5, [0.1, 0.2, 0.3], []),
    Cell("uri", "http", False, 10, 5, [4.0], []),
    Cell("uri", "http", False, 10, 0, [0.5], []),
    Cell("compose", "docker", False, 10, 5, [1.5], [1.0]),
]


@pytest.mark.parametrize("values, percent, expected", [
    ([3.0], 95, 3.0), (list(range(1, 21)), 95, 19), (list(range(1, 22)), 95, 20), ([2, 1, 3], 50, 2), ([2, 1], 100, 2), ([5, 4], 1, 4),
])
def test_percentile_is_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 95)


@pytest.mark.parametrize("elapsed, expected", [(0.2, 0.021), (1.0, 0.021), (5.0, 0.101), (300.0, 0.501)])
def test_the_promised_bound_grows_with_the_wait(elapsed, expected):
    assert probe_bound(elapsed, 0.001) == pytest.approx(expected)


def test_ratios_are_taken_pair_by_pair():
    assert paired_ratio([(1.0, 2.0), (10.0, 11.0), (1.0, 1.5)]) == 1.5


@pytest.mark.parametrize("value, text", [
    (0.0049, "5 ms"), (-0.002, "-2 ms"), (0.9949, "995 ms"), (0.996, "1.0 s"), (12.34, "12.3 s"), (123.4, "123 s"),
])
def test_seconds_read_easily(value, text):
    assert seconds(value) == text


def test_a_table_has_ours_first_and_ratios_to_it():
    assert table(CELLS, "http", 10)[0] == "| waiter | already ready | 5 s |"
    assert table(CELLS, "http", 10)[2:] == ["| wait_healthy (http) | – | 200 ms |", "| uri | 500 ms | 4.0 s (×20.0) |"]
    assert table(CELLS, "docker", 10, "after_event")[2:] == ["| compose | 1.0 s |"]


def test_the_plot_is_well_formed_and_higher_is_slower():
    drawn = xml.fromstring(svg(CELLS))
    name = "{http://www.w3.org/2000/svg}"
    circles = [(circle.get("fill"), float(circle.get("cy"))) for circle in drawn.iter(f"{name}circle")]
    assert len(circles) == 3
    ours, peer = [y for colour, y in circles if colour == COLOURS["http"]]
    assert ours > peer
    assert {text.text for text in drawn.iter(f"{name}text")} >= {"10 checks", "wait_healthy (http)", "uri", "compose"}
