"""The documents: links that lead somewhere, commands that the tools take, files that exist, a short README."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmcfusion_ros.cli import build_parser
from mmcfusion_ros.stream.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "models" / "README.md", *ROOT.glob("results/*.md")]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def code(page: Path) -> str:
    """Its blocks of shell commands, continued lines joined, without comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return re.sub(r" +#.*$", "", "\n".join(blocks).replace("\\\n", " "), flags=re.MULTILINE)


def without_braces(word: str) -> list[str]:
    """``a{b,c}`` as the shell expands it."""
    parts = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
    return [f"{parts[1]}{middle}{parts[3]}" for middle in parts[2].split(",")] if parts else [word]


@by_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            assert (page.parent / file).exists(), target
            assert not anchor or anchor in anchors(page.parent / file if file else page), target


@by_page
def test_commands_are_taken(page):
    for command in re.findall(r"^(?:ros2 run mmcfusion_ros )?mmcfusion (.+)$", code(page), re.MULTILINE):
        build_parser().parse_args([part for word in shlex.split(command) for part in without_braces(word)])


@by_page
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"(?<![\w/])((?:scripts|config|launch|mmcfusion_ros|test)/[\w/.*-]+\.(?:py|sh|yaml|xml))\b", page.read_text()
    )
    assert [file for file in named if not list(ROOT.glob(file)) and "test_FILE" not in file] == []


def test_parameters_that_are_named_exist():
    names = {parameter.name for parameter in PARAMETERS}
    groups = "|".join({name.split(".")[0] for name in names if "." in name})
    for page in (page for page in PAGES if page.parent.name != "results"):  # which are of their day
        named = re.findall(rf"`((?:{groups})\.(?!py\b)[a-z_]+)(?::[^`]*)?`", page.read_text())
        assert [name for name in named if name not in names] == [], page.name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
