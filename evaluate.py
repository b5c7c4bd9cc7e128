"""Evaluate the saved model of a finished run, on its own test split or on other data.

examples:
  python evaluate.py RUN
      the test split of the run
  python evaluate.py RUN data.average_mirror=true
      the same, with predictions averaged over each image and its mirror image
  python evaluate.py RUN data.name=image_folder data.path=FOLDER --split all
      all images of FOLDER, which has one sub-folder per class
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
    splits = ["train", "val", "test", "all"]
    parser.add_argument("--split", choices=splits, default="test", help="default: test")
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    options = parser.parse_intermixed_args(arguments)

    import_tensorflow()
    from commands.evaluate import evaluate_run
    from reporting.tables import metrics_table

    metrics = evaluate_run(options.run, options.overrides, options.split)
    print(json.dumps(metrics) if options.json else metrics_table({options.split: metrics}))


if __name__ == "__main__":
    run_command(main)
