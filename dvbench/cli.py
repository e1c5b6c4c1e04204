"""The command line: verbs from `dvbench.verbs` and `dvbench.data.verbs`, errors as one line, exit codes for scripts."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from dvbench.data import verbs as data
from dvbench.errors import is_ours
from dvbench.verbs import compare, gate, gpu, inspect, predict, profile, records, reproduce, run, show, weights
from dvbench.verbs.common import BAD_INPUT, INTERRUPTED, Verb, tell
from dvbench.version import __version__


class _Parser(argparse.ArgumentParser):
    """Reports bad usage as every other error is reported: in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"dvbench: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 good, 1 a check failed, 2 bad usage or input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    verb: Verb = options.verb
    try:
        return verb(options)
    except KeyboardInterrupt:
        kept = "what is finished is kept; the same command goes on from there, profile with --resume"
        tell(f"interrupted: {kept}")
        return INTERRUPTED
    except Exception as error:
        if not is_ours(error):
            raise
        tell(str(error))
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dvbench",
        description="Benchmark and efficiency profiler for DynamicVis (arXiv 2503.16426v1).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dvbench doctor                          what works on this machine\n"
        "  dvbench profile --res 256 512           measure DynamicVis, ViT and ResNet on the sample scene\n"
        "  dvbench reproduce table14               the paper's table 14 beside your machine's\n"
        "  dvbench gate --only hard                what a change has made worse\n"
        "  dvbench show tokens my_scene.tif        which regions each stage keeps\n",
    )
    parser.add_argument("--version", action="version", version=f"dvbench {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    for module in (profile, run, predict, compare, reproduce, gate, gpu, records, show, inspect, weights, data):
        module.add_to(verbs)
    return parser
