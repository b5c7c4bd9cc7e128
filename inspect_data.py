"""Looks at the data before training: classes, splits, sizes, damaged images and duplicates.

examples:
  python inspect_data.py data=image_folder data.path=FOLDER
      the summary as text, and inspection.html with images, to be opened in a browser
  python inspect_data.py data=image_list data.path=FILE.csv seed=1 --output list.html
      the splits of seed 1; another name for the page
  python inspect_data.py experiment=flowers17_mobilenet_v2 data.path=FOLDER
      the data of a recipe

The settings key=value are those of train.py, and the splits are those of a run with the same data
and seed. Near-duplicates are mirrored, recompressed, scaled or slightly cropped copies.
"""

from pathlib import Path

import commands.python_version  # noqa: F401  before Hydra, which some versions cannot import

# isort: split

from hydra import compose, initialize_config_dir

from commands.command_line import settings
from commands.running import argument_parser, run_command
from conf.paths import expanded
from conf.validation import checked, unused_options
from errors import UserError

CONF = Path(__file__).parent / "conf"


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    meaning = "the data and their splits, as for train.py (default: the drawn birds)"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=meaning)
    written = "the page (default: inspection.html)"
    parser.add_argument("--output", type=expanded, default="inspection.html", help=written)
    options = parser.parse_intermixed_args(arguments)

    overrides = settings(options.overrides)
    with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        config = checked(compose("config", overrides))
    if unused := unused_options(config, overrides):
        raise UserError("; ".join(unused))

    from commands.inspect_data import inspect_data

    inspect_data(config, options.output, print)
    print(f"\nwritten: {options.output}")


if __name__ == "__main__":
    run_command(main)
