"""Evaluate the saved model of a finished run, on its own test split or on other data.

The run's own splits decide which images are evaluated, wherever the images lie now. Images that the
run has trained on are recognised by name and content, and test metrics never include them. Without
--split, the run's test split is evaluated if the data have images of it, and otherwise all images
that the run has not trained on.

examples:
  python evaluate.py RUN
      the test split of the run
  python evaluate.py RUN data.average_mirror=true
      the same, with predictions averaged over each image and its mirror image
  python evaluate.py RUN data.name=image_folder data.path=FOLDER
      all images of FOLDER, which has one sub-folder per class, and which may lack classes
  python evaluate.py RUN data.name=image_list data.path=FILE.csv
      the images of a list
  python evaluate.py RUN --split new
      images that were added to the run's folder after the run
"""

import json

import commands.python_version  # noqa: F401
from commands.running import argument_parser, import_tensorflow, run_command
from conf.paths import expanded


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=expanded, metavar="RUN", help="folder of a finished run")
    changes = "changes to the configuration of the run (only data.* and trainer.batch_size)"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=changes)
    splits = ["train", "val", "test", "all", "new"]
    meaning = "default: test in the run's data, otherwise all; new: what the run did not have"
    parser.add_argument("--split", choices=splits, help=meaning)
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    options = parser.parse_intermixed_args(arguments)

    import_tensorflow()
    from commands.command_line import with_home
    from commands.evaluate import evaluate_run
    from reporting.tables import metrics_table

    settings = [with_home(setting) for setting in options.overrides]
    split, metrics = evaluate_run(options.run, settings, options.split)
    print(json.dumps(metrics) if options.json else metrics_table({split: metrics}))


if __name__ == "__main__":
    run_command(main)
