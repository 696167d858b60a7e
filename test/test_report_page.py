"""The report in a real browser: drag, keys, clicks, theme, sizes, comparison, and nothing on the console."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
import pytest
from report_runs import COLOURS, make_run

from mmcfusion_ros.evaluation.report import Box, MethodTable, PageFrame, PageRun, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")
FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync")  # fmt: skip
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=[f"--{flag}" for flag in FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of some runs; at its end the browser must have complained of nothing and loaded nothing."""

    @contextmanager
    def opened(*runs, boxes=MappingProxyType({}), methods=None, **options):
        write_report(tmp_path / "report.html", list(runs), boxes, methods)
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(15_000)
        page = context.new_page()
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        yield page
        assert complaints == []
        assert [url for url in requests if not url.startswith(("file:", "blob:"))] == []
        assert sum(url.startswith("file:") for url in requests) == 1
        context.close()

    return opened


def frame_of(page):
    return page.inner_text("#where b").split(",")[0]


def colour_at(page, x_share):
    """Mean colour, red first, of a spot in the lower part of the viewer."""
    page.evaluate("Promise.all([...document.querySelectorAll('#stage img[src]')].map((image) => image.decode()))")
    image = cv2.imdecode(np.frombuffer(page.locator("#stage").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    x, y = int(x_share * width), int(0.8 * height)
    return image[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))[::-1]


def shows(page, x_share, kind, colours=COLOURS):
    return np.abs(colour_at(page, x_share) - colours[kind]).max() < 12


def switch(page, image):
    page.locator("#layers").get_by_role("button", name=image).click()


def dividers(page):
    return [int(node.get_attribute("aria-valuenow")) for node in page.get_by_role("separator").all()]


class TestViewer:
    def test_mouse_drags_a_divider(self, opened):
        with opened(make_run()) as page:
            assert dividers(page) == [33, 67]
            assert shows(page, 0.2, "thermal")
            assert shows(page, 0.5, "rgb")
            assert shows(page, 0.8, "fused")
            box = page.locator("#stage").bounding_box()
            page.mouse.move(box["x"] + 0.34 * box["width"], box["y"] + 50)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.10 * box["width"], box["y"] + 80, steps=3)
            page.mouse.up()
            page.mouse.move(box["x"] + 0.60 * box["width"], box["y"] + 80)
            assert dividers(page) == [10, 67]
            assert shows(page, 0.2, "rgb")

    def test_a_divider_pushes_the_other_and_stops_at_the_edge(self, opened):
        with opened(make_run()) as page:
            box = page.locator("#stage").bounding_box()
            page.mouse.move(box["x"] + 0.33 * box["width"], box["y"] + 50)
            page.mouse.down()
            page.mouse.move(box["x"] + 1.5 * box["width"], box["y"] + 50, steps=3)
            page.mouse.up()
            assert dividers(page) == [100, 100]
            assert shows(page, 0.9, "thermal")

    def test_finger_drags_a_divider(self, opened):
        with opened(make_run(), **PHONE) as page:
            page.locator("#stage").scroll_into_view_if_needed()
            box = page.locator("#stage").bounding_box()
            touch = page.context.new_cdp_session(page)
            for kind, share in (("touchStart", 0.67), ("touchMove", 0.8), ("touchMove", 0.9), ("touchEnd", None)):
                points = [] if share is None else [{"x": box["x"] + share * box["width"], "y": box["y"] + 60}]
                touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            assert dividers(page)[0] == 33
            assert dividers(page)[1] == pytest.approx(90, abs=2)

    def test_keys_move_a_divider_but_not_the_frame(self, opened):
        with opened(make_run()) as page:
            divider = page.get_by_role("separator", name="Divider between RGB and Fused")
            divider.focus()
            page.keyboard.press("ArrowLeft")
            assert dividers(page) == [33, 65]
            page.keyboard.press("Shift+ArrowRight")
            assert dividers(page) == [33, 75]
            page.keyboard.press("Home")
            assert dividers(page) == [0, 0]
            assert shows(page, 0.1, "fused")
            assert frame_of(page) == "00000"

    def test_images_are_switched_off_but_for_one(self, opened):
        with opened(make_run()) as page:
            switch(page, "Thermal")
            switch(page, "RGB")
            assert shows(page, 0.1, "fused")
            switch(page, "Fused")
            assert shows(page, 0.1, "fused")

    def test_side_by_side(self, opened):
        with opened(make_run()) as page:
            page.get_by_role("button", name="Side by side").click()
            assert page.get_by_role("separator").count() == 0
            boxes = [figure.bounding_box() for figure in page.locator("#stage figure").all()]
            assert [box["y"] for box in boxes] == [boxes[0]["y"]] * 3
            assert shows(page, 0.15, "thermal")
            assert shows(page, 0.85, "fused")


