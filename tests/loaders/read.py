"""Reads exports with `webdataset` and `datasets`, and compares every sample with what is expected.

Each folder is one of `vila2 export`, and is named FORMAT-TEXT. Of every picture there is a line of
JSON: where it stands (`number`, `shard`, `key`), where it came from (`id`, `url`, `original`), its
file (`sha256`, `width`, `height`), and for each TEXT the text and its `turns` of question and answer.
Exits with 1 and the first difference where there is one.

    read.py --expected ROWS.jsonl --scratch DIR FOLDER...
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import socket
import sys

import PIL.Image


def same(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r}, not {expected!r}")


def go_offline(scratch):
    """No network, and no cache but ours; `datasets` reads these settings when it is imported."""
    def refuse(_, address):
        raise RuntimeError(f"a loader reaches for {address}")

    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=str(scratch / "hf"))
    os.environ.update(HF_DATASETS_CACHE=str(scratch / "datasets"))
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    socket.socket.connect = refuse


class Export:
    """A folder, and what each of its samples must be, in their order."""

    def __init__(self, folder, rows):
        self.folder = folder
        self.format, self.text = folder.name.split("-", 1)
        self.tars = sorted(folder.glob("*.tar"))
        self.expected = [
            sample
            for row in rows
            for sample in self.samples({**row, **row["texts"][self.text]})
        ]

    def samples(self, row):
        """One for a picture; for Energon each question of `qa` is one."""
        if self.format != "energon":
            yield {**row, "txt": row["text"]}
        elif self.text != "qa":
            yield {**row, "key": f"{row['number']:09}", "txt": row["text"]}
        else:
            for number, (question, answer) in enumerate(row["turns"]):
                key = f"{row['number']:09}{number:03}"
                extra = {"context": question, "answers": [answer]}
                yield {**row, "key": key, "txt": answer, "extra": extra}

    def pairs(self, by, samples, key):
        """Every sample found with the one expected in its place: none missing, none twice."""
        what, number = f"{self.folder.name} by {by}", 0
        for number, sample in enumerate(samples, 1):
            if number > len(self.expected):
                sys.exit(f"{what}: {sample[key]} comes after the last")
            row = self.expected[number - 1]
            same(f"{what}: {key} of sample {number}", sample[key], row["key"])
            yield f"{what}: {row['key']}", sample, row
        same(f"{what}: samples", number, len(self.expected))


def load(*arguments, **options):
    """The only split, read by `datasets`."""
    import datasets
    return datasets.load_dataset(*arguments, split="train", **options)


def undecoded(rows, column):
    """The same rows with the bytes of a picture instead of its pixels."""
    import datasets
    return (row[column]["bytes"] for row in rows.cast_column(column, datasets.Image(decode=False)))


def check_pixels(what, picture, row):
    """A picture as a loader decoded it."""
    same(f"{what}: size", picture.size, (row["width"], row["height"]))
    picture.load()  # `datasets` opens a picture and leaves its pixels for later


def check_bytes(what, data, row):
    same(f"{what}: SHA-256 of the picture", hashlib.sha256(data).hexdigest(), row["sha256"])


def check_members(what, members, row):
    """What stands beside the text in every format but LLaVA's."""
    for name in ("id", "url", "key", "sha256", "width", "height"):
        same(f"{what}: {name}", members[name], row[name])
    same(f"{what}: original_caption", members["original_caption"], row["original"] or "")
    nulls = [name for name, value in members.items() if value is None]
    same(f"{what}: members that are null", nulls, [])


def check_json(what, members, row):
    """The `.json` of a sample."""
    check_members(what, members, row)
    same(f"{what}: caption", members["caption"], row["text"])
    same(f"{what}: status", members["status"], "success")
    turns = [turn["value"] for turn in json.loads(members["conversations"])]
    same(f"{what}: conversations", turns, sum(row["turns"], []))
    for name, value in row.get("extra", {}).items():
        same(f"{what}: {name}", members[name], value)


def check_turns(what, turns, row):
    """A conversation as LLaVA has it: the picture stands before the first question."""
    texts = sum(row["turns"], [])
    texts[0] = f"<image>\n{texts[0]}"
    same(f"{what}: speakers", [turn["from"] for turn in turns], ["human", "gpt"] * len(row["turns"]))
    same(f"{what}: turns", [turn["value"] for turn in turns], texts)


