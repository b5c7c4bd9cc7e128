"""Oxford Flowers-102 (Nilsback and Zisserman 2008): 8,189 photographs of 102 species."""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList, Place
from data.names import printable
from data.releases.release import Release, require
from data.releases.tables import integers, read_mat
from errors import UserError

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
LABELS, SPLITS = "imagelabels.mat", "setid.mat"
VARIABLES = {"train": "trnid", "val": "valid", "test": "tstid"}
CITATION = """@inproceedings{nilsback2008automated,
  title = {Automated Flower Classification over a Large Number of Classes},
  author = {Nilsback, Maria-Elena and Zisserman, Andrew},
  booktitle = {Indian Conference on Computer Vision, Graphics and Image Processing},
  year = {2008}
}
"""
# The files of the release have numbers only; these are the names of its web page.
NAMES = (
    """\
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold,
tiger lily, moon orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot,
king protea, spear thistle, yellow iris, globe-flower, purple coneflower, peruvian lily,
balloon flower, giant white arum lily, fire lily, pincushion flower, fritillary, red ginger,
grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, sweet william,
carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya,
cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword lily,
poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion,
petunia, wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium,
orange dahlia, pink-yellow dahlia?, cautleya spicata, japanese anemone, black-eyed susan,
silverbush, californian poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy,
gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus, toad lily,
anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia,
cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea,
camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily
""".replace(",\n", ", ")
    .strip()
    .split(", ")
)


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    require(folder, (LABELS, SPLITS), SOURCE)
    labels = integers(folder / LABELS, *read_mat(folder / LABELS, "labels"))
    splits = dict(zip(VARIABLES, read_mat(folder / SPLITS, *VARIABLES.values()), strict=True))
    images = ImageList(folder, not config.skip_damaged)
    listed: set[int] = set()
    for split, members in splits.items():
        for number in integers(folder / SPLITS, members):
            place = Place(folder / SPLITS, number, "image")
            if not 1 <= number <= len(labels):
                raise UserError(f"{place}: it is not among the {len(labels)} of {LABELS}")
            label = labels[number - 1]
            if not 1 <= label <= len(NAMES):
                raise UserError(
                    f"{printable(folder / LABELS)}, image {number}: class {label} is not in "
                    f"1 to {len(NAMES)}"
                )
            images.add(place, f"jpg/image_{number:05d}.jpg", NAMES[label - 1], split)
            listed.add(number)
    if len(listed) < len(labels):
        raise UserError(
            f"{printable(folder / SPLITS)}: it has {len(listed)} of the {len(labels)} images of "
            f"{LABELS}; restore one of the two files"
        )
    names = [NAMES[label - 1] for label in sorted(set(labels))]
    return images.collection(names, train_required, CITATION)


OXFORD_FLOWERS102 = Release(
    "Oxford Flowers-102", (LABELS, SPLITS), ("flowers-102", "102flowers"), SOURCE, _read
)
