"""Thermal and RGB image fusion with the MMCFusion network, as a ROS 2 node and as a library."""

import os

# Read by OpenCV when it is loaded: a file of a few bytes may claim an image of gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "64000000")
