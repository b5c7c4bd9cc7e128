"""Draws the birds of the `drawn_birds` data set.

Every bird has the same four colours and the same four patterns: a barred cap (and tail), a spotted
breast, scaled shoulders and streaked wings. The species differ only in the colour of each pattern.
So the amounts of each colour and each pattern hardly depend on the species: statistics of the first
order do not show it, co-occurrences do.

The rule: the colours of cap, breast, shoulder and wing are an even permutation of `COLOURS`. The
colours of cap and breast name the species, any two parts identify it, and two species agree on at
most one part.

`python -m data.bird_drawing FILE` draws a contact sheet of all species with their names.
"""

import argparse
import itertools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

COLOURS = {"red": (206, 48, 44), "gold": (238, 184, 40), "blue": (48, 104, 204),
           "green": (52, 160, 104)}  # fmt: skip
PARTS = ("cap", "breast", "shoulder", "wing")
_INK = (30, 26, 34)

_SUPERSAMPLING = 3
_BODY_COLOURS = ((150, 120, 92), (120, 118, 122), (176, 156, 124), (112, 122, 92), (142, 104, 84))
_SCENES = (  # far colour above, far colour below
    ((176, 206, 226), (214, 222, 196)), ((150, 178, 120), (92, 124, 78)),
    ((226, 206, 178), (170, 150, 130)), ((120, 148, 150), (76, 98, 96)),
    ((206, 196, 214), (150, 160, 146)), ((196, 206, 140), (120, 146, 84)),
)  # fmt: skip
_LEAF_COLOURS = ((84, 128, 62), (122, 152, 66), (66, 108, 76), (170, 142, 66), (150, 96, 60))
_BERRY_COLOURS = (*COLOURS.values(), (246, 242, 232), _INK)
_CLUTTER = (*_BERRY_COLOURS, *_LEAF_COLOURS)


class Species(NamedTuple):
    """One species: its name and the colour of each part."""

    name: str
    dress: dict[str, str]


def _make_species() -> tuple[Species, ...]:
    """The nine species without a green cap: three caps with three breasts each."""
    species = []
    for order in itertools.permutations(range(len(COLOURS))):
        inversions = sum(a > b for a, b in itertools.combinations(order, 2))
        cap, breast, *_ = colours = [tuple(COLOURS)[i] for i in order]
        if inversions % 2 == 0 and cap != "green":
            dress = dict(zip(PARTS, colours, strict=True))
            species.append(Species(f"{cap}_capped_{breast}breast", dress))
    return tuple(species)


SPECIES = _make_species()


def draw(species: int, rng: np.random.Generator, size: int = 96) -> Image.Image:
    """Draws one bird.

    Args:
        species: index into `SPECIES`.
        rng: decides everything except the species; the same state gives the same pixels.
        size: side of the square image in pixels. Default: 96.

    Returns:
        An RGB image of (size, size) pixels.
    """
    pose = _Pose(rng, size)
    scenery = _over(_background(rng, size), _perch(pose, rng))
    bird = _shaded(_bird(SPECIES[species], pose, rng), rng)
    drawing = _over(_with_shadow(scenery, bird), bird)
    drawing = _over(drawing, _foreground(rng, size))
    return _lit(drawing, rng)


# Geometry. Points are arrays of shape (n, 2) in body lengths: x to the bird's front, y down.


class _Pose:
    """A bird's random position in an image of `size` pixels, and its posture; angles in radians."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.size = size
        self.scale = rng.uniform(0.34, 0.50)  # length of the body, as a fraction of the side
        self.centre = np.array((rng.uniform(0.40, 0.60), rng.uniform(0.44, 0.56)))
        self.facing = rng.choice((-1.0, 1.0))  # 1 to the right, -1 to the left
        self.body, self.head = rng.uniform(0.05, 0.75), rng.uniform(-0.3, 0.3)
        self.tail = rng.uniform(-0.35, 0.3)
        # The point below the bird, as fractions of the side.
        self.feet = self.centre + np.array((0.0, 0.45)) * self.scale

    def place(self, points, frame: str = "body") -> np.ndarray:
        """Converts points of a frame (body, head or tail) to pixels of a `_Layer`."""
        points = np.asarray(points, float)
        if frame == "head":
            points = _rotate(points, self.head - self.body * 0.8) + _HEAD
        if frame == "tail":
            points = _rotate(points, self.tail) + _RUMP
        points = _rotate(points, self.body) * self.scale * (self.facing, 1.0) + self.centre
        return points * self.size * _SUPERSAMPLING

    def length(self, units: float) -> float:
        return units * self.scale * self.size * _SUPERSAMPLING


_CHEST, _CHEST_RADIUS = np.array((0.10, 0.0)), 0.34
_RUMP, _RUMP_RADIUS = np.array((-0.44, -0.02)), 0.14
_HEAD, _HEAD_RADIUS = np.array((0.30, -0.34)), 0.27


def _rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Rotates counter-clockwise in the image (y points down), which raises the front."""
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array(((c, -s), (s, c)))


