"""Write what Pillow and transformers' slow image processor make of pictures that both sides can compute.

    python tests/goldens/pixels/make.py > tests/goldens/pixels/goldens.json

A picture is noise from a linear congruential generator seeded with its width; the goldens are digests.
"""

import hashlib
import json

import numpy as np
import PIL
import transformers
from PIL import Image
from transformers import SmolVLMImageProcessor

SIZES = [(64, 64), (97, 41), (123, 80), (300, 200), (33, 257)]


def picture(width: int, height: int) -> Image.Image:
    state, out = width, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1103515245 + 12345) % 2**31
        out.append(state >> 16 & 255)
    return Image.frombytes("RGB", (width, height), bytes(out))


def resampled(size, to, number) -> dict:
    # Horizontally first, said in so many words: Pillow 13 turns the order round for some tall pictures.
    filter = Image.Resampling(number)
    pixels = picture(*size).resize((to[0], size[1]), resample=filter).resize(to, resample=filter).tobytes()
    return {"size": size, "to": to, "resample": number, "sha256": hashlib.sha256(pixels).hexdigest()}


def processed(size, longest, tile, splitting) -> dict:
    config = {"size": {"longest_edge": longest}, "max_image_size": {"longest_edge": tile}, "do_image_splitting": splitting,
              "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
    processor = SmolVLMImageProcessor(**config)
    out = processor([[picture(*size)]], return_tensors="np", return_row_col_info=True)
    values = out["pixel_values"][0].astype("<f4")
    assert np.all(out["pixel_attention_mask"] == 1)
    return {"size": size, "config": config, "rows": out["rows"][0][0], "columns": out["cols"][0][0], "count": len(values),
            "sha256": hashlib.sha256(values.tobytes()).hexdigest()}


def listed(name, goldens) -> str:
    return f'"{name}": [\n' + ",\n".join(json.dumps(golden) for golden in goldens) + "\n]"


print(f'{{"pillow": "{PIL.__version__}", "transformers": "{transformers.__version__}",')
print(listed("resampled", [resampled(size, to, number) for size in SIZES for to in [(64, 64), (31, 90), (300, 17)]
                           for number in (1, 2, 3)]), end=",\n")
print(listed("processed", [processed(size, longest, tile, splitting) for size in SIZES[:4]
                           for longest, tile, splitting in [(64, 64, False), (128, 64, True), (192, 64, True),
                                                            (96, 48, False)]]), end="}\n")
