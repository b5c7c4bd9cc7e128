"""Times the pooling of `mpn_cov` against another checkout of the project, in turn.

    git clone . OTHER && git -C OTHER checkout 001ed30
    python benchmarks/versions.py OTHER
    python benchmarks/versions.py OTHER --onnx          # needs requirements-export.txt

Each checkout runs in a process of its own, and the processes take turns. Times are medians in ms
per image of the exact root of one triangle, signed square root and L2 norm, forward and backward.
With `--onnx`, they are those of the pooling alone, exported by each checkout and run by ONNX
Runtime, and "difference" is the largest one from the layer's values.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parents[1]
PAUSE = 0.3  # seconds, in which the idle threads of the other process go to sleep
COMMON = """
import os
import sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, ".")
import keras
import numpy as np
import timeit
from pathlib import Path
from layers import SecondOrderPooling, SignedSquareRoot
positions, channels, batch = map(int, sys.argv[1:4])
x = np.random.default_rng(0).normal(size=(batch, positions, channels)).clip(0).astype("float32")
def answer(call):
    call()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(timeit.timeit(call, number=1), flush=True)
"""
TRAINING = """
import tensorflow as tf
pooling = SecondOrderPooling(root="exact", triangular=True, off_diagonal=2.0)
normalize = SignedSquareRoot(normalize=True)
def both(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = normalize(pooling(x))
    return tape.gradient(z, x, z[:, ::-1])
step = tf.function(both, autograph=False)
images = tf.constant(x)
answer(lambda: step(images))
"""
EXPORTED = """
import onnxruntime
from models.portable import portable
pooling = SecondOrderPooling(root="exact", centered=True, triangular=True)
maps = keras.Input((positions, channels))
model = keras.Model(maps, pooling(maps))
try:
    copy = portable(model, "float64")
except TypeError:  # before portable models had a choice
    copy = portable(model)
copy(x)
copy.export(sys.argv[4], format="onnx", verbose=False)
session = onnxruntime.InferenceSession(sys.argv[4], providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
predict = lambda x: session.run(None, {name: x})[0]
values, expected = predict(x), model.predict(x, verbose=0)
print("difference", np.abs(values - expected).max(), flush=True)
answer(lambda: predict(x))
"""


def start(folder, program, arguments):
    command = [sys.executable, "-W", "ignore", "-c", COMMON + program, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def last_word(process, start=""):
    """The last word of the next line that begins with `start`; the converter prints others."""
    for line in process.stdout:
        if line.startswith(start):
            return line.split()[-1]
    raise SystemExit("error: the process of a checkout ended, see above")


def compare(checkouts, positions, options):
    program = EXPORTED if options.onnx else TRAINING
    with tempfile.TemporaryDirectory() as scratch:
        differences, processes = [], []
        for number, folder in enumerate(checkouts):
            path = Path(scratch) / f"{number}.onnx"
            arguments = [positions, options.channels, options.batch, path]
            processes.append(start(folder, program, arguments))
            if options.onnx:
                differences.append(float(last_word(processes[-1], "difference")))
            last_word(processes[-1], "ready")
        times = np.empty((options.rounds, len(processes)))
        for turn in times:
            for number, process in enumerate(processes):
                time.sleep(PAUSE)
                process.stdin.write("\n")
                process.stdin.flush()
                turn[number] = float(last_word(process))
        for process in processes:
            process.communicate()
    this, other = np.median(times, axis=0) / options.batch * 1e3
    print(
        f"N {positions}, C {options.channels}: {this:.2f} ms here, {other:.2f} ms there, "
        f"{other / this:.2f} times as fast"
        + (f"; difference {differences[0]:.1e}" if options.onnx else ""),
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--onnx", action="store_true", help="time the exported pooling")
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196])
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    for positions in options.positions:
        compare([HERE, options.other], positions, options)


if __name__ == "__main__":
    main()
