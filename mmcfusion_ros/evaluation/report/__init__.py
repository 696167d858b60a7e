"""The report of one or several runs: one HTML file that people look at, and a short video."""

from mmcfusion_ros.evaluation.report.page import write_report
from mmcfusion_ros.evaluation.report.previews import choose_previews, encode_preview, write_preview_video
from mmcfusion_ros.evaluation.report.run import Box, Frame, Run

__all__ = ["Box", "Frame", "Run", "choose_previews", "encode_preview", "write_preview_video", "write_report"]
