"""Writes a finished run's model for other runtimes: RGB in 0...255 in, probabilities out.

    python export.py RUN --format onnx                    RUN/model.onnx
    python export.py RUN --format tflite --output FILE
    python export.py RUN --format savedmodel              a folder, for TensorFlow Serving
    python export.py RUN --format keras --output FILE

Each is compared with the run's own model, on the run's own test pictures, before it is kept. ONNX
needs requirements-export.txt. Neither ONNX nor TensorFlow Lite has an eigendecomposition: an exact
root is iterated there. Tensor Sketch has to stay with keras and savedmodel.
"""

import argparse
from pathlib import Path

from commands.running import import_tensorflow, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--format", required=True, choices=["keras", "savedmodel", "onnx", "tflite"]
    )
    parser.add_argument("--output", type=Path, help="default: in the run's folder")
    options = parser.parse_args(arguments)

    import_tensorflow()
    from commands.export import Format, export_run

    found = export_run(options.run, Format(options.format), options.output)
    print(
        f"{found['path']}: on {found['pictures']} test pictures no output differs by more than "
        f"{found['difference']:.1e} (allowed: {found['tolerance']:.0e}); the same class for "
        f"{found['same']} of them"
    )


if __name__ == "__main__":
    run_command(main)
