"""Helpers for the tests of converters: annotation files of every format, with shapes drawn here."""

import json
from xml.sax.saxutils import quoteattr

import numpy as np
import prepare_custom
from cops.data.folder import Folder
from PIL import Image
from scipy.ndimage import binary_dilation

SIZE = (40, 60)
SQUARE = [[5, 6], [20, 6], [20, 16], [5, 16]]  # x and y: rows 6 to 15, columns 5 to 19
HEXAGON = [[40, 5], [50, 10], [50, 22], [40, 27], [30, 22], [30, 10]]


def write_image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(path)
    return path


def run(*arguments):
    """Exit status of the command."""
    try:
        prepare_custom.main([str(a) for a in arguments])
    except SystemExit as end:
        return end.code
    return 0


def read(out, split=None):
    """The masks of every image by name: {image: [(class, iscrowd, mask), ...]}."""
    data = Folder(out, split)
    samples = [data[i] for i in range(len(data))]
    return {s.name: [(data.categories[x.category].name, x.iscrowd, s.ids == x.id) for x in s.segments]
            for s in samples}  # fmt: skip


def square(mask):
    """Whether a mask is that of SQUARE, to the pixel."""
    expected = np.zeros(SIZE, bool)
    expected[6:16, 5:20] = True
    return bool((mask == expected).all())


def inside(points, size=SIZE):
    """Pixels whose middles lie in a convex polygon."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    points = np.array(points, float)
    turns = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
             for a, b in zip(points, np.roll(points, -1, 0), strict=True)]  # fmt: skip
    return np.all(np.array(turns) >= 0, 0) | np.all(np.array(turns) <= 0, 0)


def within_a_pixel(found, expected):
    ring = binary_dilation(expected) & binary_dilation(~expected)
    return not (found ^ expected)[~ring].any() and (found & expected).sum() > 0.9 * expected.sum()


def disc(x, y, radius):
    v, u = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (u - x) ** 2 + (v - y) ** 2 <= radius**2


def labelme(folder, name, shapes, **more):
    write_image(folder / f"{name}.png")
    content = {"version": "5", "shapes": shapes, "imagePath": f"{name}.png", "imageHeight": SIZE[0],
               "imageWidth": SIZE[1], **more}  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def shape(label, points, kind="polygon", group=None, **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, **more}


def coco(folder, annotations, images=({"id": 1, "file_name": "sub/a.jpg"},), categories=("cell", "floor")):
    for image in images:
        write_image(folder / image["file_name"])
    content = {
        "images": [{"height": SIZE[0], "width": SIZE[1], **image} for image in images],
        "categories": [{"id": 10 * (k + 1), "name": name} for k, name in enumerate(categories)],
        "annotations": [{"id": 100 + k, "image_id": 1, "category_id": 10, **a} for k, a in enumerate(annotations)],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def flat(points):
    return [float(v) for point in points for v in point]


def cvat(folder, shapes, image='id="0" name="a.png" width="60" height="40"', labels=("screw", "nut")):
    write_image(folder / "images" / "a.png")
    names = "".join(f"<label><name>{name}</name></label>" for name in labels)
    content = f"<annotations><meta><job><labels>{names}</labels></job></meta><image {image}>{''.join(shapes)}</image></annotations>"
    (folder / "annotations.xml").write_text(content)
    return folder / "annotations.xml"


def element(tag, label, **attributes):
    given = {"label": label, "occluded": "0", **attributes}
    return f"<{tag} {' '.join(f'{k}={quoteattr(str(v))}' for k, v in given.items())}></{tag}>"


def joined(points):
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


def numbers(count=3, kind=np.uint16):
    """Squares with numbers that have gaps."""
    values = np.zeros(SIZE, kind)
    for k in range(count):
        values[2 + 8 * (k // 6) : 8 + 8 * (k // 6), 2 + 9 * (k % 6) : 9 + 9 * (k % 6)] = 7 * k + 2
    return values
