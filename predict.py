"""Names what is on new pictures, with a finished run's model.

python predict.py RUN PICTURE...     the five most probable classes of each
python predict.py RUN FOLDER         every picture below a folder
python predict.py RUN FOLDER --csv > predictions.csv
"""

import argparse
import csv
import sys
from pathlib import Path

from commands.running import import_tensorflow, run_command
from errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("--csv", action="store_true", help="picture,rank,class,probability")
    parser.add_argument("--top", type=int, default=5, help="classes a picture (default: 5)")
    options = parser.parse_args(arguments)
    if options.top < 1:
        raise UserError(f"--top {options.top}: must be at least 1")

    import_tensorflow()
    from commands.predict import predict_images

    write = csv.writer(sys.stdout).writerow if options.csv else None
    if write:
        write(["picture", "rank", "class", "probability"])
    damaged = 0
    for image, best, error in predict_images(options.run, options.images, options.top):
        if error is not None:
            print(f"error: {error}", file=sys.stderr)
            damaged += 1
        elif write:
            for rank, (name, probability) in enumerate(best, 1):
                write([image, rank, name, f"{probability:.6f}"])
        else:
            print(image)
            for name, probability in best:
                print(f"  {probability:7.2%}  {name}")
    if damaged:
        sys.exit(f"pictures that could not be read: {damaged}")


if __name__ == "__main__":
    run_command(main)
