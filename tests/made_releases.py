"""Small copies of the layouts in which data sets are released."""

from pathlib import Path

GROCERY_STORE_CLASSES = """\
Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic (str)
Royal-Gala,0,Apple,0,/iconic/Royal-Gala.jpg
Anjou,1,Pear,2,/iconic/Anjou.jpg
Pink-Lady,2,Apple,0,/iconic/Pink-Lady.jpg
"""
GROCERY_STORE_FOLDERS = {  # label, coarse label
    "Fruit/Apple/Royal-Gala": (0, 0),
    "Fruit/Pear/Anjou": (1, 2),
    "Fruit/Apple/Pink-Lady": (2, 0),
}


def make_grocery_store(root: Path, draw_images) -> Path:
    """Three classes in two coarse classes: 9 images to train, 2 to validate, 6 to test.

    The first class has no validation images.
    """
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        lines = []
        for folder, (label, coarse) in GROCERY_STORE_FOLDERS.items():
            if split == "val" and label == 0:
                continue
            draw_images(root / split / folder, count)
            paths = [f"{split}/{folder}/{number}.png" for number in range(count)]
            lines += [f"{path}, {label}, {coarse}\n" for path in paths]
        (root / f"{split}.txt").write_text("".join(lines))
    (root / "classes.csv").write_text(GROCERY_STORE_CLASSES)
    return root
