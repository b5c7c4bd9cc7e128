"""Evaluate the saved model of a finished run, on its own test split or on other data.

The run's own splits decide which images are evaluated, wherever the images lie now. Images that the
run has trained on are recognised by name and content, and test metrics never include them. Without
--split, the run's test split is evaluated if the data have images of it, and otherwise all images
that the run has not trained on. docs/running.md defines the metrics and their 95% intervals.

examples:
  python evaluate.py RUN
      the test split of the run
  python evaluate.py RUN --per-class FILE.csv
      the same, and a table with accuracy, precision and F1 of each class
  python evaluate.py --compare RUN_A RUN_B
      the accuracies of two classifiers on the same test images, and whether they differ
  python evaluate.py RUN data.average_mirror=true
      predictions averaged over each image and its mirror image
  python evaluate.py RUN data.name=image_folder data.path=FOLDER
      all images of FOLDER, which has one sub-folder per class, and which may lack classes
  python evaluate.py RUN data.name=image_list data.path=FILE.csv
      the images of a list
  python evaluate.py RUN --split new
      images that were added to the run's folder after the run
"""

import argparse
import dataclasses
import json

import commands.python_version  # noqa: F401
from commands.running import argument_parser, import_tensorflow, run_command
from conf.paths import expanded
from errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "run", nargs="?", type=expanded, metavar="RUN", help="folder of a finished run"
    )
    changes = (
        "changes to the configuration of the run (only data.*, report.top_k and trainer.batch_size)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=changes)
    splits = ["train", "val", "test", "all", "new"]
    meaning = "default: test in the run's data, otherwise all; new: what the run did not have"
    parser.add_argument("--split", choices=splits, help=meaning)
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    table = "write the metrics of each class as CSV"
    parser.add_argument("--per-class", type=expanded, metavar="FILE", help=table)
    paired = "compare the test predictions of two runs; no model is loaded"
    parser.add_argument(
        "--compare", nargs=2, type=expanded, metavar=("RUN_A", "RUN_B"), help=paired
    )
    options = parser.parse_intermixed_args(arguments)
    if options.compare:
        _compare(options)
        return
    if options.run is None:
        parser.error("the following arguments are required: RUN")

    import_tensorflow()
    from commands.command_line import with_home
    from commands.evaluate import evaluate_run
    from reporting.tables import evaluation_table, metrics_table

    settings = [with_home(setting) for setting in options.overrides]
    evaluation = evaluate_run(options.run, settings, options.split, options.per_class)
    split, metrics, intervals = evaluation
    if options.json:
        print(json.dumps(metrics | ({"intervals": intervals} if intervals else {})))
    else:
        print(evaluation_table(*evaluation) if intervals else metrics_table({split: metrics}))


def _compare(options: argparse.Namespace) -> None:
    if options.run or options.split or options.per_class:
        raise UserError(
            "--compare RUN_A RUN_B: compares what two runs predicted for their test images; it "
            "takes no third RUN, no key=value, no --split and no --per-class"
        )
    from commands.compare import compare_runs
    from reporting.tables import comparison_table

    comparison = compare_runs(*options.compare)
    if options.json:
        print(json.dumps(dataclasses.asdict(comparison)))
    else:
        print(comparison_table(options.compare, comparison))


if __name__ == "__main__":
    run_command(main)