def _arc(centre, radius: float, start: float, stop: float, n: int = 24) -> np.ndarray:
    t = np.linspace(start, stop, n)
    return np.asarray(centre) + radius * np.stack((np.cos(t), np.sin(t)), -1)


def _capsule(a, radius_a: float, b, radius_b: float) -> np.ndarray:
    """The outline of the convex hull of two discs."""
    along = np.asarray(b) - np.asarray(a)
    direction = math.atan2(along[1], along[0])
    half = math.acos((radius_a - radius_b) / math.hypot(*along))
    arc_a = _arc(a, radius_a, direction + half, direction - half + 2 * math.pi)
    return np.concatenate((arc_a, _arc(b, radius_b, direction - half, direction + half)))


def _smooth(points, n: int = 8) -> np.ndarray:
    """A closed Catmull-Rom curve through the points."""
    p = np.asarray(points, float)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, n, endpoint=False)[:, None, None]
    square = 2 * before - 5 * p + 4 * after - beyond
    cube = 3 * p - before - 3 * after + beyond
    curve = 0.5 * (2 * p + (after - before) * t + square * t**2 + cube * t**3)
    return curve.transpose(1, 0, 2).reshape(-1, 2)


_WING = _smooth(((0.30, -0.06), (0.20, -0.26), (-0.10, -0.29), (-0.46, -0.12), (-0.82, 0.10),
                 (-0.50, 0.14), (-0.16, 0.21), (0.16, 0.15)))  # fmt: skip
_SHOULDER = _smooth(((0.44, -0.04), (0.30, -0.30), (0.02, -0.32), (-0.14, -0.16), (-0.15, 0.02),
                     (-0.04, 0.18), (0.20, 0.22)))  # fmt: skip
_CAP = _smooth(((0.26, -0.04), (0.20, -0.19), (0.06, -0.29), (-0.10, -0.29), (-0.25, -0.18),
                (-0.32, 0.02), (-0.28, 0.12), (-0.16, 0.02), (0.05, -0.04)))  # fmt: skip
_BREAST, _BREAST_RADIUS = np.array((0.30, 0.20)), 0.36
_TAIL = _smooth(((0.06, -0.07), (-0.20, -0.08), (-0.46, -0.10), (-0.44, 0.08), (-0.18, 0.08),
                 (0.06, 0.07)))  # fmt: skip
_LEAF = _smooth(((0, 0), (0.3, -0.2), (0.7, -0.16), (1, 0), (0.7, 0.16), (0.3, 0.2)))


# The bird.


def _bird(species: Species, pose: _Pose, rng: np.random.Generator) -> Image.Image:
    canvas, place = _Layer(pose.size), pose.place
    body = _varied(_choose(_BODY_COLOURS, rng), rng)
    dress = {part: _varied(COLOURS[colour], rng) for part, colour in species.dress.items()}

    _legs(canvas, pose)
    tail = canvas.mask(place(_TAIL, frame="tail"))
    canvas.plumage(tail, dress["cap"], canvas.lines(place(_tail_bars(), "tail"), pose.length(0.05)))

    back = canvas.mask(place(_capsule(_CHEST, _CHEST_RADIUS, _RUMP, _RUMP_RADIUS)))
    neck = canvas.mask(place(_capsule(_CHEST, _CHEST_RADIUS, _HEAD, _HEAD_RADIUS)))
    trunk = ImageChops.lighter(back, neck)
    canvas.image.paste(body, mask=trunk)
    disc = canvas.mask(place(_arc(_BREAST, _BREAST_RADIUS, 0, 2 * math.pi, 48)))
    breast = ImageChops.multiply(disc, trunk)
    canvas.plumage(breast, dress["breast"], canvas.dots(place(_spots(rng)), pose.length(0.036)))

    head = canvas.mask(place(_arc((0, 0), _HEAD_RADIUS, 0, 2 * math.pi, 48), frame="head"))
    canvas.image.paste(_mixed(body, (250, 244, 230), 0.45), mask=head)
    cap = canvas.mask(place(_CAP, frame="head"))
    canvas.plumage(cap, dress["cap"], canvas.lines(place(_cap_bars(), "head"), pose.length(0.05)))
    _face(canvas, pose)

    wing = canvas.mask(place(_WING))
    canvas.plumage(wing, dress["wing"], canvas.lines(place(_streaks()), pose.length(0.036)))
    shoulder = ImageChops.multiply(wing, canvas.mask(place(_SHOULDER)))
    canvas.plumage(shoulder, dress["shoulder"], canvas.lines(place(_scales()), pose.length(0.034)))
    outline = place(_WING)
    closed = np.concatenate((outline, outline[:2]))
    canvas.stroke(closed, pose.length(0.012), _mixed(body, _INK, 0.6), joint=None)
    return canvas.image.reduce(_SUPERSAMPLING)


