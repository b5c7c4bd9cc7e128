"""Summarises finished runs: a table of means over seeds, and differences to a baseline.

python summarize.py FOLDER...                                             every run in these folders
python summarize.py FOLDER... --baseline head=average --output FOLDER     also as files

`python train.py -m ...` prints the same table at its end, with its first configuration as baseline.
The star marks the best mean validation metric of each task. The difference is that of the test
metrics of the same seeds.
"""

import re

from omegaconf import OmegaConf

import commands.python_version  # noqa: F401
from commands.command_line import with_home
from commands.hydra_callbacks import print_failures
from commands.running import argument_parser, run_command
from conf import overrides
from conf.paths import PATH_KEYS, expanded, located
from conf.schema import Config, as_text, dotted
from errors import UserError

# A comma in front of a key, unless it is quoted.
SEPARATOR = re.compile(r"""\s*,\s*(?=[\w.@/]+=)(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""")


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("folders", nargs="+", type=expanded, help="folders of runs or sweeps")
    compared = "the row to compare with (default: the first)"
    parser.add_argument("--baseline", metavar="key=value[,...]", help=compared)
    written = "write summary.csv, .md and .png to this folder"
    parser.add_argument("--output", type=expanded, help=written)
    options = parser.parse_args(arguments)

    from reporting import finished_runs, sweep_summary

    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    runs = finished_runs.read_runs(options.folders)
    if runs:
        rows = sweep_summary.summarize(runs, options.baseline and _settings(options.baseline))
        print(sweep_summary.as_table(rows))
        if options.output:
            sweep_summary.write(options.output, rows)
    print_failures(finished_runs.read_failures(options.folders))
    if not runs:
        folders = " ".join(map(str, options.folders))
        raise UserError(f"{folders}: no finished run in or below; a finished run has metrics.json")


def _settings(text: str) -> dict[str, str]:
    """Parses "head=average,solver=svm" to the texts of a summary; `head.name` is `head`."""
    schema, settings = OmegaConf.structured(Config), {}
    texts = map(with_home, SEPARATOR.split(text.strip()))
    for override in overrides.parse(texts):
        key, value = override.key_or_group.removesuffix(".name"), overrides.single_value(override)
        if key in dotted(schema):  # then the value gets the key's type: 1 is 1.0 for a float
            OmegaConf.update(schema, key, value)
            value = dotted(schema)[key]
        settings[key] = located(key, value) if key in PATH_KEYS else as_text(value)
    return settings


if __name__ == "__main__":
    run_command(main)
