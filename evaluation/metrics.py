"""Classification metrics."""

import numpy as np

SMALLEST = 1e-12  # probabilities are clipped here before the logarithm


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, top-5 accuracy (of all classes where there are fewer) and mean cross-entropy.

    Args:
        probabilities: of shape (n, classes).
        labels: true classes, of shape (n,).
    """
    probabilities = probabilities.astype(np.float64)
    true = probabilities[np.arange(len(labels)), labels]
    # Ties and NaN count against the true class: a constant model knows nothing.
    rank = (~(probabilities < true[:, None])).sum(axis=1) - 1
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "top5_accuracy": float(np.mean(rank < 5)),
        "loss": float(-np.log(np.maximum(true, SMALLEST)).mean()),
        "pictures": len(labels),
    }
