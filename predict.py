"""Predict the classes of new images with the model of a finished run.

examples:
  python predict.py RUN IMAGE...
      the five most probable classes of each image
  python predict.py RUN FOLDER
      the same for every image below FOLDER
  python predict.py RUN FOLDER --csv > predictions.csv
      the same as a table
"""

import csv
import sys

import commands.python_version  # noqa: F401
from commands.running import argument_parser, import_tensorflow, run_command
from conf.paths import expanded
from errors import UserError

HEADER = ["picture", "rank", "class", "probability"]


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=expanded, metavar="RUN", help="folder of a finished run")
    parser.add_argument("images", nargs="+", type=expanded, metavar="IMAGE", help="file or folder")
    parser.add_argument("--top", type=int, default=5, help="classes per image (default: 5)")
    parser.add_argument("--csv", action="store_true", help=f"columns: {','.join(HEADER)}")
    options = parser.parse_args(arguments)
    if options.top < 1:
        raise UserError(f"--top {options.top}: must be at least 1")

    import_tensorflow()
    from commands.predict import predict_images
    from data.names import printable

    writer = csv.writer(sys.stdout)
    if options.csv:
        writer.writerow(HEADER)
    unreadable = 0
    for image, best, error in predict_images(options.run, options.images, options.top):
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
    if unreadable:
        sys.exit(f"images that could not be read: {unreadable}")


if __name__ == "__main__":
    run_command(main)