class TestBoxes:
    FOUND, MISSED, FALSE = (
        Box(left, 0.6, left + 0.1, 0.9, state, "person", 0.8)
        for left, state in ((0.1, "found"), (0.45, "missed"), (0.8, "false"))
    )

    @pytest.fixture
    def boxes(self):
        """Of one detector in each image and in two passes, of another nothing anywhere."""
        thermal, fused = [self.FOUND, self.MISSED], [self.FOUND, self.FALSE, self.FALSE]
        inputs = {"white hot": thermal, "lite": fused, "two passes": [self.MISSED]}
        return {f"{i:05}": {name: {"one": each, "two": []} for name, each in inputs.items()} for i in range(11)}

    @pytest.fixture
    def run(self):
        return replace(make_run(), seen_as={"thermal": "white hot", "fused": "lite"})

    def captions(self, page):
        return [re.sub(r"\s+", " ", text) for text in page.locator("#stage figcaption").all_text_contents()]

    def test_each_image_has_its_own(self, opened, run, boxes):
        with opened(run, boxes=boxes) as page:
            assert self.captions(page) == [
                "Thermal1 found, 1 missed, 0 false",
                "RGB",
                "Fused1 found, 0 missed, 2 false",
            ]
            edges = page.locator("#stage figure:first-child rect.found").evaluate_all(
                "(all) => all.map((box) => box.getBoundingClientRect().x)"
            )
            stage = page.locator("#stage").bounding_box()
            assert edges == [pytest.approx(stage["x"] + 0.1 * stage["width"], abs=3)]

    def test_all_have_those_of_an_input_or_none(self, opened, run, boxes):
        with opened(run, boxes=boxes) as page:
            page.get_by_label("Input").select_option("two passes")
            assert {text[-26:] for text in self.captions(page)} == {"0 found, 1 missed, 0 false"}
            page.get_by_label("Detector").select_option("two")
            assert {text[-26:] for text in self.captions(page)} == {"0 found, 0 missed, 0 false"}
            page.get_by_label("Input").select_option("nothing")
            assert self.captions(page) == ["Thermal", "RGB", "Fused"]
            assert page.locator("#stage rect").count() == 0

    def test_a_frame_without_and_a_page_without(self, opened, run, boxes):
        with opened(run, boxes=boxes) as page:
            page.keyboard.press("End")
            assert self.captions(page) == ["Thermal", "RGB", "Fused"]
        with opened(run) as page:
            assert not page.locator("#boxes").is_visible()

    def test_two_runs(self, opened, run, boxes):
        other = replace(run, seen_as={"fused": "two passes"})
        with opened(run, other, boxes=boxes) as page:
            assert self.captions(page) == ["Fused A1 found, 0 missed, 2 false", "Fused B0 found, 1 missed, 0 false"]


