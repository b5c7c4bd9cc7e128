"""Measures a finished run again, on its own test split or on other data.

python evaluate.py RUN                                      its own test split
python evaluate.py RUN data.average_mirror=true             averaged with the mirror image
python evaluate.py RUN data.name=image_folder data.path=FOLDER --split all     other pictures
"""

import argparse
import json
from pathlib import Path

from commands.running import import_tensorflow, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--split", choices=["train", "val", "test", "all"], default="test", help="default: test"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the run's config")
    options = parser.parse_intermixed_args(arguments)

    import_tensorflow()
    from commands import evaluate
    from reporting import tables

    metrics = evaluate.evaluate_run(options.run, options.overrides, options.split)
    if options.json:
        print(json.dumps(metrics))
    else:
        print(tables.metrics_table({options.split: metrics}))


if __name__ == "__main__":
    run_command(main)