# The patterns: lines of shape (n, points, 2), or the centres of spots of shape (n, 2).


def _cap_bars() -> np.ndarray:
    """Bars from above the eye to the edge of the cap."""
    angles = np.radians(np.linspace(-195, -10, 9))
    spokes = np.stack((np.cos(angles), np.sin(angles)), -1)
    return np.stack((0.12 * spokes, 0.4 * spokes), 1) + (0.0, 0.04)


def _tail_bars() -> np.ndarray:
    x = np.arange(-0.42, 0, 0.105)[:, None]
    return np.stack(np.broadcast_arrays(x + (0.01, -0.01), (-0.15, 0.15)), -1)


def _spots(rng: np.random.Generator) -> np.ndarray:
    step = 0.11
    y, x = np.mgrid[-4:5, -4:5]
    grid = np.stack((x + 0.5 * (y % 2), 0.87 * y), -1).reshape(-1, 2) * step
    return grid + _BREAST + rng.normal(0, 0.006, grid.shape)


def _scales() -> np.ndarray:
    """Rows of feather edges, each an arc open to the front."""
    arc = _arc((0, 0), 0.062, math.radians(80), math.radians(280), 9)
    x, y = np.mgrid[0:10, 0:6]
    at = np.stack((-0.66 + 0.1 * x, -0.36 + 0.12 * y + 0.06 * (x % 2)), -1)
    return at.reshape(-1, 1, 2) + arc


def _streaks() -> np.ndarray:
    """The edges of the long feathers, a fan around the wing's tip."""
    tip = np.array((-1.5, 0.32))
    angles = np.radians(np.linspace(-33, 8, 11))
    ends = tip + 2.0 * np.stack((np.cos(angles), np.sin(angles)), -1)
    return np.stack((np.broadcast_to(tip, ends.shape), ends), 1)


def _face(canvas, pose: _Pose) -> None:
    place = pose.place
    canvas.polygon(place(((0.24, -0.03), (0.43, 0.06), (0.24, 0.06)), frame="head"), (72, 62, 54))
    canvas.polygon(place(((0.24, 0.05), (0.39, 0.07), (0.22, 0.11)), frame="head"), (104, 90, 76))
    eye = place((0.12, 0.03), frame="head")
    canvas.spot(eye, pose.length(0.058), (240, 232, 214))
    canvas.spot(eye, pose.length(0.046), (22, 18, 20))
    canvas.spot(place((0.135, 0.012), frame="head"), pose.length(0.016), (255, 255, 255))


def _legs(canvas, pose: _Pose) -> None:
    for offset in (-0.07, 0.07):
        hip = pose.place((offset, 0.26))
        x = offset * 0.9 * pose.facing * pose.scale
        foot = (pose.feet + (x, 0)) * pose.size * _SUPERSAMPLING
        canvas.stroke(np.stack((hip, foot)), pose.length(0.028), (98, 78, 66))
        toe = pose.length(0.06)
        toes = foot + np.array(((-toe, 0.2 * toe), (0, -0.1 * toe), (toe, 0.2 * toe)))
        canvas.stroke(toes, pose.length(0.026), (98, 78, 66))


# The surroundings.


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """A blurred background: a gradient, soft foliage, discs of light."""
    above, below = (_varied(c, rng) for c in _choose(_SCENES, rng))
    slope = np.linspace(0, 1, 8)[:, None, None]
    wash = np.asarray(above) * (1 - slope) + np.asarray(below) * slope
    wash = wash + rng.normal(0, 13, (8, 8, 1)) + rng.normal(0, 6, (8, 8, 3))
    drawing = Image.fromarray(_bytes(wash)).resize((size, size), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawing, "RGBA")
    for _ in range(rng.integers(4, 12)):
        colour = _mixed(above, _choose(_CLUTTER, rng), 0.35)
        centre, radius = rng.uniform(0, size, 2), rng.uniform(0.03, 0.13) * size
        pen.ellipse(_square(centre, radius), fill=(*colour, 110))
    return drawing.filter(ImageFilter.GaussianBlur(size / 80))


