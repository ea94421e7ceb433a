"""Write the licences of everything that is linked into the program, as one text on stdout.

    python deploy/licences.py > THIRD-PARTY.txt

The crates are those that `cargo metadata` resolves for Linux on x86-64, tests left out; their texts, and those of the C
libraries that some of them carry, are read from the sources that cargo fetched.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"
NAMED = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?$|licenses\.txt$", re.IGNORECASE)
# Sources and markup that only happen to be called so.
PASSED_OVER = {".rs", ".c", ".h", ".py", ".pl", ".pm", ".pod", ".html", ".json", ".toml", ".yml", ".yaml", ".tmpl"}
DEPTH = 4


def linked(metadata: dict) -> list:
    """The packages of the registry that the program is built of, build scripts' own among them: some of those are
    the sources of C libraries."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    start = next(p["id"] for p in metadata["packages"] if p["name"] == "vila2" and p["source"] is None)
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for dependency in nodes[node]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found = (packages[node] for node in seen if packages[node]["source"] is not None)
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def texts(package: dict) -> list:
    """The files of a package that hold licences, by path."""
    root = Path(package["manifest_path"]).parent
    named = Path(package["license_file"]) if package["license_file"] else None
    found = {root / named} if named and (root / named).is_file() else set()
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if len(inside.parts) <= DEPTH and NAMED.match(path.name) and path.suffix not in PASSED_OVER and path.is_file():
            found.add(path)
    return sorted(found)


def main() -> None:
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    packages = linked(metadata)
    holders, unnamed = defaultdict(list), []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        own = texts(package)
        for path in own:
            inside = path.relative_to(Path(package["manifest_path"]).parent)
            holders[path.read_text(errors="replace").strip()].append(f"{name}: {inside}")
        if not own:
            unnamed.append(name)
        if not own and not package["license"]:
            sys.exit(f"{name}: says no licence and holds no text of one")
    print("What is linked into the program, with the licence each part states; the texts follow.\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}")
    print(f"\nWithout a text of their own, under what they state: {', '.join(unnamed) or 'none'}.")
    for text, names in sorted(holders.items(), key=lambda item: item[1]):
        print(f"\n{'=' * 100}\n{chr(10).join(names)}\n{'-' * 100}\n{text}")


if __name__ == "__main__":
    main()
