"""Writes baseline JPEGs of layouts that Pillow does not write: components in scans of their own, in
any order, of any sampling, under any ids and colour markers. Tables are those of ITU-T T.81, K.3."""
import numpy as np

ZIGZAG = np.array(sorted(range(64), key=lambda n: (n // 8 + n % 8, (n // 8) if (n // 8 + n % 8) % 2 else (n % 8))))
# how many codes of each length, and what they stand for
DC = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]), bytes(range(12))
AC = bytes([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D]), bytes.fromhex(
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a"
    "3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a929394"
    "95969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8"
    "e9eaf1f2f3f4f5f6f7f8f9fa"
)
STEP = 4  # of every coefficient
COSINE = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (np.sqrt(1 / 8) if u == 0 else 0.5) for x in range(8)] for u in range(8)])


def codes(table):
    lengths, symbols = table
    code, at, out = 0, 0, {}
    for length, count in enumerate(lengths, 1):
        for _ in range(count):
            out[symbols[at]] = format(code, f"0{length}b")
            code, at = code + 1, at + 1
        code <<= 1
    return out


DC_CODES, AC_CODES = codes(DC), codes(AC)


def segment(marker, data):
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def magnitude(value):
    size = int(abs(value)).bit_length()
    return size, format(value if value > 0 else value + (1 << size) - 1, f"0{size}b") if size else ""


def block_bits(block, before):
    out = []
    size, bits = magnitude(block[0] - before)
    out += [DC_CODES[size], bits]
    zeros = 0
    last = max((n for n in range(64) if block[n]), default=0)
    for n in range(1, last + 1):
        if block[n] == 0:
            zeros += 1
            continue
        while zeros > 15:
            out.append(AC_CODES[0xF0])
            zeros -= 16
        size, bits = magnitude(block[n])
        out += [AC_CODES[zeros << 4 | size], bits]
        zeros = 0
    if last < 63:
        out.append(AC_CODES[0])
    return "".join(out)


def blocks(plane):
    """Quantised blocks in zigzag order, rows × columns × 64."""
    h, w = plane.shape
    tiles = (plane - 128.0).reshape(h // 8, 8, w // 8, 8).swapaxes(1, 2)
    frequencies = np.einsum("ux,rcxy,vy->rcuv", COSINE, tiles, COSINE)
    return (frequencies / STEP).round().astype(int).reshape(h // 8, w // 8, 64)[..., ZIGZAG]


def jpeg(planes, sampling, scans, ids=None, head=b""):
    """A file of full-size `planes` (H × W, 0 to 255), the (horizontal, vertical) sampling factors of
    each, and scans as lists of components. `head`: segments in front."""
    ids = ids or list(range(1, len(planes) + 1))
    height, width = planes[0].shape
    hmax, vmax = (max(s[i] for s in sampling) for i in (0, 1))
    columns, rows = -(-width // (8 * hmax)), -(-height // (8 * vmax))
    coded, own = [], []
    for plane, (h, v) in zip(planes, sampling):
        # whole units of the largest factors, then the mean of what one sample stands for
        padded = np.pad(plane.astype(float), ((0, rows * 8 * vmax - height), (0, columns * 8 * hmax - width)), "edge")
        y = np.repeat(padded, v, 0).reshape(rows * 8 * v, vmax, -1).mean(1)
        x = np.repeat(y, h, 1).reshape(rows * 8 * v, columns * 8 * h, hmax).mean(2)
        coded.append(blocks(x))
        own.append((-(-(-(-height * v // vmax)) // 8), -(-(-(-width * h // hmax)) // 8)))
    out = b"\xff\xd8" + head + segment(0xDB, bytes([0] + [STEP] * 64))
    parts = b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(ids, sampling))
    out += segment(0xC0, bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)]) + parts)
    out += segment(0xC4, b"\x00" + DC[0] + DC[1]) + segment(0xC4, b"\x10" + AC[0] + AC[1])
    for scan in scans:
        out += segment(0xDA, bytes([len(scan)]) + b"".join(bytes([ids[c], 0]) for c in scan) + bytes([0, 63, 0]))
        before, bits = dict.fromkeys(scan, 0), []

        def add(component, row, column):
            block = coded[component][row, column]
            bits.append(block_bits(block, before[component]))
            before[component] = block[0]

        if len(scan) == 1:  # a scan of one component has its own blocks only
            for row in range(own[scan[0]][0]):
                for column in range(own[scan[0]][1]):
                    add(scan[0], row, column)
        else:
            for row in range(rows):
                for column in range(columns):
                    for c in scan:
                        h, v = sampling[c]
                        for y in range(v):
                            for x in range(h):
                                add(c, row * v + y, column * h + x)
        text = "".join(bits)
        text += "1" * (-len(text) % 8)
        data = int(text, 2).to_bytes(len(text) // 8, "big")
        out += data.replace(b"\xff", b"\xff\x00")
    return out + b"\xff\xd9"


def adobe(transform):
    return segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00" + bytes([transform]))


JFIF = segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
