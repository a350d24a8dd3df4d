"""`jmlip train`: a configuration to a run directory with potential, metrics and report."""

import argparse
import re
import shlex
from pathlib import Path

from jmlip.cli.fields import describe_fields
from jmlip.cli.processes import add_process_options, join_processes

DESCRIPTION = """\
Train a potential. The run directory receives potential/ (the best on validation), metrics.csv and
metrics.jsonl, report.html, checkpoints/ and config.toml, the resolved configuration: `jmlip train
RUN/config.toml --run OTHER` reproduces the run. Paths in a configuration start from its folder.
"""

_WHOLE_PATH = r"""(["'])(/[^"']*)\1"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a potential from a TOML configuration",
        description=DESCRIPTION,
        epilog=describe_fields(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser)
    add_process_options(parser)
    parser.set_defaults(run=run, resume_hint="continue with the same command and --resume")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """CONFIG.toml, --set, --run and --resume."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="configuration file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="SECTION.KEY=VALUE",
        help="override one field of the configuration; may be repeated",
    )
    parser.add_argument(
        "--run",
        dest="run_dir",
        type=Path,
        metavar="DIR",
        help="run directory (default: runs/NAME beside where you are, NAME from CONFIG.toml)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run from its last checkpoint"
    )


def run(options: argparse.Namespace) -> None:
    from jmlip.cli import workflow
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.config import load_config

    config = load_config(options.config, options.assignments)
    join_processes(options)
    use_compilation_cache()
    command = shlex.join(["jmlip", "train", *words_of(options)])
    workflow.train(config, run_directory_of(options), command=command, resume=options.resume)


def run_directory_of(options: argparse.Namespace) -> Path:
    """The directory that --run names, or the usual one."""
    return options.run_dir or Path("runs") / options.config.stem


def words_of(options: argparse.Namespace) -> list[str]:
    """Configuration and overrides for the provenance: a whole path may name a person or machine."""
    overrides = [w for item in options.assignments for w in ("--set", _without_folders(item))]
    return [options.config.name, *overrides]


def _without_folders(assignment: str) -> str:
    """Names for whole paths: for the value itself, and for those in quotes in a list or table."""
    name, _, value = assignment.partition("=")
    if Path(value).is_absolute():
        return f"{name}={Path(value).name}"
    last = lambda found: f"{found[1]}{Path(found[2]).name}{found[1]}"
    return f"{name}={re.sub(_WHOLE_PATH, last, value)}"
