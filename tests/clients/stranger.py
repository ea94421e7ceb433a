"""A client that knows the contract and nothing else of vila2.

Serves pictures and worse over HTTP, publishes requests with confluent-kafka, reads captions and dead
letters back while `vila2 run` works, and compares every record, key and header with what the contract
says. Exits with 1 and the differences where there are any.

    stranger.py --brokers HOST:PORT --pictures DIR --schemas DIR
"""

import argparse
import functools
import hashlib
import http.server
import json
import pathlib
import re
import struct
import sys
import threading
import time
import uuid
import zlib

import confluent_kafka
import jsonschema

PATIENCE = 120.0
TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
CAPTION_HEADERS = {"content-type", "traceparent", "vila2-id", "vila2-source", "vila2-dedup"}
DEAD_HEADERS = {
    "vila2-stage", "vila2-reason", "vila2-detail", "vila2-attempts", "vila2-source", "traceparent",
}
STAGES = {"fetch", "decode", "caption", "ground", "relate", "read_text", "merge"}


def sha256(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def png_header(width, height):
    """A PNG that claims a size and holds next to no pixels."""
    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


class Site(http.server.BaseHTTPRequestHandler):
    """Pictures by name, and pages that are no good."""

    def __init__(self, pictures, *arguments):
        self.pictures = pictures
        super().__init__(*arguments)

    def do_GET(self):
        name = self.path.lstrip("/")
        picture = next(iter(self.pictures.values()))
        if name in self.pictures:
            self.answer(200, self.pictures[name])
        elif name == "page.html":
            self.answer(200, b"<!doctype html><p>no picture</p>", {"Content-Type": "image/jpeg"})
        elif name == "half":
            whole = next(body for file, body in self.pictures.items() if file.endswith(".jpg"))
            self.answer(200, whole[: len(whole) // 2])
        elif name == "huge":
            self.answer(200, png_header(60_000, 60_000))
        elif name == "long":
            self.answer(200, b"\0" * 3_000_000)
        elif name == "no-ai":
            self.answer(200, picture, {"X-Robots-Tag": "noai"})
        elif name == "inwards":
            self.answer(302, b"", {"Location": "http://169.254.169.254/latest/meta-data"})
        elif name == "slow":
            time.sleep(6)
        else:
            self.answer(404, b"nothing here")

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # too much for the other side

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that hangs up is what some of the cases are about


def requests(site, names):
    """Every request: key, value, headers, and what is to come back."""
    url = [f"{site}/{name}" for name in names]
    trace, bad_trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "ab" * 16, "00f067aa0ba902b7"
    parent = [("traceparent", f"00-{trace}-{span}-01".encode()), ("tracestate", b"shop=7,x=y")]

    def good(file, **expected):
        return {"caption": True, "file": file, **expected}

    def dead(reason, stage, detail="", id=None, **expected):
        return {"reason": reason, "stage": stage, "detail": detail, "id": id, **expected}

    full = {
        "url": url[3], "id": "naïve-✓", "caption": "a red thing", "round": 2,
        "options": {"prompt": "Describe this image in detail.", "max_tokens": 3},
        "meta": {"b": [1, None, "ü"], "a": {"deep": 0.1}},
    }
    unknown = {"url": url[0], "capton": "x", "options": {}, "Round": 1}

    def packed(value):
        return json.dumps(value, ensure_ascii=False).encode()

    def failing(name, reason, stage, detail=""):
        address = f"{site}/{name}"
        return (b"k", address.encode(), [], dead(reason, stage, detail, sha256(address)))

    return [
        (None, url[0].encode(), [], good(names[0], id=sha256(url[0]))),
        (b"\xff\x00\xfe", b"  " + url[1].encode() + b"\n", [], good(names[1], id=sha256(url[1]))),
        (b"shard-3", url[2].encode(),
         [("traceparent", b"\xff\xfe"), ("blob", b"\x80\x00"), ("empty", b""), ("none", None)],
         good(names[2], id=sha256(url[2]))),
        (b"shard-3", packed(full), parent,
         good(names[3], id="naïve-✓", request=full, trace=trace, state="shop=7,x=y")),
        (b"shard-3", packed({"url": url[4]}), [("traceparent", b"00-nonsense")],
         good(names[4], id=sha256(url[4]), request={"url": url[4]})),
        (b"", packed({"url": url[5], "meta": None}), [],
         good(names[5], id=sha256(url[5]), request={"url": url[5], "meta": None})),
        (b"again", url[0].encode(), [], good(names[0], id=sha256(url[0]))),
        (b"gone", None, [], dead("bad_request", "intake", "empty")),
        (b"blank", b"", [], dead("bad_request", "intake", "empty")),
        (b"\xc3\x28", b"\xff\xfe\xfa not text", [("x", b"\xff")],
         dead("bad_request", "intake", "UTF-8")),
        (None, b"a cat on a mat", parent[:1],
         dead("bad_request", "intake", "not a URL", trace=trace)),
        (b"k", b'{"url": ', [], dead("bad_request", "intake", "JSON")),
        (b"k", packed(unknown), [], dead("bad_request", "intake", "`capton`, `Round`")),
        (b"k", packed({"id": "7"}), [], dead("bad_request", "intake", "`url` is missing")),
        (b"k", packed({"url": url[0], "round": -1}), [], dead("bad_request", "intake", "`round`")),
        (b"k", b"ftp://example.org/a.png", [],
         dead("unsupported_scheme", "fetch", "ftp", sha256("ftp://example.org/a.png"))),
        (b"k", packed({"url": "http://10.0.0.1/a.png", "id": "inner"}),
         [("traceparent", f"00-{bad_trace}-{span}-01".encode()), ("tracestate", b"v=1")],
         dead("blocked_address", "fetch", "10.0.0.1", "inner", trace=bad_trace, state="v=1")),
        failing("inwards", "blocked_address", "fetch", "169.254.169.254"),
        failing("missing.png", "fetch_status", "fetch", "404"),
        failing("page.html", "unsupported_format", "decode"),
        failing("half", "truncated_image", "decode"),
        failing("huge", "too_many_pixels", "decode"),
        failing("long", "too_large", "fetch"),
        failing("no-ai", "opted_out", "fetch", "noai"),
        failing("slow", "fetch_timeout", "fetch"),
    ]


def publish(brokers, cases):
    """Sends all; returns the cases by the source they got: topic/partition/offset."""
    producer = confluent_kafka.Producer({"bootstrap.servers": brokers})
    sources = {}

    def sent(case, error, message):
        if error is not None:
            raise RuntimeError(f"not published: {error}")
        sources[f"{message.topic()}/{message.partition()}/{message.offset()}"] = case

    for case in cases:
        key, value, headers, _ = case
        report = functools.partial(sent, case)
        producer.produce("images", value, key, headers=headers, on_delivery=report)
    if producer.flush(30) != 0 or len(sources) != len(cases):
        raise RuntimeError("not everything was published")
    return sources


def collect(brokers, expected):
    """Reads both outputs until every source has its record, and a little longer."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": brokers,
        "group.id": f"stranger-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
    })
    consumer.subscribe(["captions", "images.dead"])
    found, missing, deadline = [], set(expected), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None:
            if not missing:
                break  # a quiet second: nothing comes after the last
            continue
        if message.error():
            raise RuntimeError(str(message.error()))
        found.append(message)
        missing.discard(dict(message.headers())["vila2-source"].decode())
    consumer.close()
    if missing:
        raise RuntimeError(f"no answer within {PATIENCE} s to {sorted(missing)}")
    return found


class Judge:
    """Compares, and remembers the differences."""

    def __init__(self, schemas, pictures):
        self.pictures, self.faults, self.dedup = pictures, [], {}
        read = lambda name: json.loads((schemas / f"{name}.schema.json").read_text())
        validator = jsonschema.Draft202012Validator
        self.schemas = {name: validator(read(name)) for name in ("caption", "request", "dead_letter")}

    def equal(self, what, found, expected):
        if found != expected:
            self.faults.append(f"{what}: {found!r}, not {expected!r}")

    def true(self, what, holds):
        if not holds:
            self.faults.append(what)

    def valid(self, schema, value, what):
        for error in self.schemas[schema].iter_errors(value):
            self.faults.append(f"{what}: {schema} schema: {error.message}")

    def message(self, message, sources):
        pairs = message.headers()
        headers = {name: value.decode() for name, value in pairs}
        self.equal("repeated headers", len(pairs), len(headers))
        source = headers.get("vila2-source")
        if source not in sources:
            self.faults.append(f"a record of nobody's request: {headers}")
            return
        key, value, _, expected = sources[source]
        what = f"{source} ({value!r})"
        topic = "captions" if expected.get("caption") else "images.dead"
        self.equal(f"{what}: topic", message.topic(), topic)
        trace = TRACEPARENT.match(headers.get("traceparent", ""))
        self.true(f"{what}: traceparent {headers.get('traceparent')!r}", trace)
        if trace and "trace" in expected:
            self.equal(f"{what}: trace id", trace[1], expected["trace"])
        self.equal(f"{what}: tracestate", headers.pop("tracestate", None), expected.get("state"))
        if message.topic() == "captions":
            self.caption(message, headers, expected, what)
        else:
            self.dead_letter(message, headers, key, value, expected, what)

    def caption(self, message, headers, expected, what):
        record = json.loads(message.value())
        request = expected.get("request", {})
        self.valid("caption", record, what)
        self.equal(f"{what}: headers", set(headers), CAPTION_HEADERS)
        self.equal(f"{what}: content-type", headers["content-type"], "application/json")
        self.equal(f"{what}: key", message.key(), expected["id"].encode())
        self.equal(f"{what}: vila2-id", headers["vila2-id"], expected["id"])
        self.equal(f"{what}: id", record["id"], expected["id"])
        self.equal(f"{what}: file", record["url"].rsplit("/", 1)[1], expected["file"])
        self.equal(f"{what}: round", record["round"], request.get("round", 0))
        self.equal(f"{what}: original", record.get("original_caption"), request.get("caption"))
        self.equal(f"{what}: has meta", "meta" in record, "meta" in request)
        self.equal(f"{what}: meta", record.get("meta"), request.get("meta"))
        self.equal(f"{what}: status", record["status"], "complete")
        body = self.pictures[expected["file"]]
        self.equal(f"{what}: sha256", record["image"]["sha256"], sha256(body))
        self.equal(f"{what}: bytes", record["image"]["bytes"], len(body))
        self.equal(f"{what}: timings", set(record["timings_ms"]), STAGES | {"total"})
        self.equal(f"{what}: queues", set(record["queue_ms"]), STAGES)
        options = request.get("options", {})
        if "prompt" in options:
            self.equal(f"{what}: prompt", record["models"]["caption"]["prompt"], options["prompt"])
        if "max_tokens" in options:
            self.equal(f"{what}: tokens", record["caption"]["tokens"], options["max_tokens"])
            self.equal(f"{what}: finish", record["caption"]["finish"], "length")
        self.evidence(record, what)
        # The same picture asked for twice is told by this header; another one never is.
        dedup = headers["vila2-dedup"]
        self.equal(f"{what}: dedup", self.dedup.setdefault(dedup, expected["file"]), expected["file"])

    def evidence(self, record, what):
        width, height = record["image"]["width"], record["image"]["height"]
        for grounding in record["grounding"]:
            x1, y1, x2, y2 = grounding["box"]
            self.true(f"{what}: {grounding}", 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height)
        ids = [one["id"] for part in ("grounding", "text", "spatial") for one in record[part]]
        self.equal(f"{what}: ids", len(ids), len(set(ids)))
        named = [one for clause in record["clauses"] for one in clause["evidence"]]
        named += [one[end] for one in record["spatial"] for end in ("subject", "object")]
        self.true(f"{what}: evidence {named} of {ids}", set(named) <= set(ids))

    def dead_letter(self, message, headers, key, value, expected, what):
        known = {"vila2-id"} if expected["id"] else set()
        self.equal(f"{what}: headers", set(headers), DEAD_HEADERS | known)
        self.equal(f"{what}: key", message.key(), key)
        self.equal(f"{what}: value", message.value(), value)
        self.equal(f"{what}: reason", headers["vila2-reason"], expected["reason"])
        self.equal(f"{what}: stage", headers["vila2-stage"], expected["stage"])
        self.equal(f"{what}: id", headers.get("vila2-id"), expected["id"])
        self.true(f"{what}: attempts {headers['vila2-attempts']}", int(headers["vila2-attempts"]) >= 1)
        detail = headers["vila2-detail"]
        self.true(f"{what}: detail {detail!r}", expected["detail"] in detail and "\n" not in detail)
        text = lambda data: None if data is None else data.decode(errors="replace")
        letter = {"key": text(key), "value": text(value), "headers": headers}
        self.valid("dead_letter", letter, what)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--schemas", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    pictures = {file.name: file.read_bytes() for file in sorted(arguments.pictures.iterdir())}
    server = Server(("127.0.0.1", 0), functools.partial(Site, pictures))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cases = requests(f"http://127.0.0.1:{server.server_port}", list(pictures))

    judge = Judge(arguments.schemas, pictures)
    for _, value, _, expected in cases:
        if "request" in expected:
            judge.valid("request", expected["request"], f"{value!r}")
    sources = publish(arguments.brokers, cases)
    found = collect(arguments.brokers, sources)
    for message in found:
        judge.message(message, sources)
    judge.equal("records", len(found), len(cases))
    judge.equal("different captions", len(judge.dedup), 6)
    for fault in judge.faults:
        print(fault, file=sys.stderr)
    captions = sum(message.topic() == "captions" for message in found)
    print(f"{captions} captions and {len(found) - captions} dead letters, {len(judge.faults)} faults")
    return 1 if judge.faults else 0


if __name__ == "__main__":
    sys.exit(main())