class TestMethods:
    def test_a_table_above_the_pictures(self, opened):
        rows = [["Best", "1.00", "9.0"], ["max", "2.00", ""]]
        table = MethodTable("Methods", ["method", "mean rank ↓", "EN ↑"], rows, ["max"], "Means of 12 pairs.")
        with opened(make_run("max"), methods=table) as page:
            assert page.locator("#methods tbody tr").all_inner_texts() == ["Best\t1.00\t9.0", "max\t2.00\t"]
            assert page.locator("#methods .ours th").inner_text() == "max"
            assert "Means of 12 pairs." in page.locator("#methods").inner_text()
        with opened(make_run("max")) as page:
            assert not page.locator("#methods").is_visible()

    def test_images_have_the_names_that_the_run_gives(self, opened):
        with opened(replace(make_run(), image_names={"thermal": "MRI"})) as page:
            assert page.locator("#layers button").all_inner_texts() == ["MRI", "RGB", "Fused"]


class TestFrames:
    def test_keys_step(self, opened):
        with opened(make_run()) as page:
            seen = []
            for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"):
                page.keyboard.press(key)
                seen.append(frame_of(page))
            assert seen == ["00001", "00002", "00001", "00011", "00011", "00000", "00000"]
            assert page.get_by_role("img", name="Fused, frame 00000").count() == 1
            assert page.locator("#strip [aria-current]").inner_text() == "00000"

    def test_space_plays_to_the_end_and_stops(self, opened):
        with opened(make_run(count=4, step_s=0.1)) as page:
            page.keyboard.press(" ")
            playwright.expect(page.locator("#where")).to_contain_text("00003")
            page.get_by_role("button", name="Play").wait_for()

    def test_button_pauses_where_it_is(self, opened):
        with opened(make_run(count=40)) as page:
            page.get_by_role("button", name="Play").click()
            playwright.expect(page.locator("#where")).not_to_contain_text("00000")
            page.get_by_role("button", name="Pause").click()
            before = frame_of(page)
            page.wait_for_timeout(800)
            assert before == frame_of(page) != "00000"

    def test_filmstrip_and_slider(self, opened):
        with opened(make_run()) as page:
            page.locator("#strip button").nth(4).click()
            assert frame_of(page) == "00004"
            page.get_by_role("slider").fill("9")
            assert frame_of(page) == "00009"

    def test_without_a_picture_the_nearest_is_shown_and_said(self, opened):
        with opened(make_run(pictured=range(0, 12, 5))) as page:
            assert page.locator("#strip li").count() == 3
            page.keyboard.press("ArrowRight")
            assert frame_of(page) == "00005"
            page.get_by_role("row", name="00007").click()
            assert frame_of(page) == "00007"
            assert "00007 has no pictures" in page.inner_text("#note")
            assert page.get_by_role("img", name="Fused, frame 00005").count() == 1
            page.keyboard.press("ArrowRight")
            assert frame_of(page) == "00010"

    def test_worst_first(self, opened):
        with opened(make_run()) as page:
            page.get_by_label("Order").select_option("worst")
            page.locator("h1").click()
            assert page.locator("#strip li").all_inner_texts()[:3] == ["00007", "00000", "00001"]
            page.keyboard.press("Home")
            assert frame_of(page) == "00007"


