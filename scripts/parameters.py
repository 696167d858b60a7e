"""Writes config/fusion.yaml and the table in docs/parameters.md: PYTHONPATH=. python scripts/parameters.py"""

from __future__ import annotations

import re
from pathlib import Path

from mmcfusion_ros.stream.parameter_files import parameters_markdown, parameters_yaml

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- parameters -->\n).*(<!-- /parameters -->)", re.DOTALL)

if __name__ == "__main__":
    (ROOT / "config" / "fusion.yaml").write_text(parameters_yaml())
    page = ROOT / "docs" / "parameters.md"
    page.write_text(TABLE.sub(lambda found: found[1] + parameters_markdown() + found[2], page.read_text()))
