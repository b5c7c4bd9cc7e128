"""Predict the classes of new images with the model of a finished run.

examples:
  python predict.py RUN IMAGE...
      the five most probable classes of each image
  python predict.py RUN FOLDER
      the same for every image below FOLDER
  python predict.py RUN FOLDER --csv > predictions.csv
      the same as a table
  python predict.py RUN IMAGE... --explain
      the same, and for each image a plot in RUN/explanations: the regions that decide the
      prediction, and the nearest training images; with the mistakes in the run's test split
  python predict.py RUN IMAGE... data.path=FOLDER --explain OUTPUT
      the same, with the plots in OUTPUT, where the run's data have moved to FOLDER
"""

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import commands.python_version  # noqa: F401
from commands.running import argument_parser, import_tensorflow, run_command
from conf.paths import expanded
from data.names import printable
from errors import UserError

if TYPE_CHECKING:
    from commands.explain import Explanation

Printed = tuple[Path, list[tuple[str, float]], str | None, list[str]]

HEADER = ["picture", "rank", "class", "probability"]
SETTING = re.compile(r"data\.\w+=")


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=expanded, metavar="RUN", help="folder of a finished run")
    meaning = "file or folder; with --explain also data.KEY=VALUE, a change to the run's data"
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=meaning)
    parser.add_argument("--top", type=int, default=5, help="classes per image (default: 5)")
    parser.add_argument("--csv", action="store_true", help=f"columns: {','.join(HEADER)}")
    meaning = (
        "also write a plot of each image into FOLDER (default: RUN/explanations); give it after "
        "the images"
    )
    parser.add_argument("--explain", nargs="?", const="", metavar="FOLDER", help=meaning)
    options = parser.parse_intermixed_args(arguments)
    if options.top < 1:
        raise UserError(f"--top {options.top}: must be at least 1")
    settings = [text for text in options.images if SETTING.match(text)]
    images = [expanded(text) for text in options.images if not SETTING.match(text)]
    if settings and options.explain is None:
        raise UserError(f"{settings[0]}: only --explain reads the run's data")
    if not images:
        if options.explain:
            raise UserError(
                f"no images: --explain {printable(expanded(options.explain))} names the folder of "
                "the plots; --explain goes last, after the images"
            )
        raise UserError("no images; give files or folders after RUN")

    import_tensorflow()
    from commands.predict import predict_images

    predictions: Iterator[Printed] = (
        (*prediction, []) for prediction in predict_images(options.run, images, options.top)
    )
    if options.explain is not None:
        output = expanded(options.explain) if options.explain else options.run / "explanations"
        predictions = _explained(options.run, images, options.top, output, settings)
    writer = csv.writer(sys.stdout)
    if options.csv:
        writer.writerow(HEADER)
    unreadable = 0
    for image, best, error, lines in predictions:
        if error is not None:
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
        elif options.csv:
            for rank, (name, probability) in enumerate(best, 1):
                writer.writerow([printable(image), rank, name, f"{probability:.6f}"])
        else:
            print(printable(image))
            for name, probability in best:
                print(f"  {probability:7.2%}  {name}")
            for line in lines:
                print(f"  {line}")
    if unreadable:
        sys.exit(f"images that could not be read: {unreadable}")


def _explained(
    run: Path, images: list[Path], top: int, output: Path, settings: list[str]
) -> Iterator[Printed]:
    """Yields each image with its classes, the reason if it cannot be read, and lines about it."""
    from commands.command_line import with_home
    from commands.explain import TABLE, explain_images

    for image, explanation, error in explain_images(
        run, images, output, [*map(with_home, settings)]
    ):
        if explanation is None:
            yield image, [], error, []
        else:
            yield image, explanation.best[:top], error, _lines(explanation)
    print(f"written: {printable(output / TABLE)}", file=sys.stderr)


def _lines(explanation: "Explanation") -> list[str]:
    nearest = [
        f"{neighbour.label} {neighbour.similarity:.3f} ({neighbour.name})"
        for neighbour in explanation.nearest
    ]
    return [
        *([f"nearest training images: {', '.join(nearest)}"] if nearest else []),
        *([explanation.confusion.sentence()] if explanation.confusion else []),
        f"explanation: {explanation.file}",
    ]


if __name__ == "__main__":
    run_command(main)
