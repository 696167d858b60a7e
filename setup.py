from glob import glob
from os.path import isfile

from setuptools import find_packages, setup

PACKAGE = "mmcfusion_ros"
FOLDERS = ("launch", "config", "config/cameras", "config/security", "config/train", "models")

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={f"{PACKAGE}.evaluation.report": ["assets/*.*", "assets/uplot/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        ("bin", ["scripts/mmcfusion"]),
        *((f"share/{PACKAGE}/{folder}", list(filter(isfile, glob(f"{folder}/*")))) for folder in FOLDERS),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="mmcfusion_ros maintainers",
    maintainer_email="mmcfusion-ros@example.org",
    description="Fuses a thermal and an RGB camera into one image with the MMCFusion network",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"fusion_node = {PACKAGE}.ros.fusion_process:main",
            f"mmcfusion = {PACKAGE}.cli:main",
        ],
    },
)