def _perch(pose: _Pose, rng: np.random.Generator) -> Image.Image:
    """Sprays behind the bird, and the branch on which it stands."""
    layer = _Layer(pose.size)
    bark = _varied((112, 88, 70), rng)
    for _ in range(rng.integers(1, 5)):
        _spray(layer, bark, rng, reach=(0.3, 0.8))
    width = rng.uniform(0.035, 0.055) * layer.side
    feet = pose.feet * layer.side + (0, 0.42 * width)
    x = np.linspace(-0.1, 1.1, 9) * layer.side
    away = x - feet[0]
    y = feet[1] + rng.uniform(-0.22, 0.22) * away + rng.normal(0, 0.3) * away**2 / layer.side
    line = np.stack((x, y), -1)
    layer.stroke(line, width, _mixed(bark, (0, 0, 0), 0.25))
    layer.stroke(line - (0, 0.16 * width), 0.62 * width, bark)
    layer.stroke(line - (0, 0.28 * width), 0.2 * width, _mixed(bark, (255, 240, 220), 0.3))
    return layer.image.reduce(_SUPERSAMPLING)


def _foreground(rng: np.random.Generator, size: int) -> Image.Image:
    """Sprays in front of the bird, near the edge of the image."""
    layer = _Layer(size)
    for _ in range(rng.integers(0, 4)):
        _spray(layer, _varied((112, 88, 70), rng), rng, reach=(0.1, 0.22))
    return layer.image.reduce(_SUPERSAMPLING)


def _spray(layer, bark, rng: np.random.Generator, reach: tuple[float, float]) -> None:
    """A twig that grows in from the edge of the image, with leaves and sometimes berries."""
    side, angle = layer.side, rng.uniform(0, 2 * math.pi)
    outward = np.array((math.cos(angle), math.sin(angle)))
    root = (0.5 + 0.62 * outward / np.abs(outward).max()) * side
    length = (0.12 + rng.uniform(*reach)) * side
    heading = math.atan2(outward[1], -outward[0]) + rng.normal(0, 0.5)
    t = np.linspace(0, 1, 9)
    twig = np.stack((t, rng.normal(0, 0.15) * t**2), -1) * length
    twig = _rotate(twig, heading) + root
    layer.stroke(twig, rng.uniform(0.009, 0.016) * side, _mixed(bark, (210, 205, 190), 0.2))
    colour = _varied(_choose(_LEAF_COLOURS, rng), rng)
    turn = rng.choice((-1.0, 1.0))
    for at in twig[2:]:
        turn = -turn
        _leaf(layer, at, heading + turn * rng.uniform(0.4, 1.1), colour, rng)
    if rng.random() < 0.6:
        berry = _varied(_choose(_BERRY_COLOURS, rng), rng)
        for at in twig[2:].repeat(2, 0) + rng.normal(0, 0.03 * side, (14, 2)):
            _berry(layer, at, berry, rng.uniform(0.014, 0.028) * side)


def _leaf(layer, at: np.ndarray, angle: float, colour, rng: np.random.Generator) -> None:
    length = rng.uniform(0.08, 0.16) * layer.side
    colour = _mixed(colour, (235, 235, 170), rng.uniform(0, 0.25))
    layer.polygon(_rotate(_LEAF * length, angle) + at, colour)
    rib = _rotate(np.array(((0.0, 0.0), (0.9, 0.0))) * length, angle) + at
    layer.stroke(rib, 0.05 * length, _mixed(colour, (240, 240, 200), 0.3))


def _berry(layer, at: np.ndarray, colour, radius: float) -> None:
    layer.spot(at, radius, _mixed(colour, (0, 0, 0), 0.25))
    layer.spot(at - 0.1 * radius, 0.85 * radius, colour)
    layer.spot(at - 0.35 * radius, 0.25 * radius, _mixed(colour, (255, 255, 255), 0.7))


# Light.


