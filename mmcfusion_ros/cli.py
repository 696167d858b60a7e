"""The command ``mmcfusion``: one sub-command per tool, each in ``commands/``. They import only what they need."""

from __future__ import annotations

import argparse
import shlex
import sys

from mmcfusion_ros.commands.bags import add_check, add_evaluate_bag, add_record_demo
from mmcfusion_ros.commands.calibrate import add_calibrate
from mmcfusion_ros.commands.live import add_demo, add_parameters, add_play, add_simulate
from mmcfusion_ros.commands.operation import add_doctor, add_security_policy, add_soak
from mmcfusion_ros.commands.quality import add_bench, add_evaluate, add_fuse
from mmcfusion_ros.commands.train_and_export import add_convert, add_export, add_train
from mmcfusion_ros.fusion.errors import BackendError, FusionError
from mmcfusion_ros.resources import version

SUB_COMMANDS = (
    add_demo,
    add_simulate,
    add_play,
    add_bench,
    add_evaluate,
    add_fuse,
    add_evaluate_bag,
    add_check,
    add_record_demo,
    add_calibrate,
    add_train,
    add_export,
    add_convert,
    add_parameters,
    add_doctor,
    add_soak,
    add_security_policy,
)


def main(arguments: list[str] | None = None) -> None:
    """Runs one sub-command. Exit status 1 and one line on stderr if its input is wrong, 2 for wrong usage."""
    options = build_parser().parse_args(arguments)
    options.typed = shlex.join(["mmcfusion", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        succeeded = options.run(options)
    except (ValueError, OSError, BackendError, FusionError) as error:
        sys.exit(f"mmcfusion {options.command}: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"mmcfusion {options.command}: needs the package {error.name}; see requirements-dev.txt")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if succeeded in (None, True) else 1)


def build_parser() -> argparse.ArgumentParser:
    """All sub-commands with their options."""
    parser = argparse.ArgumentParser(prog="mmcfusion", description="Thermal and RGB image fusion with MMCFusion")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in SUB_COMMANDS:
        add(commands)
    for each in (parser, *commands.choices.values()):
        each.add_argument("--version", action="version", version=f"mmcfusion {version()}")
    return parser


if __name__ == "__main__":
    main()
