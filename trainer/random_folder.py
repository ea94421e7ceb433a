"""Make a folder of random weights in a named size, for parity tests and throughput measurements.

    python trainer/random_folder.py small target/models/small-random

The PyTorch weights are saved next to the graphs, so that transformers can load the same model.
"""

import argparse
from pathlib import Path

from export import export_folder
from model import SIZES, build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--head-gain", type=float, default=20.0, help="enlarges the head: clear winners at every step")
    parser.add_argument("--weights", action="store_true", help="also save model.safetensors")
    args = parser.parse_args()
    model = build_model(args.size, args.seed, args.head_gain)
    export_folder(model, args.folder)
    if args.weights:
        model.save_pretrained(args.folder)
    print(f"{args.folder}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