def _shaded(bird: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shades the flat bird: it gets darker away from the light."""
    alpha = bird.getchannel("A")
    size = bird.width
    soft = np.asarray(alpha.filter(ImageFilter.GaussianBlur(size / 14)), float) / 255
    shift = (size // 16, int(rng.integers(-size // 24, size // 24 + 1)))
    lit = 0.62 + 0.42 * soft + 0.55 * (soft - np.roll(soft, shift, (0, 1)))
    colours = np.asarray(bird.convert("RGB"), float) * np.clip(lit, 0.55, 1.12)[..., None]
    shaded = Image.fromarray(_bytes(colours))
    shaded.putalpha(alpha)
    return shaded


def _with_shadow(scenery: Image.Image, bird: Image.Image) -> Image.Image:
    shadow = bird.getchannel("A").filter(ImageFilter.GaussianBlur(bird.width / 32))
    dark = scenery.point(lambda value: value * 0.72)
    return Image.composite(dark, scenery, ImageChops.offset(shadow, 0, bird.width // 40))


def _lit(drawing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lights the whole image: brightness, colour temperature, a gradient, and a little noise."""
    size = drawing.width
    across = np.linspace(-1, 1, size)
    angle = rng.uniform(0, 2 * math.pi)
    plane = np.add.outer(math.sin(angle) * across, math.cos(angle) * across)
    slope = 1 + rng.uniform(0, 0.16) * plane
    gain = rng.uniform(0.6, 1.2) * rng.normal(1, 0.07, 3)
    pixels = np.asarray(drawing) * (slope[..., None] * gain)
    return Image.fromarray(_bytes(pixels + rng.normal(0, 2.0, (size, size, 1))))


# Canvas.


class _Layer:
    """A transparent canvas with `_SUPERSAMPLING` times the resolution of the image.

    `layer.image.reduce(_SUPERSAMPLING)` is the image; its pixel is the mean of the finer ones.
    """

    def __init__(self, size: int):
        self.side = size * _SUPERSAMPLING
        self.image = Image.new("RGBA", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image, "RGBA")

    def mask(self, outline: np.ndarray) -> Image.Image:
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon(outline.ravel().tolist(), fill=255)
        return mask

    def lines(self, lines: np.ndarray, width: float) -> Image.Image:
        mask = Image.new("L", self.image.size)
        for line in lines:
            ImageDraw.Draw(mask).line(line.ravel().tolist(), fill=255, width=round(width))
        return mask

    def dots(self, centres: np.ndarray, radius: float) -> Image.Image:
        mask = Image.new("L", self.image.size)
        for centre in centres:
            ImageDraw.Draw(mask).ellipse(_square(centre, radius), fill=255)
        return mask

    def plumage(self, part: Image.Image, colour: tuple, pattern: Image.Image) -> None:
        self.image.paste(colour, mask=part)
        self.image.paste(_mixed(colour, _INK, 0.8), mask=ImageChops.multiply(part, pattern))

    def polygon(self, outline: np.ndarray, colour: tuple) -> None:
        self.pen.polygon(outline.ravel().tolist(), fill=colour)

    def stroke(self, line: np.ndarray, width: float, colour: tuple, joint="curve") -> None:
        width = max(1, round(width))
        self.pen.line(line.ravel().tolist(), fill=colour, width=width, joint=joint)

    def spot(self, centre: np.ndarray, radius: float, colour: tuple) -> None:
        self.pen.ellipse(_square(centre, radius), fill=colour)


def _square(centre: np.ndarray, radius: float) -> tuple[float, ...]:
    """The bounding box of a disc."""
    return (*(centre - radius), *(centre + radius))


def _over(below: Image.Image, above: Image.Image) -> Image.Image:
    return Image.composite(above.convert("RGB"), below, above.getchannel("A"))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _choose(colours: tuple, rng: np.random.Generator):
    return colours[rng.integers(len(colours))]


def _varied(colour, rng: np.random.Generator) -> tuple[int, ...]:
    """The colour of one individual: lighter or darker, with a slightly different hue."""
    varied = np.asarray(colour) * rng.normal(1, 0.1) + rng.normal(0, 12, 3)
    return tuple(int(v) for v in _bytes(varied))


def _mixed(colour, other, share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(colour[:3], other[:3], strict=True))


# Contact sheet.


def contact_sheet(views: int = 3, size: int = 96, seed: int = 5) -> Image.Image:
    """`views` images of each species with its name; three species per line."""
    columns, gap, caption = 3, 6, 22
    width, height = views * (size + 2) + 2 * gap, size + caption + gap
    lines = -(-len(SPECIES) // columns)
    sheet = Image.new("RGB", (columns * width, lines * height + gap), (252, 251, 248))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, species in enumerate(SPECIES):
        x, y = gap + i % columns * width, gap + i // columns * height
        for view in range(views):
            drawing = draw(i, np.random.default_rng((seed, i, view)), size)
            sheet.paste(drawing, (x + view * (size + 2), y))
        pen.text((x + 1, y + size + 3), species.name.replace("_", " "), (40, 40, 44), font)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of all species.")
    parser.add_argument("file", help="the image to write, e.g. docs/drawn_birds.jpg")
    contact_sheet().save(parser.parse_args().file, quality=88)


if __name__ == "__main__":
    main()
