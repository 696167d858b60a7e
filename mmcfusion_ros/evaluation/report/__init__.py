"""The report of one or several runs: one HTML file that people look at, and a short video."""

from mmcfusion_ros.evaluation.report.page import write_report
from mmcfusion_ros.evaluation.report.page_run import Box, MethodTable, PageFrame, PageRun
from mmcfusion_ros.evaluation.report.previews import choose_previews, encode_preview, write_preview_video

__all__ = [
    "Box",
    "MethodTable",
    "PageFrame",
    "PageRun",
    "choose_previews",
    "encode_preview",
    "write_preview_video",
    "write_report",
]
