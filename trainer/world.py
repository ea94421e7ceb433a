"""From a scene's truth to what the model is taught: two texts, coordinates as tokens, labels for every patch."""

import json
from pathlib import Path

import numpy as np

from tokenizer import COLORS, SHAPES, SIZES

CAPTION_PROMPTS = [
    "Describe this image in detail.",
    "Elaborate on the visual elements of this image in detail.",
    "Describe only what can be confidently determined from this image.",
]
GROUNDING_PROMPT = "Describe this image with the location of each object."
COUNTS = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]


def read_truth(folder: Path) -> list[dict]:
    """The scenes of a generated folder, in file order."""
    with open(folder / "truth.jsonl") as lines:
        return [json.loads(line) for line in lines]


def locate(scene: dict, box: list[float]) -> list[int]:
    """A pixel box as four numbers 0..999, floored: [xmin, ymin, xmax, ymax]."""
    sides = (scene["width"], scene["height"]) * 2
    return [min(999, max(0, int(v / side * 1000))) for v, side in zip(box, sides)]


def reading_order(scene: dict) -> list[dict]:
    """Objects by the third of the height their centre is in, then from left to right."""
    def place(thing):
        x1, y1, x2, y2 = thing["box"]
        return min(2, int((y1 + y2) / 2 / scene["height"] * 3)), (x1 + x2) / 2
    return sorted(scene["objects"], key=place)


def phrase(thing: dict) -> str:
    return f"a {thing['size']} {thing['color']} {thing['shape']}"


def listing(parts: list[str]) -> str:
    """"a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def caption_text(scene: dict) -> str:
    """The background's colour is told, not its kind: at 128 pixels a side, noise and gradients cannot be seen."""
    background = scene["background"].split(" ", 1)[1]
    things = [phrase(t) for t in reading_order(scene)]
    noun = "object" if len(things) == 1 else "objects"
    return f"{COUNTS[len(things)]} {noun} on a {background} background: {listing(things)}."


def grounding_text(scene: dict) -> str:
    def located(thing):
        return phrase(thing) + " [" + ",".join(f"{v:03d}" for v in locate(scene, thing["box"])) + "]"
    return listing([located(t) for t in reading_order(scene)])


def mirrored(scene: dict) -> dict:
    """The same scene seen in a mirror (its words are not spoken of, so they may stay unreadable)."""
    width = scene["width"]
    objects = [dict(t, box=[width - t["box"][2], t["box"][1], width - t["box"][0], t["box"][3]]) for t in scene["objects"]]
    return dict(scene, objects=objects)


def patch_labels(scene: dict, side: int) -> tuple[np.ndarray, np.ndarray]:
    """What each of side x side patches shows.

    Returns classes [side*side,3] (shape, colour, size; the last class of each means background) and the distances
    [side*side,4] from the patch centre to the left, top, right and bottom edge of its object, in picture sides.
    The smallest box around a patch's centre owns it; an object that owns none gets the patch nearest to its centre.
    """
    classes = np.empty((side, side, 3), np.int64)
    classes[:] = (len(SHAPES), len(COLORS), len(SIZES))
    edges = np.zeros((side, side, 4), np.float32)
    scale = np.array([scene["width"], scene["height"]] * 2, np.float32)
    boxes = [(np.array(t["box"], np.float32) / scale, t) for t in scene["objects"]]
    middle = (np.arange(side) + 0.5) / side
    for box, thing in sorted(boxes, key=lambda b: -(b[0][2] - b[0][0]) * (b[0][3] - b[0][1])):
        inside_x, inside_y = (middle >= box[0]) & (middle <= box[2]), (middle >= box[1]) & (middle <= box[3])
        if not inside_x.any():
            inside_x[min(side - 1, int((box[0] + box[2]) / 2 * side))] = True
        if not inside_y.any():
            inside_y[min(side - 1, int((box[1] + box[3]) / 2 * side))] = True
        rows, columns = np.flatnonzero(inside_y), np.flatnonzero(inside_x)
        label = (SHAPES.index(thing["shape"]), COLORS.index(thing["color"]), SIZES.index(thing["size"]))
        x, y = np.meshgrid(middle[columns], middle[rows])
        block = np.ix_(rows, columns)
        classes[block] = label
        edges[block] = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y], -1)
    return classes.reshape(-1, 3), edges.reshape(-1, 4)
