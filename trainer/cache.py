"""Resize a folder's pictures once, exactly as the model's processor does, into one array of bytes on disk.

    python trainer/cache.py target/scenes/train target/train/train.u8
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from world import read_truth


def shrink(picture: Image.Image, side: int) -> np.ndarray:
    """Longest edge to `side` (the other one rounded down, then up to even), then square; LANCZOS both times, bytes."""
    picture = picture.convert("RGB")
    width, height = picture.size
    ratio = width / height
    if width >= height:
        first = (side, even(int(side / ratio)))
    else:
        first = (even(int(side * ratio)), side)
    picture = picture.resize((max(1, first[0]), max(1, first[1])), Image.Resampling.LANCZOS)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def even(value: int) -> int:
    return value + value % 2


def shrink_part(job: tuple[Path, Path, list[str], int, int]) -> int:
    """Fill one stretch of the array; returns how many pictures it did."""
    folder, target, files, start, side = job
    out = np.lib.format.open_memmap(target, mode="r+")
    for offset, name in enumerate(files):
        with Image.open(folder / "images" / name) as picture:
            out[start + offset] = shrink(picture, side)
    out.flush()
    return len(files)


def build_cache(folder: Path, target: Path, side: int = 128, workers: int = 2) -> np.ndarray:
    """The pictures of `folder` as uint8 [N,side,side,3], made on the first call and mapped from disk later."""
    if not target.exists():
        files = [scene["file"] for scene in read_truth(folder)]
        unfinished = target.with_suffix(".part")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(len(files), side, side, 3)).flush()
        jobs = [(folder, unfinished, files[i: i + 500], i, side) for i in range(0, len(files), 500)]
        with ProcessPoolExecutor(workers) as pool:
            for done, _ in enumerate(pool.map(shrink_part, jobs), 1):
                print(f"\r{done * 500}/{len(files)} pictures", end="", flush=True)
        print()
        os.replace(unfinished, target)
    return np.load(target, mmap_mode="r")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    print(build_cache(args.folder, args.target).shape)


if __name__ == "__main__":
    main()
