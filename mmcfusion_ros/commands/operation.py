"""A node in operation: ``doctor``, ``soak``, ``security-policy``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcfusion_ros.commands.arguments import Commands, image_size, positive


def add_doctor(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="why a running node publishes no fused image, and what to do")
    parser.add_argument("--namespace", default="/", help="of the node")
    parser.add_argument("--name", default="mmcfusion", help="of the node")
    parser.add_argument("--seconds", type=positive, default=3.0, help="for how long to look on")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.tools.doctor import run_doctor

    return run_doctor(options.name, options.namespace, options.seconds)


def add_soak(commands: Commands) -> None:
    parser = commands.add_parser("soak", help="the node under random faults for minutes or hours")
    parser.add_argument("--minutes", type=positive, required=True)
    parser.add_argument("--out", type=Path, default=Path("soak_output"), help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule of faults")
    parser.add_argument("--size", type=image_size, default=(320, 240), metavar="WIDTHxHEIGHT", help="of both cameras")
    parser.set_defaults(run=_soak)


def _soak(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.tools.soak import run_soak

    return run_soak(options.out, options.minutes, options.seed, options.size)


def add_security_policy(commands: Commands) -> None:
    parser = commands.add_parser("security-policy", help="print the node's SROS 2 policy file")
    parser.add_argument("--namespace", default="/", help="of the node")
    parser.set_defaults(run=_security_policy)


def _security_policy(options: argparse.Namespace) -> None:
    from mmcfusion_ros.tools.security_policy import node_interface, policy_xml

    print(policy_xml(node_interface(options.namespace), options.namespace), end="")