class TestPlots:
    def test_one_a_unit(self, opened):
        with opened(make_run()) as page:
            titles = page.locator("#plots h2").all_inner_texts()
            assert titles == [
                "Skew within a pair",
                "Latency by stage",
                "Rates",
                "Drops by reason, so far",
                "Information",
                "Kept from the sources",
                "Contrast and detail",
            ]

    def test_click_jumps_to_the_frame(self, opened):
        with opened(make_run()) as page:
            plot = page.locator("#plots figure", has_text="Latency").locator(".u-over")
            box = plot.bounding_box()
            plot.click(position={"x": box["width"] * 3 / 11 + 2, "y": 40})
            assert frame_of(page) == "00003"
            assert page.locator("#strip [aria-current]").inner_text() == "00003"
            lines = [line.bounding_box()["x"] + 1 for line in page.locator(".now").all()]
            assert lines == pytest.approx([box["x"] + box["width"] * 3 / 11] * len(lines), abs=1.5)

    def test_a_tap_jumps_too(self, opened):
        with opened(make_run(), **PHONE) as page:
            plot = page.locator("#plots figure", has_text="Latency").locator(".u-over")
            plot.tap(position={"x": plot.bounding_box()["width"] * 3 / 11, "y": 40})
            assert frame_of(page) == "00003"

    def test_legend_tells_the_frame_and_under_the_pointer_that(self, opened):
        with opened(make_run()) as page:
            figure = page.locator("#plots figure", has_text="Latency")
            network = figure.get_by_role("button", name="network")
            page.keyboard.press("End")
            assert network.inner_text() == "network 40"
            box = figure.locator(".u-over").bounding_box()
            figure.locator(".u-over").hover(position={"x": box["width"] * 3 / 11, "y": 40})
            assert network.inner_text() == "network 60"
            assert "at 00003" in figure.locator("figcaption").inner_text()
            page.mouse.move(5, 5)
            assert network.inner_text() == "network 40"

    def test_legend_switches_a_line(self, opened):
        with opened(make_run()) as page:
            figure = page.locator("#plots figure", has_text="Latency")
            before = figure.locator("canvas").screenshot()
            figure.get_by_role("button", name="network").click()
            page.wait_for_timeout(50)
            assert figure.get_by_role("button", name="network").get_attribute("aria-pressed") == "false"
            assert figure.locator("canvas").screenshot() != before

    def test_drag_zooms_and_double_click_zooms_out(self, opened):
        with opened(make_run()) as page:
            plot = page.locator(".u-over").first
            now = page.locator(".now").first
            box = plot.bounding_box()
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 40, steps=4)
            page.mouse.up()
            assert frame_of(page) == "00000"
            now.wait_for(state="hidden")
            plot.dblclick()
            page.keyboard.press("Home")
            now.wait_for(state="visible")

    def test_drops_are_counted_up(self, opened):
        with opened(make_run()) as page:
            legend = page.locator("#plots figure", has_text="Drops").locator(".legend")
            page.keyboard.press("End")
            assert legend.inner_text().split("\n") == ["stale_thermal 1", "superseded 2"]


class TestTables:
    def names(self, page):
        return [name.strip() for name in page.locator("#worst tbody th").all_inner_texts()]

    def test_worst_of_a_metric_first(self, opened):
        with opened(make_run()) as page:
            assert self.names(page)[:3] == ["00007", "00000", "00001"]
            page.get_by_label("Metric").select_option("total_ms")
            assert self.names(page)[0] == "00003"
            page.get_by_label("Metric").select_option("skew_ms")
            assert self.names(page)[:5] == ["00011", "00010", "00009", "00000", "00008"]

    def test_sorted_by_a_column_and_back(self, opened):
        with opened(make_run()) as page:
            page.locator("#worst thead").get_by_role("button", name="SD").click()
            assert self.names(page)[:2] == ["00000", "00001"]
            page.locator("#worst thead").get_by_role("button", name="SD").click()
            assert self.names(page)[:2] == ["00011", "00010"]
            assert page.locator("#worst [aria-sort=descending]").inner_text().startswith("SD")

    def test_a_row_jumps_by_mouse_and_by_keyboard(self, opened):
        with opened(make_run()) as page:
            page.get_by_role("row", name="00003").locator("td").first.click()
            assert frame_of(page) == "00003"
            page.locator("#worst tbody button").first.focus()
            page.keyboard.press("Enter")
            assert frame_of(page) == "00007"
            assert page.locator("#worst tbody [aria-current]").count() == 1

    def test_more_rows(self, opened):
        with opened(make_run(count=40, step_s=0.1)) as page:
            assert len(self.names(page)) == 15
            page.get_by_role("button", name="Show 15 more of 40").click()
            assert len(self.names(page)) == 30

    def test_numbers_that_are_missing_are_a_dash_and_last(self, opened):
        frames = [
            PageFrame(name, i, {"Qabf": value}) for i, (name, value) in enumerate({"a": float("nan"), "b": 0.5}.items())
        ]
        with opened(PageRun("r", {}, frames)) as page:
            assert self.names(page) == ["b", "a"]
            assert page.get_by_role("row", name="a \u2013").count() == 1

    def test_statistics(self, opened):
        with opened(make_run()) as page:
            row = page.locator("#statistics tbody tr", has_text="SD")
            assert row.locator("td").all_inner_texts() == ["45.50", "45.50", "50.45", "40.00", "51.00"]


