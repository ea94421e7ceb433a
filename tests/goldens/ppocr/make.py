"""Draws the pictures of this folder and writes what the reference reads in them.

    pip install rapidocr-onnxruntime==1.4.4 onnxruntime==1.31.1 opencv-python==5.0.0.93
    python make.py [--fonts /usr/share/fonts/truetype] [--reuse]

`--reuse` keeps the pictures that are there and only reads them again. Scenes (`scene-*.png`) are
pictures of `vila2 scenes generate`, put here by hand, and `banner.png` came with a report.

The reference is asked not to put black margins around wide and low pictures
(`width_height_ratio=-1`, `min_height=0`): with them it reads `         o ` in `banner.png`.
"""

import argparse
import json
import random
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rapidocr_onnxruntime import RapidOCR

HERE = Path(__file__).parent
IMAGES = HERE / "images"


def font(fonts, name, size):
    return ImageFont.truetype(str(next(Path(fonts).rglob(f"{name}.ttf"))), size)


def page(size, ink, paper, lines, turn=0.0):
    """Lines of (x, y, text, font) on a sheet, turned counter-clockwise about its middle."""
    sheet = Image.new("L", size, paper)
    draw = ImageDraw.Draw(sheet)
    for x, y, text, face in lines:
        draw.text((x, y), text, font=face, fill=ink)
    if turn:
        sheet = sheet.rotate(turn, resample=Image.BICUBIC, fillcolor=paper)
    return sheet


def photographed(sheet, rng, corners, blur, noise):
    """A sheet seen from the side, unevenly lit, out of focus, grainy."""
    w, h = sheet.size
    source = np.float32([[0, 0], [w, 0], [w, h], [0, h]])
    matrix = cv2.getPerspectiveTransform(source, np.float32(corners))
    seen = cv2.warpPerspective(np.array(sheet), matrix, (w, h), borderValue=70)
    light = np.linspace(0.75, 1.05, w)[None, :] * np.linspace(1.0, 0.85, h)[:, None]
    grain = np.random.default_rng(rng.randrange(1 << 30)).normal(0, noise, (h, w))
    lit = np.clip(cv2.GaussianBlur(seen, (0, 0), blur) * light + grain, 0, 255)
    return Image.fromarray(lit.astype(np.uint8))


