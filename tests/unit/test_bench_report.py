"""What a benchmark leaves in the documents: its tables, its plot, its verdict."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report
import rows
import scale
import setups
from plot import Panel, svg
from programs import BenchError
from turn import Effort

SVG = "{http://www.w3.org/2000/svg}"


def test_a_table_replaces_what_stood_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- t: by x -->\nold\n<!-- end of t -->\nafter\n")
    for _ in range(2):
        report.fill(page, "t", report.markdown([["", "a"], ["b", "1"]]))
        assert (
            page.read_text() == "before\n<!-- t: by x -->\n|  | a |\n|---|---|\n| b | 1 |\n<!-- end of t -->\nafter\n"
        )


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(BenchError, match="marks of 't': 0"):
        report.fill(page, "t", [])


@pytest.mark.parametrize(
    ("document", "name"), [(report.COMPARISON, "wire"), (report.BENCH_README, "wire"), (report.BENCH_README, "scale")]
)
def test_the_documents_have_their_marks(document: Path, name: str) -> None:
    assert len(re.findall(rf"<!-- {name}: .*-->\n(?:.*\n)*?<!-- end of {name} -->\n", document.read_text())) == 1


def test_a_plot_is_well_formed_and_places_points_by_their_logarithms() -> None:
    panel = Panel("targets", "answers & more", {"a": [(1, 10), (10, 100), (100, 1000)], "none": []})
    root = ElementTree.fromstring(svg("title", [[panel]]))
    marks = [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in root.iter(f"{SVG}circle")]
    assert len(marks) == 3
    assert marks[1] == pytest.approx(
        [(first + last) / 2 for first, last in zip(marks[0], marks[2], strict=True)], abs=0.1
    )
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"targets", "answers & more", "a", "none", "1", "10", "100", "1k"} == set(words)


def sample(**figures: float) -> dict[str, float]:
    return {"quiet": True, "disturbed": 0, **figures}


def test_the_bars_compare_medians_of_one_run() -> None:
    results = {
        "ndpresponder": [sample(saturation=210), sample(saturation=300), sample(saturation=200)],
        "npd6": [sample(saturation=100)],
        "C recvmmsg": [sample(saturation=400)],
    }
    judged = {bar.text: (bar.value, bar.met) for bar in rows.bars(results)}
    assert judged == {
        "answered/s at saturation, to npd6": (2.1, True),
        "answered/s at saturation, to C recvmmsg": (0.525, False),
    }


def test_the_bars_of_a_scan_of_cpu_and_of_overload() -> None:
    results = {
        "ndpresponder": [sample(scan=150, cpu_at_1000=30, rss_plain_mb=24, **{"overload_1.5": 89})],
        "npd6": [sample(scan=75)],
        "C recvmmsg": [sample(scan=200, cpu_at_1000=20)],
    }
    judged = {bar.text: (bar.value, bar.met) for bar in rows.bars(results)}
    assert judged == {
        "answered/s, 65,536 targets, to npd6": (2.0, True),
        "answered/s, 65,536 targets, to C recvmmsg": (0.75, True),
        "1.5 x offered, % of saturation": (89, False),
        "CPU per answer at 1,000/s, to C recvmmsg": (1.5, False),
        "RSS, --prefix, --iface, MB": (24, True),
    }


def test_each_figure_of_a_set_up_has_a_row() -> None:
    assert set(setups.KEYS) < {measure.key for measure in rows.MEASURES}


def test_a_row_is_measured_if_one_of_the_patterns_is_its_name() -> None:
    effort = Effort(1, 1, 0, True, ("cpu_at_*", "scan"))
    assert [effort.wants(key) for key in ("cpu_at_1000", "scan", "scan_half", "cpu_us")] == [True, True, False, False]
    assert Effort(1, 1, 0, True).wants("anything")


def test_rows_that_nobody_has_are_not_shown() -> None:
    shown = [row[0] for row in rows.table({"npd6": [sample(scan=1)]})]
    assert shown == [
        "",
        "answered/s, 65,536 targets",
        "cores taken by others, %",
        "rounds counted",
        "answered/s, 65,536 targets, to npd6",
    ]


def test_figures_have_no_more_digits_than_they_deserve() -> None:
    assert [report.number(*figure) for figure in ((351_432.7, 0), (1_999.6, 1), (999.96, 1), (0.126, 2), (0, 0))] == [
        "351,000",
        "2,000.0",
        "1,000.0",
        "0.13",
        "0",
    ]


def test_the_table_of_scale_has_a_row_for_each_point_and_contestant() -> None:
    results = {
        ("uplinks", 32): {"user space": [{"answered": 1504.4, "rss_mb": 40.0}], "proxy_ndp": [{"answered": 2.0}]}
    }
    rows = list(scale.table(results))
    assert rows[1:] == [
        ["uplinks: 32", "user space", "1,500", "-", "-", "40.0", "-", "-", "-"],
        ["uplinks: 32", "proxy_ndp", "2", "-", "-", "-", "-", "-", "-"],
    ]
    assert "uplinks" in scale.picture(results)


def test_targets_and_prefixes_are_counted_as_the_generators_do() -> None:
    many = scale.Setting(targets=5000)
    assert str(many.target(0)) == "2001:db8::800"
    assert str(many.target(4096)) == "2001:db8::1:0:800"
    prefixes = scale.Setting(prefixes=100)
    assert prefixes.line(20) == "2001:db8::14:0:0/116\n"
    lengths = {int(prefixes.line(number).rpartition("/")[2]) for number in range(100)}
    assert lengths == set(range(96, 128))