class TestComparison:
    def two(self):
        b = make_run("b", fused=(30, 30, 220))
        frames = [
            PageFrame(f.name, f.time_s, {**f.values, "SD": 30.0}, f.thermal, f.rgb, f.fused) for f in b.frames[:10]
        ]
        return make_run("a"), PageRun("b", b.header, frames, [], [])

    def test_both_fused_images_in_the_divider(self, opened):
        with opened(*self.two()) as page:
            assert dividers(page) == [50]
            assert page.get_by_role("separator", name="Divider between Fused A and Fused B").count() == 1
            assert shows(page, 0.3, "fused")
            assert shows(page, 0.7, "b", {"b": (30, 30, 220)})
            switch(page, "Thermal")
            assert dividers(page) == [33, 67]
            assert shows(page, 0.2, "thermal")

    def test_differences_in_the_tables(self, opened):
        with opened(*self.two()) as page:
            page.get_by_label("Metric").select_option("SD")
            row = page.get_by_role("row", name="00009").locator("td").all_inner_texts()
            assert row == ["4.500", "49", "30", "\u221219"]
            row = page.locator("#statistics tbody tr", has_text="SD").locator("td").all_inner_texts()
            assert row == ["45.50", "30.00", "\u221215.50", "B worse"]

    def test_a_frame_that_only_one_has(self, opened):
        with opened(*self.two()) as page:
            page.keyboard.press("End")
            assert frame_of(page) == "00011"
            assert "Run B has no such frame" in page.inner_text("#note")
            assert page.locator("#stage .missing").count() == 1
            assert page.get_by_role("row", name="00011").locator("td").last.inner_text() == "\u2013"

    def test_what_differs_and_values_of_both(self, opened):
        with opened(*self.two()) as page:
            assert page.locator("#facts summary .muted").inner_text() == "a | b"
            page.locator("#facts summary").click()
            assert page.locator("#facts tr", has_text="model").locator("td").all_inner_texts() == ["a", "b"]
            assert page.locator("#facts dd").all_inner_texts() == ["street.mcap"]
            legend = page.locator("#plots figure", has_text="Contrast").locator(".legend")
            assert legend.inner_text() == "SD 40 | 30"

    def test_any_two_of_several(self, opened):
        with opened(make_run("a"), make_run("b"), make_run("c", count=3)) as page:
            page.keyboard.press("ArrowRight")
            page.get_by_label("compared with B").select_option(label="nothing")
            assert page.inner_text("h1") == "a"
            assert dividers(page) == [33, 67]
            page.get_by_label("Run A").select_option(label="c")
            assert page.inner_text("h1") == "c"
            assert frame_of(page) == "00001"
            assert page.locator("#strip li").count() == 3

    def test_images_of_a_folder_go_by_their_names(self, opened):
        a = PageRun("a", {}, [PageFrame(name, i, {"SD": i}) for i, name in enumerate("xyz")])
        b = PageRun("b", {}, [PageFrame(name, i, {"SD": 10.0 * i}) for i, name in enumerate("yz")])
        with opened(a, b) as page:
            page.get_by_label("Order").select_option("time", force=True)
            page.keyboard.press("End")
            assert page.locator("#plots .legend").inner_text() == "SD 2 | 10"


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_follows_the_system_until_it_is_told(self, opened, scheme):
        def is_dark(page):
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return sum(int(part) for part in colour[4:-1].split(",")) < 300

        with opened(make_run(), color_scheme=scheme) as page:
            assert is_dark(page) == (scheme == "dark")
            canvas = page.locator("#plots canvas").first.screenshot()
            page.locator("#theme").click()
            assert is_dark(page) == (scheme == "light")
            page.wait_for_timeout(50)
            assert page.locator("#plots canvas").first.screenshot() != canvas

    @pytest.mark.parametrize("width", [360, 800, 1920])
    def test_nothing_is_wider_than_the_screen(self, opened, width):
        long = "a_very_long_name_without_any_space_" * 4
        run = make_run(long)
        run.header[long] = long
        run.problems.append(long)
        run.drops.append((1.0, long))
        with opened(run, make_run(), viewport={"width": width, "height": 740}) as page:
            page.locator("#facts summary").click()
            for _ in range(2):
                assert page.evaluate("document.documentElement.scrollWidth") == width
                page.get_by_role("button", name="Side by side").click()

    def test_plots_follow_the_width(self, opened):
        with opened(make_run()) as page:
            page.set_viewport_size({"width": 360, "height": 740})
            playwright.expect(page.locator("#plots canvas").first).to_have_css("width", re.compile("^[23]..px"))
            assert page.evaluate("document.documentElement.scrollWidth") == 360

    def test_text_is_text(self, opened):
        evil = "</script><img src=x onerror=alert(1)> \"'& ünï \u2028 \udc80"
        run = PageRun(
            evil,
            {evil: evil},
            [PageFrame(evil, t, {evil: t, "__proto__": 1.0}) for t in (0.5, 2.0)],
            [(1.0, evil)],
            [evil],
        )
        with opened(run, run) as page:
            assert page.locator("img[src=x]").count() == 0
            shown = evil.encode("utf-8", "replace").decode().replace("?", "\ufffd").replace("\u2028", "")
            assert shown[:30] in page.locator("h1 span").first.inner_text()
            assert "</script><img" in page.inner_text("#problems")
            assert "</script><img" in page.inner_text("#worst")


