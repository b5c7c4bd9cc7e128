"""The HTML page of an inspection: one file without references, to be opened from disk.

Its size has limits, which the page states: `SHEET` images in the contact sheets, `PAIRS` pairs of
each kind, `NAMES` damaged images. With all of them it has about 15 MB. Each class is named, with
its counts, in about 400 bytes.
"""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image

import files
from conf.schema import DataConfig, Region
from data.decoding import decoded
from data.inspection import Inspection, Pair
from data.names import printable
from data.progress import map_images
from errors import UserError
from reporting.data_summary import (
    class_counts,
    class_name,
    damaged_lines,
    image_name,
    pairs_by_kind,
    pairs_title,
    size_lines,
    split_lines,
)
from reporting.rendering import new_figure, render

START = "<!DOCTYPE html>\n<!-- page of inspect_data.py -->\n"
ADVICE = "run the command again, or give another --output"
SHEET = 2000  # images in all contact sheets
EACH = 4  # images of each class and split, at most
PAIRS = 60  # of each kind
NAMES = 200  # damaged images
SIDE, PAIR_SIDE = 96, 160  # pixels of the longer side of an image
QUALITY = 75  # of JPEG
BINS = 30  # of a histogram

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: .2em; }
h2 { font-size: 1.2em; margin: 2em 0 .5em; border-bottom: 1px solid #ddd; padding-bottom: .2em; }
h3 { font-size: 1em; margin: 1.2em 0 .3em; }
.note { color: #666; font-weight: 400; }
.warning { background: #fff3d6; border-left: 4px solid #e0a000; padding: .5em .8em; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: 600; padding: .15em 1.2em .15em 0; vertical-align: top; }
td { padding: .15em 0; }
.name { unicode-bidi: isolate; overflow-wrap: anywhere; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(370px, 1fr)); gap: 14px; }
.pair { border: 1px solid #ddd; border-radius: 6px; padding: 8px; }
.pair.differing { border-color: #c00000; }
.pair > div { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; font-size: 12px; }
.pair img { display: block; max-width: 100%; height: 150px; object-fit: contain;
            object-position: left; }
.pair p { margin: .4em 0 0; font-size: 12px; color: #666; }
.label { color: #c00000; }
.sheet { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: .2em 0 1em; }
.split { display: flex; gap: 4px; align-items: center; }
.split b { font-weight: 400; font-size: 12px; color: #666; writing-mode: vertical-rl;
           transform: rotate(180deg); }
.split img { height: 72px; width: 72px; object-fit: cover; border-radius: 3px; }
.bar { display: inline-block; height: .7em; }
.train { background: #4477aa; } .val { background: #ccbb44; } .test { background: #ee6677; }
""".strip()


def check_page(path: Path) -> None:
    """Refuses a file that cannot be written, or that exists and is no page of an inspection.

    Raises:
        UserError: it names the file.
    """
    with files.explain_write_errors(path, ADVICE):
        if path.is_dir():
            raise UserError(f"{printable(path)}: is a folder; give the name of a file")
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(START)) != START.encode():
                    raise UserError(
                        f"{printable(path)}: exists and is no page of inspect_data.py; give "
                        "another file, or remove it"
                    )
    files.require_writable(path, ADVICE)


def write_page(path: Path, inspection: Inspection, config: DataConfig, warning: str = "") -> None:
    """Writes the page whole or not at all.

    Args:
        path: the file; see `check_page`.
        inspection: of a data set.
        config: of the data set.
        warning: why `train.py` would refuse the data. Default: empty.

    Raises:
        UserError: see `files.write_text`.
    """
    text = page(inspection, config, warning)
    files.write_text(path, text, ADVICE)


def page(inspection: Inspection, config: DataConfig, warning: str = "") -> str:
    """Returns the page as HTML; see `write_page`."""
    pairs = pairs_by_kind(inspection)
    sheets = _sheet_indices(inspection)
    small = {index for classes in sheets for indices in classes.values() for index in indices}
    large = {
        index
        for kind in pairs.values()
        for pair in kind[:PAIRS]
        for index in (pair.first, pair.second)
    }
    large_images = _data_uris(inspection, config, sorted(large), PAIR_SIDE)
    small_images = _data_uris(inspection, config, sorted(small), SIDE)
    return START + "\n".join(
        [
            '<html lang="en"><head><meta charset="utf-8">',
            # Nothing is loaded, whatever a name contains.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            f"<title>{_escaped(inspection.dataset.name)}</title><style>{STYLE}</style></head><body>",
            *_overview(inspection, config, warning),
            *_damaged(inspection),
            *(
                line
                for kind in pairs
                for line in _pairs(inspection, kind, pairs[kind], large_images)
            ),
            *_histograms(inspection),
            *_classes(inspection, sheets, small_images),
            "</body></html>\n",
        ]
    )


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _named(text: str) -> str:
    return f'<span class="name">{_escaped(text)}</span>'


def _overview(inspection: Inspection, config: DataConfig, warning: str) -> list[str]:
    dataset = inspection.dataset
    lines = [f"<h1>{_escaped(dataset.name)}</h1>"]
    if config.path is not None:
        lines.append(f'<p class="note">{_named(config.path)}</p>')
    if warning:
        lines.append(f'<p class="warning">train.py refuses these data: {_escaped(warning)}</p>')
    entries = {"classes": f"{len(dataset.class_names):,}"}
    entries |= {level: f"{len(set(names)):,} groups" for level, names in dataset.levels.items()}
    entries |= split_lines(inspection) | size_lines(inspection)
    cells = [
        f"<tr><th>{_escaped(name)}</th><td>{_named(text)}</td></tr>"
        for name, text in entries.items()
    ]
    return [*lines, "<table>", *cells, "</table>"]


def _damaged(inspection: Inspection) -> list[str]:
    lines = [f"<h2>Damaged images: {len(inspection.damaged):,}</h2>"]
    if inspection.damaged:
        shown = damaged_lines(inspection)[:NAMES]
        lines += [_limit(len(shown), len(inspection.damaged), "damaged images"), "<ul>"]
        lines += [f"<li>{_named(line)}</li>" for line in shown]
        lines.append("</ul>")
    return lines


def _pairs(
    inspection: Inspection, kind: str, pairs: list[Pair], images: dict[int, str]
) -> list[str]:
    title = pairs_title(kind, pairs)
    lines = [f"<h2>{title[:1].upper()}{title[1:]}</h2>"]
    if not pairs:
        return lines
    shown = pairs[:PAIRS]
    lines += [_limit(len(shown), len(pairs), "pairs"), '<div class="pairs">']
    for pair in shown:
        differing = "" if pair.same_label else " differing"
        lines.append(f'<div class="pair{differing}"><div>')
        for index, split in zip((pair.first, pair.second), pair.splits, strict=True):
            label = "" if pair.same_label else ' class="label"'
            lines.append(
                f"<span>{_image(images[index], image_name(inspection, index))}<b>{_escaped(split)}"
                f"</b> <span{label}>{_named(class_name(inspection, index))}</span><br>"
                f"{_named(image_name(inspection, index))}</span>"
            )
        exact = "the same file" if pair.correlation is None else ""
        similarity = exact or f"correlation of details {pair.correlation:.2f}"
        lines.append(f"</div><p>{similarity}</p></div>")
    return [*lines, "</div>"]


def _histograms(inspection: Inspection) -> list[str]:
    counts = np.sum(list(class_counts(inspection).values()), axis=0)
    drawn = {"images a class": counts}
    if len(inspection.sizes):
        width, height = inspection.sizes.T
        drawn |= {"shorter side in pixels": np.minimum(width, height)}
        drawn |= {"width / height": width / height}
    figure = new_figure(1080, 240)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    places = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (name, values) in zip(places, drawn.items(), strict=True):
        axes.hist(values, bins=BINS, color="#4477aa")
        for axis in (axes.xaxis, axes.yaxis):
            whole = axis is axes.yaxis or np.issubdtype(values.dtype, np.integer)
            axis.set_major_locator(MaxNLocator("auto", integer=whole))
        axes.set_xlabel(name)
        axes.set_ylabel("classes" if values is counts else "images")
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    Image.fromarray(render(figure)).save(file, "PNG", optimize=True)
    alt = f"histograms of {', '.join(drawn)}"
    return ["<h2>Distributions</h2>", _image(_data_uri(file.getvalue(), "png"), alt)]


def _classes(
    inspection: Inspection, sheets: list[dict[str, list[int]]], images: dict[int, str]
) -> list[str]:
    dataset, counts = inspection.dataset, class_counts(inspection)
    most = max(1, int(np.max(np.sum(list(counts.values()), axis=0))))
    lines = ["<h2>Classes</h2>"]
    if len(sheets) < len(dataset.class_names):
        shown = f"{len(sheets):,} of {len(dataset.class_names):,} classes"
        lines.append(f'<p class="note">Counts of all classes, images of the first {shown}.</p>')
    for label, name in enumerate(dataset.class_names):
        numbers = {split: int(of_class[label]) for split, of_class in counts.items()}
        bars = "".join(
            f'<span class="bar {split}" style="width: {180 * number / most:.0f}px"></span>'
            for split, number in numbers.items()
        )
        text = ", ".join(f"{number:,} {split}" for split, number in numbers.items())
        lines.append(f'<h3>{_named(name)} {bars} <span class="note">{text}</span></h3>')
        if label < len(sheets):
            lines += _sheet(inspection, sheets[label], images)
    return lines


def _sheet(
    inspection: Inspection, by_split: dict[str, list[int]], images: dict[int, str]
) -> list[str]:
    lines = ['<div class="sheet">']
    for split, indices in by_split.items():
        if indices:
            shown = [_image(images[i], image_name(inspection, i)) for i in indices]
            lines.append(f'<div class="split"><b>{split}</b>{"".join(shown)}</div>')
    return [*lines, "</div>"]


def _sheet_indices(inspection: Inspection) -> list[dict[str, list[int]]]:
    """The images of the contact sheets: some of each split for each of the first classes."""
    dataset = inspection.dataset
    classes = len(dataset.class_names)
    readable = np.isin(np.arange(len(dataset.images)), inspection.indices)
    members: dict[str, list[np.ndarray]] = {}  # of each split, for each class
    for split, indices in dataset.splits.items():
        shown = indices[readable[indices]]
        shown = shown[np.argsort(dataset.labels[shown], kind="stable")]
        ends = np.searchsorted(dataset.labels[shown], np.arange(1, classes))
        members[split] = np.split(shown, ends)
    cells = np.array(
        [[len(of_class) > 0 for of_class in of_split] for of_split in members.values()]
    )
    each = min(EACH, max(1, SHEET // max(1, int(cells.sum()))))
    first = np.count_nonzero(np.cumsum(cells.sum(0)) * each <= SHEET)
    sheets: list[dict[str, list[int]]] = []
    for label in range(first):
        sheet = {}
        for split, of_split in members.items():
            of_class = of_split[label]
            # Evenly spaced, as neighbours in a folder are often of one scene.
            places = np.linspace(0, len(of_class) - 1, min(each, len(of_class))).round()
            sheet[split] = of_class[places.astype(int)].tolist()
        sheets.append(sheet)
    return sheets


def _data_uris(
    inspection: Inspection, config: DataConfig, indices: Iterable[int], side: int
) -> dict[int, str]:
    """Small JPEGs of images, or of their boxes with `config.crop=box`."""
    images = inspection.dataset.images

    def small(index: int) -> str:
        box = images.box(index) if config.crop is Region.box else None
        with decoded(images.encoded(index), images.name(index), config, box) as image:
            image = image.copy()
            image.thumbnail((side, side), Image.Resampling.BILINEAR)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        return _data_uri(file.getvalue(), "jpeg")

    indices = list(indices)
    return dict(zip(indices, map_images(small, indices, "drawing images", delay=2), strict=True))


def _data_uri(encoded: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _image(uri: str, name: str) -> str:
    name = _escaped(name)
    return f'<img src="{uri}" alt="{name}" title="{name}">'


def _limit(shown: int, total: int, noun: str) -> str:
    """Says that not everything is shown; empty if it is."""
    return f'<p class="note">The first {shown:,} of {total:,} {noun}.</p>' if shown < total else ""
