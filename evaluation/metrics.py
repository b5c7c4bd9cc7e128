"""Classification metrics."""

import numpy as np

MIN_PROBABILITY = 1e-12  # smaller probabilities are clipped before the logarithm


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns accuracy, top-5 accuracy, mean cross-entropy and the number of images.

    With fewer than six classes, top-5 accuracy is 1.

    Args:
        probabilities: Probabilities of the classes, (n, classes).
        labels: True labels, (n,).
    """
    probabilities = probabilities.astype(np.float64)
    true = probabilities[np.arange(len(labels)), labels]
    # Ties and NaN count against the true class, so a constant model scores nothing.
    rank = (~(probabilities < true[:, None])).sum(axis=1) - 1
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "top5_accuracy": float(np.mean(rank < 5)),
        "loss": float(-np.log(np.maximum(true, MIN_PROBABILITY)).mean()),
        "pictures": len(labels),
    }