class TestEmpty:
    def test_no_frames(self, opened):
        with opened(PageRun("r", {}, [], [(0.1, "bad_data")], ["/rgb: no messages"])) as page:
            assert "No frame was fused." in page.inner_text("#plots")
            assert "/rgb: no messages" in page.inner_text("#problems")
            assert "bad_data 1" in page.inner_text("#tiles")
            assert page.locator("#pictures, #worst, #statistics, #facts").locator("visible=true").count() == 0

    def test_one_frame(self, opened):
        with opened(make_run(count=1)) as page:
            page.keyboard.press(" ")
            page.keyboard.press("ArrowRight")
            assert frame_of(page) == "00000"
            assert "One frame" in page.inner_text("#plots")
            assert shows(page, 0.5, "rgb")

    def test_no_pictures(self, opened):
        with opened(make_run(pictured=range(0))) as page:
            assert "no pictures" in page.inner_text("#note")
            assert not page.locator("#stage").is_visible()
            page.keyboard.press("ArrowRight")
            assert frame_of(page) == "00001"

    def test_no_values(self, opened):
        with opened(PageRun("r", {}, [PageFrame(str(i), i, {}) for i in range(3)])) as page:
            assert "no values" in page.inner_text("#plots")

    def test_compared_with_nothing_fused(self, opened):
        with opened(make_run(), PageRun("b", {}, [])) as page:
            assert page.locator("#tiles strong").all_inner_texts()[:2] == ["12", "0"]
            assert page.get_by_role("row", name="00007").locator("td").last.inner_text() == "\u2013"

    def test_no_time_starts_with_the_worst(self, opened):
        with opened(make_run(step_s=1.0)) as page:
            assert frame_of(page) == "00007"
            assert page.locator("#strip li").all_inner_texts()[0] == "00007"
            page.get_by_label("Order").select_option("as in the folder")
            assert page.locator("#strip li").all_inner_texts()[0] == "00000"
            assert "Rates" not in page.inner_text("#plots")
