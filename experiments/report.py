"""Tables for the terminal."""

from pathlib import Path


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def figures_table(named: dict[str, dict | None]) -> str:
    """Accuracy, top-5 accuracy and loss of each split or stage; `None` where there are none."""
    header = ["", "accuracy", "top-5", "loss", "pictures"]
    return table(header, [[name, *_cells(figures)] for name, figures in named.items()])


def final_table(results: dict, folder: Path) -> str:
    """What a run found, where it lies, and how to look at it."""
    stages = results["stages"]
    named = {f"val, stage {name}": record["val"] for name, record in stages.items()}
    last = list(stages.values())[-1]
    return "\n".join(
        [
            "",
            figures_table(named | {"test": results["test"]}),
            "",
            f"epoch      {last['chosen_epoch']}, chosen by {last['chosen_by']}",
            f"folder     {folder}",
            f"curves     tensorboard --logdir {folder}",
        ]
    )


def _cells(figures: dict | None) -> list[str]:
    if figures is None:
        return ["-"] * 4
    numbers = [f"{figures[name]:.4f}" for name in ("accuracy", "top5_accuracy", "loss")]
    return [*numbers, str(figures["pictures"])]
