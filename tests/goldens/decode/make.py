"""Writes the decoding goldens: small files in `files/`, and for each the pixels that Pillow gives,
as a PNG in `expected/`. Needs Pillow (13.0.0 made the committed ones) and numpy.

Expected: ImageOps.exif_transpose(Image.open(file)).convert("RGB"); for grey of 16 bits, which
convert() clips to 255, the high bytes.
"""
import io, pathlib, shutil
import numpy as np
import jpegs
from PIL import Image, ImageOps, ImageCms, TiffImagePlugin

here = pathlib.Path(__file__).parent
files, expected = here / "files", here / "expected"
for folder in (files, expected):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def scene(w, h):
    """Smooth gradients, a disc and a corner mark, so that every turn and channel swap shows."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    rgb = np.stack([x / max(w - 1, 1) * 255, y / max(h - 1, 1) * 255, 255 - (x + y) / max(w + h - 2, 1) * 255], -1)
    rgb[(x - w * 0.6) ** 2 + (y - h * 0.5) ** 2 < (min(w, h) * 0.25) ** 2] = (230, 40, 60)
    rgb[: h // 5, : w // 6] = (20, 200, 40)
    return rgb.round().astype(np.uint8)


def save(name, image, **options):
    image.save(files / name, **options)


rgb = Image.fromarray(scene(48, 32))
grey = rgb.convert("L")
ramp = np.linspace(0, 255, 48 * 32).reshape(32, 48).round().astype(np.uint8)
alpha = Image.fromarray(ramp)
rgba = rgb.copy()
rgba.putalpha(alpha)
wide16 = (np.mgrid[0:32, 0:48][1] * 1365 + np.mgrid[0:32, 0:48][0] * 37).astype(np.uint16)

# JPEG
save("rgb444.jpg", rgb, quality=92, subsampling=0)
save("rgb420.jpg", rgb, quality=92, subsampling=2)
save("rgb422.jpg", rgb, quality=92, subsampling=1)
save("progressive.jpg", rgb, quality=92, subsampling=2, progressive=True)
save("restarts.jpg", rgb, quality=92, restart_marker_blocks=3)
save("grey.jpg", grey, quality=92)
save("keep_rgb.jpg", rgb, quality=92, keep_rgb=True)
for w, h in [(1, 1), (1, 37), (37, 1), (17, 9)]:
    save(f"{w}x{h}.jpg", Image.fromarray(scene(w, h)), quality=92)
for turn in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = turn
    save(f"exif{turn}.jpg", rgb, quality=92, subsampling=0, exif=exif)
exif = Image.Exif()
exif[0x0112] = 6
save("exif6.png", rgb, exif=exif)
save("exif6.webp", rgb, exif=exif, lossless=True)
# CMYK as Pillow writes it: Adobe marker, inverted, transform 0
cmyk = Image.merge("CMYK", [*(Image.fromarray(255 - scene(48, 32)[..., i]) for i in range(3)), Image.fromarray(ramp // 3)])
save("cmyk.jpg", cmyk, quality=95)
save("cmyk_progressive.jpg", cmyk, quality=95, progressive=True)
# YCCK: the same file layout with transform 2: the three inks are coded as YCbCr
c, m, y, k = (255 - np.asarray(band).astype(float) for band in cmyk.split())  # as stored: inverted
r, g, b = 255 - c, 255 - m, 255 - y  # libjpeg: YCC of (255 - stored ink)
ycc = [
    0.299 * r + 0.587 * g + 0.114 * b,
    128 - 0.168735892 * r - 0.331264108 * g + 0.5 * b,
    128 + 0.5 * r - 0.418687589 * g - 0.081312411 * b,
]
# Pillow inverts what it is given before it writes CMYK
planes = [Image.fromarray(255 - np.clip(p.round(), 0, 255).astype(np.uint8)) for p in (*ycc, k)]
raw = io.BytesIO()
Image.merge("CMYK", planes).save(raw, "JPEG", quality=97)
data = bytearray(raw.getvalue())
at = data.index(b"Adobe")
assert data[at + 11] == 0
data[at + 11] = 2
(files / "ycck.jpg").write_bytes(data)
# layouts that Pillow reads and does not write
ycbcr = [np.asarray(band) for band in Image.fromarray(scene(52, 37)).convert("YCbCr").split()]
bands = [scene(52, 37)[..., i] for i in range(3)]
LAYOUTS = {
    "420": [(2, 2), (1, 1), (1, 1)],
    "440": [(1, 2), (1, 1), (1, 1)],
    "422": [(2, 1), (1, 1), (1, 1)],
    "411": [(4, 1), (1, 1), (1, 1)],
    "coarse_luma": [(1, 1), (2, 2), (2, 2)],
    "third": [(3, 1), (1, 1), (1, 1)],
    "uneven": [(2, 2), (2, 1), (1, 2)],
}
SCANS = {"together": [[0, 1, 2]], "apart": [[0], [1], [2]], "luma_first": [[0], [1, 2]], "luma_last": [[2], [1], [0]]}
for layout, sampling in LAYOUTS.items():
    for order, scans in SCANS.items():
        (files / f"{layout}_{order}.jpg").write_bytes(jpegs.jpeg(ycbcr, sampling, scans, head=jpegs.JFIF))
whole, ids = [(1, 1)] * 3, list(b"RGB")
for name, planes, named, head in [
    ("jfif_adobe0", ycbcr, None, jpegs.JFIF + jpegs.adobe(0)),
    ("adobe0", bands, None, jpegs.adobe(0)),
    ("adobe1", ycbcr, None, jpegs.adobe(1)),
    ("jfif_ids_rgb", ycbcr, ids, jpegs.JFIF),
    ("ids_rgb", bands, ids, b""),
    ("ids_odd", ycbcr, [7, 9, 40], b""),
    ("adobe1_ids_rgb", ycbcr, ids, jpegs.adobe(1)),
]:
    (files / f"{name}.jpg").write_bytes(jpegs.jpeg(planes, whole, [[0, 1, 2]], named, head))
# an ICC profile that is not sRGB: it is ignored
lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
save("icc.jpg", rgb, quality=92, icc_profile=lab)
save("icc.png", rgb, icc_profile=lab)

# PNG
save("rgb.png", rgb)
save("rgba.png", rgba)
save("grey.png", grey)
save("grey_alpha.png", rgba.convert("LA"))
save("bilevel.png", grey.convert("1"))
save("grey16.png", Image.fromarray(wide16))
save("palette.png", rgb.quantize(16), bits=4)
palette = rgb.quantize(8)
save("palette_transparent.png", palette, transparency=3)
save("rgb_transparent.png", rgb, transparency=(20, 200, 40))
save("1x1.png", Image.fromarray(scene(1, 1)))
save("1x300.png", Image.fromarray(scene(1, 300)))
save("300x1.png", Image.fromarray(scene(300, 1)))
frames = [rgb, Image.fromarray(scene(48, 32)[::-1])]
save("animated.png", frames[0], save_all=True, append_images=frames[1:], duration=50)

import struct, zlib


def png16(path, samples, color):
    """Pillow writes no 16-bit colour PNG."""
    h, w = samples.shape[:2]
    chunk = lambda n, d: struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", w, h, 16, color, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


deep = scene(48, 32).astype(np.uint16) * 257
deep = np.clip(deep.astype(int) + (np.mgrid[0:32, 0:48][1] * 5)[..., None] - 100, 0, 65535).astype(np.uint16)
png16(files / "rgb16.png", deep, 2)
png16(files / "rgba16.png", np.concatenate([deep, wide16[..., None]], -1), 6)
png16(files / "grey_alpha16.png", np.stack([wide16, wide16[::-1]], -1), 4)

# WebP
save("lossless.webp", rgb, lossless=True)
save("lossy.webp", rgb, quality=90)
save("rgba.webp", rgba, lossless=True, exact=True)
save("rgba_lossy.webp", rgba, quality=90)
save("animated.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True, duration=50)

# GIF
save("still.gif", rgb.quantize(32))
save("animated.gif", frames[0].quantize(16), save_all=True, append_images=[frames[1].quantize(16)], duration=50)
save("transparent.gif", palette, transparency=3)
save("interlaced.gif", rgb.quantize(32), interlace=1)

# BMP
save("rgb.bmp", rgb)
save("palette.bmp", rgb.quantize(16))
save("grey.bmp", grey)
save("bilevel.bmp", grey.convert("1"))

# TIFF
save("rgb.tif", rgb)
save("lzw.tif", rgb, compression="tiff_lzw")
save("deflate.tif", rgb, compression="tiff_adobe_deflate")
save("grey.tif", grey)
save("grey16.tif", Image.fromarray(wide16))
save("rgba.tif", rgba)
save("cmyk.tif", cmyk)
save("bilevel.tif", grey.convert("1"))
info = TiffImagePlugin.ImageFileDirectory_v2()
info[274] = 6
save("exif6.tif", rgb, tiffinfo=info)

for path in sorted(files.iterdir()):
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I;16":
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        upright = upright.convert("RGB")
    upright.save(expected / f"{path.name}.png", optimize=True)
print(len(list(files.iterdir())), "files")
