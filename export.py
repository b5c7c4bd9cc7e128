"""Export the model of a finished run: RGB images in 0...255 in, probabilities or embeddings out.

The written copy is compared with the run's model on test images of the run. It is not kept if the
outputs differ.

examples:
  python export.py RUN --format onnx
      ONNX, to RUN/model.onnx; needs pip install -r requirements-export.txt
  python export.py RUN --format tflite --output FILE
      TensorFlow Lite
  python export.py RUN --format savedmodel
      a folder for TensorFlow Serving
  python export.py RUN --format keras --output FILE.keras
      a Keras file

ONNX and TensorFlow Lite have no eigendecomposition, so matrix functions become matrix products, in
float64 for ONNX and in float32 for TensorFlow Lite. The logarithm and other powers than 1/4 and 1/2
need the format keras or savedmodel, and so does Tensor Sketch, which needs Fourier transforms.
"""

import commands.python_version  # noqa: F401
from commands.running import argument_parser, import_tensorflow, run_command
from conf.paths import expanded


def main(arguments: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=expanded, metavar="RUN", help="folder of a finished run")
    formats = ["keras", "savedmodel", "onnx", "tflite"]
    parser.add_argument("--format", choices=formats, required=True)
    parser.add_argument(
        "--output", type=expanded, help="file or folder (default: in the run's folder)"
    )
    options = parser.parse_args(arguments)

    import_tensorflow()
    from commands.export import export_run

    print(export_run(options.run, options.format, options.output))


if __name__ == "__main__":
    run_command(main)
