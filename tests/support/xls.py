"""Old .xls workbooks made by hand, since no maintained library writes them (MS-CFB, MS-XLS)."""

import struct

FREE, END, FAT_SECTOR, MORE_FAT_SECTOR = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC
SECTOR, MINI, CUTOFF = 512, 64, 4096


def make_compound_file(streams):
    """Return a compound file of version 3; small streams go to the mini stream."""
    sectors, fat, mini, mini_fat, places = [], [], b"", [], {}

    def add_chain(content):
        first = len(sectors)
        pieces = [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]
        for number, piece in enumerate(pieces, start=first + 1):
            sectors.append(piece.ljust(SECTOR, b"\0"))
            fat.append(END if number == first + len(pieces) else number)
        return first if pieces else END

    for name, content in streams.items():
        if len(content) >= CUTOFF:
            places[name] = add_chain(content)
            continue
        places[name] = len(mini_fat) if content else END
        blocks = -(-len(content) // MINI)
        mini += content.ljust(blocks * MINI, b"\0")
        start = len(mini_fat)
        mini_fat += [*range(start + 1, start + blocks), END][:blocks]
    mini_first = add_chain(mini)
    mini_fat_first = add_chain(struct.pack(f"<{len(mini_fat)}I", *mini_fat))
    entries = b""
    names = ["Root Entry", *streams]
    for position, name in enumerate(names):
        text = name.encode("utf-16-le") + b"\0\0"
        is_root = position == 0
        child = 1 if is_root and streams else FREE
        right = position + 1 if 0 < position < len(streams) else FREE
        first, size = (mini_first, len(mini)) if is_root else (places[name], len(streams[name]))
        entries += text.ljust(64, b"\0") + struct.pack(
            "<HBBIII36sIQ", len(text), 5 if is_root else 2, 1, FREE, right, child, b"", first, size
        )
    directory = add_chain(entries + b"\0" * (-len(entries) % SECTOR))
    fat_sectors, more = 1, 0
    while (len(sectors) + fat_sectors + more) * 4 > fat_sectors * SECTOR:
        fat_sectors += 1
        more = max(0, -(-(fat_sectors - 109) // 127))
    where = list(range(len(sectors), len(sectors) + fat_sectors))
    first_more = len(sectors) + fat_sectors
    fat += [FAT_SECTOR] * fat_sectors + [MORE_FAT_SECTOR] * more
    table = struct.pack(f"<{len(fat)}I", *fat)
    table += b"\xff" * (fat_sectors * SECTOR - len(table))
    for number in range(more):
        listed = where[109 + 127 * number : 109 + 127 * (number + 1)]
        following = first_more + number + 1 if number + 1 < more else END
        table += struct.pack("<128I", *listed, *[FREE] * (127 - len(listed)), following)
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"", 0, fat_sectors,
        directory, 0, CUTOFF, mini_fat_first, bool(mini_fat), first_more if more else END, more,
    )  # fmt: skip
    header += struct.pack("<109I", *where[:109], *[FREE] * (109 - len(where)))
    return header + b"".join(sectors) + table


def record(number, body=b""):
    """Return a BIFF record."""
    return struct.pack("<HH", number, len(body)) + body


def label(row, column, text):
    """Return a LABEL record of BIFF8."""
    return record(
        0x0204, struct.pack("<HHHHB", row, column, 0, len(text), 1) + text.encode("utf-16-le")
    )


def number(row, column, value):
    """Return a NUMBER record."""
    return record(0x0203, struct.pack("<HHHd", row, column, 0, value))


def make_xls(sheets, *, before=b""):
    """Return a workbook; ``sheets`` maps names to rows or to the records of the sheet.

    ``before`` goes where a password would be asked for. A name that begins with ``!`` is hidden.
    """
    start = record(0x0809, struct.pack("<HHHHII", 0x0600, 5, 0, 0, 0, 6)) + before
    start += record(0x0042, struct.pack("<H", 1200))
    bodies = []
    for content in sheets.values():
        cells = content
        if not isinstance(content, bytes):
            cells = b"".join(
                label(at, position, cell) if isinstance(cell, str) else number(at, position, cell)
                for at, row in enumerate(content)
                for position, cell in enumerate(row)
            )
        begin = record(0x0809, struct.pack("<HHHHII", 0x0600, 0x10, 0, 0, 0, 6))
        bodies.append(begin + cells + record(0x000A))
    names = [(name.lstrip("!").encode("utf-16-le"), name.startswith("!")) for name in sheets]
    position = len(start) + sum(12 + len(name) for name, _ in names) + 4
    for (name, hidden), body in zip(names, bodies, strict=True):
        about = struct.pack("<IBBBB", position, hidden, 0, len(name) // 2, 1)
        start += record(0x0085, about + name)
        position += len(body)
    return make_compound_file({"Workbook": start + record(0x000A) + b"".join(bodies)})