def draw_all(fonts):
    rng = random.Random(5)
    sans = lambda s: font(fonts, "DejaVuSans", s)
    bold = lambda s: font(fonts, "DejaVuSans-Bold", s)
    serif = lambda s: font(fonts, "DejaVuSerif", s)
    mono = lambda s: font(fonts, "DejaVuSansMono", s)
    narrow = lambda s: font(fonts, "LiberationSansNarrow-Regular", s)
    text = "The quick brown fox jumps over the lazy dog"
    block = [(20, 20 + 34 * i, t, serif(22)) for i, t in enumerate(
        ["Order 4711 of 12 March", "3 x coffee 9.60", "1 x lemon cake 4.20", "Total 13.80 EUR"])]
    yield "plain", page((320, 120), 20, 235, [(30, 40, "OPEN DAILY", bold(36))])
    yield "white-on-black", page((320, 120), 245, 10, [(30, 40, "museum shop", sans(36))])
    yield "block", page((400, 180), 0, 255, block)
    yield "columns", page((460, 200), 0, 255, [
        (x, y, t, sans(20)) for x, y, t in [
            (20, 20, "Monday"), (20, 60, "Tuesday"), (20, 100, "Friday"), (20, 140, "Sunday"),
            (260, 23, "9 to 17"), (260, 57, "10 to 18"), (260, 104, "closed"), (260, 139, "12 to 15")]])
    for degrees in (4, -7, 12, -20, 33, -45):
        yield f"turned{degrees:+}", page((360, 300), 25, 225, [
            (60, 100, "north station", bold(32)), (60, 160, "platform 12", sans(28))], degrees)
    yield "upside-down", page((360, 140), 30, 230, [(30, 45, "garden market", bold(36))], 180)
    yield "upside-down-block", page((400, 180), 0, 255, block, 180)
    yield "upside-down-tilted", page((400, 260), 30, 230, [(60, 100, "harbor bridge", bold(34))], 172)
    down = page((320, 100), 20, 240, [(20, 30, "WELCOME", bold(38))])
    yield "running-down", down.transpose(Image.ROTATE_270)
    yield "running-up", down.transpose(Image.ROTATE_90)
    yield "small", page((220, 90), 0, 255, [(10, 10 + 16 * i, t, sans(10)) for i, t in enumerate(
        ["Terms and conditions apply.", "Not valid on public holidays.", "See back for details."])])
    yield "tiny", page((150, 40), 0, 255, [(10, 12, "read me closely", sans(9))])
    yield "thin", page((200, 26), 0, 255, [(6, 2, "one thin line", sans(17))])
    yield "faint", page((360, 120), 118, 140, [(30, 40, "low contrast", bold(36))])
    yield "faint-dark", page((360, 120), 52, 36, [(30, 40, "night train", bold(36))])
    yield "long", page((900, 90), 0, 255, [(15, 30, text + " again and again", sans(24))])
    yield "very-long", page((1500, 60), 0, 255, [(10, 15, f"{text}. {text}. {text}.", narrow(26))])
    yield "large", page((2300, 900), 0, 255, [
        (100, 150, "A LARGE POSTER", bold(150)), (100, 500, "with two lines of text", sans(120))])
    yield "digits", page((420, 120), 0, 255, [
        (20, 20, "4012-8888 1881", mono(30)), (20, 70, "+49 (0)30 901820", mono(26))])
    yield "signs", page((420, 120), 0, 255, [
        (20, 20, "50% off! *only today*", sans(26)), (20, 70, "info@example.org #1 & more", sans(24))])
    yield "blank", page((200, 160), 0, 200, [])
    many = [(20 + 145 * (i % 3), 15 + 30 * (i // 3), w, serif(18)) for i, w in enumerate(
        "river island forest desert summer winter spring autumn morning evening coffee butter "
        "cheese lemon cherry banana tomato potato pepper ginger honey".split())]
    yield "many", page((460, 240), 0, 255, many)
    for number, (corners, blur, noise) in enumerate([
            ([[14, 20], [340, 8], [352, 190], [4, 170]], 0.8, 3),
            ([[30, 6], [350, 30], [330, 196], [10, 180]], 1.1, 5),
            ([[60, 10], [300, 20], [350, 190], [8, 196]], 0.9, 4),
            ([[8, 30], [300, 4], [350, 160], [50, 195]], 1.3, 6)]):
        sheet = page((360, 200), 30, 225, [
            (25, 30, ["Parking", "Ticket office", "Danger", "Bakery"][number], bold(36)),
            (25, 95, ["2 hours only", "opens at 8:30", "high voltage", "fresh bread"][number], serif(28)),
            (25, 145, ["Mon - Sat", "window 4", "keep away", "since 1921"][number], sans(22))])
        yield f"photographed-{number + 1}", photographed(sheet, rng, corners, blur, noise)
    shades = np.random.default_rng(3).integers(90, 190, (10, 14), dtype=np.uint8)
    wall = Image.fromarray(shades).resize((360, 260), Image.BICUBIC)
    ImageDraw.Draw(wall).text((30, 60), "concert tonight", font=bold(38), fill=250)
    ImageDraw.Draw(wall).text((60, 150), "doors 19:30", font=bold(34), fill=10)
    yield "on-a-wall", wall
    yield "blurred", page((360, 120), 0, 255, [
        (30, 40, "out of focus", bold(34))]).filter(ImageFilter.GaussianBlur(2.2))


def draw_wide(fonts):
    """More than eight times as wide as tall, or at most 30 pixels high."""
    sans = lambda s: font(fonts, "DejaVuSans", s)
    bold = lambda s: font(fonts, "DejaVuSans-Bold", s)
    serif = lambda s: font(fonts, "DejaVuSerif", s)
    yield "wide-leaderboard", page((728, 90), 250, 60, [
        (24, 24, "SUMMER SALE", bold(38)), (420, 30, "up to 50% off", sans(28))])
    yield "wide-strip", page((480, 40), 20, 240, [(12, 8, "Opening hours 9 to 17", sans(20))])
    yield "wide-two-lines", page((640, 70), 0, 255, [
        (10, 6, "Line one of the notice", serif(22)), (10, 38, "and line two below it", serif(22))])
    yield "low", page((120, 30), 0, 255, [(6, 4, "Stop here", sans(18))])
    yield "low-thin", page((120, 24), 0, 255, [(6, 2, "mind it", sans(16))])


def read(engine, file):
    """The lines with what the direction classifier and the turn of tall cuts did to them."""
    kept = {}
    crop, orient, sift = engine.get_crop_img_list, engine.text_cls, engine.filter_result

    def get_crop_img_list(image, boxes):
        kept["tall"] = []
        for box in boxes:
            width = int(max(np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[2] - box[3])))
            height = int(max(np.linalg.norm(box[0] - box[3]), np.linalg.norm(box[1] - box[2])))
            kept["tall"].append(height / width >= 1.5)
        return crop(image, boxes)

    def text_cls(images):
        out = orient(images)
        kept["over"] = [label == "180" and score > 0.9 for label, score in out[1]]
        return out

    def filter_result(boxes, readings):
        kept["lines"] = [
            {
                "text": reading[0],
                "score": round(float(reading[1]), 6),
                "quad": np.round(box.astype(float), 3).tolist(),
                "tall": bool(tall),
                "over": bool(over),
            }
            for box, reading, tall, over in zip(boxes, readings, kept["tall"], kept["over"])
            if reading[1] >= 0.5 and reading[0].strip()
        ]
        return sift(boxes, readings)

    engine.get_crop_img_list, engine.text_cls, engine.filter_result = (
        get_crop_img_list, text_cls, filter_result)
    engine(str(file))
    engine.get_crop_img_list, engine.text_cls, engine.filter_result = crop, orient, sift
    return kept.get("lines", [])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fonts", default="/usr/share/fonts/truetype")
    parser.add_argument("--reuse", action="store_true")
    arguments = parser.parse_args()
    if not arguments.reuse:
        IMAGES.mkdir(exist_ok=True)
        for name, picture in [*draw_all(arguments.fonts), *draw_wide(arguments.fonts)]:
            picture.save(IMAGES / f"{name}.png", optimize=True)
    engine = RapidOCR(width_height_ratio=-1, min_height=0)
    with open(HERE / "goldens.jsonl", "w", encoding="utf-8") as out:
        for file in sorted(IMAGES.glob("*.png")):
            line = {"file": file.name, "lines": read(engine, file)}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


main()