def read_tars(export):
    """By `webdataset`, decoded and as bytes; by `datasets`, told the format and by the README."""
    import webdataset
    urls = [str(tar) for tar in export.tars]
    decoded = webdataset.WebDataset(urls, shardshuffle=False).decode("pil")
    for what, sample, row in export.pairs("webdataset", decoded, "__key__"):
        parts = {name for name in sample if not name.startswith("__")}
        same(f"{what}: parts", parts, {"jpg", "txt", "json"})
        check_pixels(what, sample["jpg"], row)
        same(f"{what}: text", sample["txt"], row["txt"])
        check_json(what, sample["json"], row)
    raw = webdataset.WebDataset(urls, shardshuffle=False)
    for what, sample, row in export.pairs("webdataset", raw, "__key__"):
        check_bytes(what, sample["jpg"], row)
    ways = {
        "datasets, told that it is WebDataset": load("webdataset", data_files=urls),
        "datasets": load(str(export.folder)),
    }
    for way, found in ways.items():
        pictures = undecoded(found, "jpg")
        for what, sample, row in export.pairs(way, found, "__key__"):
            check_pixels(what, sample["jpg"], row)
            check_bytes(what, next(pictures), row)
            same(f"{what}: text", sample["txt"], row["txt"])
            check_json(what, sample["json"], row)


def read_webdataset(export):
    """The tars, and the tables beside them."""
    same("tars", [tar.stem for tar in export.tars], sorted({row["shard"] for row in export.expected}))
    read_tars(export)
    tables = sorted(str(tar.with_suffix(".parquet")) for tar in export.tars)
    found = load("parquet", data_files=tables)
    for what, sample, row in export.pairs("datasets, the tables", found, "key"):
        check_members(what, sample, row)
        same(f"{what}: caption", sample["caption"], row["text"])


def read_energon(export):
    read_tars(export)


def read_vila(export):
    """As VILA's loader: shards by `wids-meta.json`, the text by the URL from the file beside it."""
    import webdataset
    meta = json.loads((export.folder / "wids-meta.json").read_text())
    same("wids-meta.json: kind", meta["__kind__"], "VILA-WebDataset")
    samples, listed = [], []
    for shard in meta["shardlist"]:
        tar = export.folder / shard["url"]
        texts = json.loads((export.folder / "recaption" / f"{shard['url']}.json").read_text())
        inside = list(webdataset.WebDataset(str(tar), shardshuffle=False).decode("pil"))
        same(f"{tar}: filesize", shard["filesize"], tar.stat().st_size)
        same(f"{tar}: nsamples", shard["nsamples"], len(inside))
        same(f"{tar}: URLs of texts", set(texts), {sample["json"]["url"] for sample in inside})
        listed.append(tar)
        for sample in inside:
            samples.append({**sample, "new": texts[sample["json"]["url"]]["output"]})
    same("wids-meta.json: tars", listed, export.tars)
    for what, sample, row in export.pairs("wids-meta.json", samples, "__key__"):
        same(f"{what}: recaption", sample["new"], row["text"])
    # What else reads the tars gets the original, where there is one.
    export.expected = [{**row, "txt": row["original"] or row["text"]} for row in export.expected]
    read_tars(export)


def read_llava(export):
    """The list by `datasets`; the pictures are files beside it."""
    ways = {
        "datasets, told that it is JSON":
            load("json", data_files=str(export.folder / "data.json")),
        "datasets": load(str(export.folder)),
    }
    for way, found in ways.items():
        keyed = ({**sample, "key": pathlib.Path(sample["image"]).stem} for sample in found)
        for what, sample, row in export.pairs(way, keyed, "key"):
            same(f"{what}: id", sample["id"], row["id"])
            check_turns(what, sample["conversations"], row)
            data = (export.folder / sample["image"]).read_bytes()
            check_bytes(what, data, row)
            check_pixels(what, PIL.Image.open(io.BytesIO(data)), row)


def read_hf(export):
    """Parquet whose column `image` holds pictures."""
    import datasets
    found = load(str(export.folder))
    same("hf: image", type(found.features["image"]), datasets.Image)
    pictures = undecoded(found, "image")
    for what, sample, row in export.pairs("datasets", found, "key"):
        check_pixels(what, sample.pop("image"), row)
        check_bytes(what, next(pictures), row)
        check_members(what, sample, row)
        same(f"{what}: text", sample["text"], row["text"])
        check_turns(what, sample["conversations"], row)


READERS = {
    "webdataset": read_webdataset,
    "vila": read_vila,
    "llava": read_llava,
    "energon": read_energon,
    "hf": read_hf,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--expected", required=True, type=pathlib.Path)
    parser.add_argument("--scratch", required=True, type=pathlib.Path)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    go_offline(arguments.scratch.resolve())
    rows = [json.loads(line) for line in arguments.expected.read_text().splitlines()]
    for folder in arguments.folders:
        export = Export(folder.resolve(), rows)
        READERS[export.format](export)
        print(f"{folder.name}: {len(export.expected)} samples")


if __name__ == "__main__":
    main()
