"""The reliability diagram: accuracy against confidence."""

import numpy as np

from evaluation.calibration import Reliability
from reporting.rendering import new_figure, render

WIDTH, HEIGHT = 440, 480  # pixels of a diagram
BAR, MARK = "#4c78a8", "#c44e52"


def draw_reliability(diagrams: dict[str, Reliability]) -> np.ndarray:
    """Draws diagrams side by side; those of calibrated probabilities follow the diagonal.

    Args:
        diagrams: by name. Bins without images are left out.
    """
    figure = new_figure(WIDTH * len(diagrams), HEIGHT)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(
        2, len(diagrams), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1)
    )
    for (upper, lower), (name, diagram) in zip(axes.T, diagrams.items(), strict=True):
        bins = len(diagram.images)
        centers, drawn = (np.arange(bins) + 0.5) / bins, diagram.images > 0
        upper.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        accuracy, confidence = diagram.accuracy[drawn], diagram.confidence[drawn]
        upper.bar(centers[drawn], accuracy, 0.9 / bins, color=BAR, label="accuracy")
        upper.scatter(centers[drawn], confidence, 90, MARK, "_", linewidth=2, label="confidence")
        title = f"{name}: calibration error {diagram.error:.3f}"
        upper.set(xlim=(0, 1), ylim=(0, 1.02), title=title)
        lower.bar(centers, diagram.images, 0.9 / bins, color=BAR)
        lower.set(xlabel="confidence: probability of the predicted class")
    upper, lower = axes[:, 0]
    upper.set(ylabel="share of right predictions")
    upper.legend(loc="upper left")
    lower.set(ylabel="images")
    return render(figure)
