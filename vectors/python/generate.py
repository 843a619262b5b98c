"""Writes the vectors beside this directory, with the second implementation and nothing else.

    python3 vectors/python/generate.py [DIRECTORY]

Everything is fixed, so that a second run writes the same bytes. Whatever is listed as refused is refused
here first.
"""

import json
import pathlib
import sys

import chancery_formats as formats
import jws_json
import proofs
import signatures
from chancery_formats import LABELS, cbor, sha256

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
NOW = 1_800_000_000_000
TENANT, KEY, PRINCIPAL, HANDLE = bytes([1] * 16), bytes([7] * 16), bytes([5] * 16), bytes([9] * 16)
SCOPE = ["production", "eu-west", "billing"]
# Uses of an AES key: encrypt, decrypt, rewrap.
OPERATIONS = 1 << 4 | 1 << 5 | 1 << 9


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def assert_refused(fault, check, *arguments):
    try:
        check(*arguments)
    except (formats.Refused, ValueError):
        return
    raise AssertionError(f"not refused: {fault}")


def write(name, value):
    text = json.dumps(plain(value), indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n")


def canonical_cbor():
    accepted = [
        ("number", n) for n in (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1)
    ] + [
        ("numbers", []),
        ("numbers", [1, 1000, 1000000]),
        ("id", bytes(range(16))),
        ("context", [["customer", "7"], ["invoice", "é"]]),
        ("context", []),
    ]
    refused = [
        ("number", "a longer form of one byte", "1805"),
        ("number", "a longer form of two bytes", "190017"),
        ("number", "a longer form of four bytes", "1a0000ffff"),
        ("number", "a longer form of eight bytes", "1b00000000ffffffff"),
        ("number", "a negative number", "20"),
        ("number", "a float", "f90000"),
        ("number", "a tag", "c100"),
        ("number", "trailing bytes", "0505"),
        ("number", "no bytes", ""),
        ("numbers", "an array of indefinite length", "9f0102ff"),
        ("numbers", "an array that is cut", "830102"),
        ("numbers", "a longer form of a length", "98020102"),
        ("numbers", "a map", "a10102"),
        ("id", "a byte too few", "4f" + "00" * 15),
        ("id", "a byte too many", "51" + "00" * 17),
        ("id", "text instead of bytes", "70" + "61" * 16),
        ("id", "chunks of indefinite length", "5f48" + "00" * 8 + "48" + "00" * 8 + "ff"),
        ("context", "another order", cbor([["b", "2"], ["a", "1"]]).hex()),
        ("context", "a name twice", cbor([["a", "1"], ["a", "2"]]).hex()),
        ("context", "an empty name", cbor([["", "1"]]).hex()),
        ("context", "a control character", cbor([["a", "\n"]]).hex()),
        ("context", "a pair of three", cbor([["a", "1", "2"]]).hex()),
    ]
    for kind, fault, data in refused:
        # What makes bytes a context or an id is more than canonical CBOR.
        if kind in ("number", "numbers"):
            assert_refused(fault, formats.uncbor, bytes.fromhex(data))
    write("cbor", {
        "accepted": [{"type": kind, "value": value, "bytes": cbor(value)} for kind, value in accepted],
        "refused": [{"type": kind, "fault": fault, "bytes": data} for kind, fault, data in refused],
    })  # fmt: skip


def handles():
    key = bytes(range(32))
    root = [
        HANDLE, TENANT, KEY, "encrypt.aead:card-number", PRINCIPAL, bytes([6] * 16), [0, 3], NOW,
        NOW + 3_600_000, OPERATIONS,
    ]  # fmt: skip
    caveats = [
        [1, [NOW + 60_000]], [2, [1 << 4]], [3, [["customer", "7"]]], [4, [bytes([3] * 32)]],
        [5, [12, bytes([8] * 16)]],
    ]  # fmt: skip
    minted = formats.mint(1, key, root)
    narrowed = formats.narrow(minted, caveats)
    version, key_id, encoded, links, tag = formats.uncbor(narrowed)
    _, _, _, _, root_tag = formats.uncbor(minted)
    unknown = cbor([99, [1]])
    unknown_tag = formats.mac(root_tag, LABELS["HANDLE_LINK"], unknown)
    refused = {
        "the last caveat dropped": [version, key_id, encoded, links[:-1], tag],
        "two caveats exchanged": [version, key_id, encoded, [links[1], links[0], *links[2:]], tag],
        "every caveat dropped": [version, key_id, encoded, [], tag],
        "another handle key": [version, 2, encoded, links, tag],
        "another version": [2, key_id, encoded, links, tag],
        "an unknown caveat under a valid tag": [version, key_id, encoded, [unknown], unknown_tag],
        "the first tag under the label of links": [
            version, key_id, encoded, [], formats.mac(key, LABELS["HANDLE_LINK"], encoded),
        ],
    }  # fmt: skip
    for fault, chain in refused.items():
        assert_refused(fault, formats.open_handle, cbor(chain), {1: key})
    _, _, names = formats.open_handle(narrowed, {1: key})
    write("handles", {
        "key_id": 1, "key": key, "root": root, "root_bytes": cbor(root), "minted": minted,
        "caveats": [cbor(caveat) for caveat in caveats], "narrowed": narrowed, "links": names,
        "refused": [{"fault": fault, "bytes": cbor(chain)} for fault, chain in refused.items()],
    })  # fmt: skip


def commands():
    seed = bytes([42] * 32)
    new_key = ["invoices", "sign.bound:invoice", 1, SCOPE, False]
    newcomer = [0, ["ada", 3, bytes([3] * 32)]]
    everything = [1, [[[3, [682, 683, bytes([4] * 32)]], bytes([3] * 32)]]]
    # Name, kind, bounds in ms, stages; of a stage: name, share, mode, accept, where, times, samples, paths, acknowledged,
    # triggers, what happens on deadline, without data, inconclusively, who ends it.
    trigger = [2, 0, 1000, 60_000, None, 300_000, 1, 0]
    bounds = [300_000, 900_000, 0, 86_400_000, 600_000, 3_600_000, 31_622_400_000]
    full = [4, 1_000_000, 2, 0, [[], ["eu"], []], 60_000, 3_600_000, 299, 3, 1_000_000, [trigger], 1, 1, 0, 1]
    publish = [0, 0, 0, 0, [[], [], []], 300_000, 2_592_000_000, 0, 0, 0, [], 0, 1, 1, 0]
    plan = ["mine", 0, bounds, [publish, full]]
    encoded = [
        ("POST", "/v1/keys", [1, [new_key]]),
        ("POST", "/v1/keys", [1, [[*new_key[:4], True]]]),
        ("POST", "/v1/keys/import", [2, [new_key, bytes([4] * 16), b"sealed"]]),
        ("POST", "/v1/keys/invoices/suspend", [3, ["invoices", None, 1]]),
        ("POST", "/v1/keys/invoices/compromise", [3, ["invoices", 2, 4]]),
        ("POST", "/v1/keys/invoices/destroy", [4, ["invoices", 1]]),
        ("POST", "/v1/keys/invoices/cancel-destroy", [5, ["invoices", 1]]),
        ("POST", "/v1/handles", [6, [["invoices", 3, 60_000, [["customer", "7"]], b""]]]),
        ("POST", "/v1/handles", [6, [["invoices", 3, 60_000, [], bytes([3] * 32), PRINCIPAL]]]),
        ("POST", "/v1/handles", [6, [["invoices", 3, 60_000, [], b"", None, 12]]]),
        ("POST", "/v1/handles/revoke", [7, [HANDLE]]),
        ("POST", "/v1/keys/invoices/revoke-handles", [8, ["invoices"]]),
        ("POST", "/v1/principals", [9, ["ada", 1, bytes([3] * 32)]]),
        ("POST", "/v1/imports", [10, []]),
        ("POST", "/v1/principals/05050505-0505-0505-0505-050505050505/revoke-handles", [12, [PRINCIPAL]]),
        ("POST", "/v1/audit/count", [13, ["invoices", 2]]),
        ("POST", "/v1/audit/disclose", [14, [[[0, [682, 683]], bytes([3] * 32)]]]),
        ("POST", "/v1/audit/disclose", [14, [[[1, [[1, 300]]], bytes([3] * 32)]]]),
        ("POST", "/v1/audit/disclose", [14, [[[3, [682, 683, bytes([4] * 32)]], bytes([3] * 32)]]]),
        ("POST", "/v1/audit/prune", [15, [[3, bytes([5] * 32), "s3://audit/logs"]]]),
        ("POST", "/v1/proposals", [17, [newcomer, 86_400_000]]),
        ("POST", "/v1/proposals", [17, [everything, 86_400_000]]),
        ("POST", f"/v1/proposals/{formats.uuid(HANDLE)}/approve", [18, [HANDLE, everything]]),
        ("POST", f"/v1/proposals/{formats.uuid(HANDLE)}/withdraw", [19, [HANDLE]]),
        ("POST", f"/v1/proposals/{formats.uuid(HANDLE)}/carry-out", [20, [HANDLE, newcomer]]),
        ("POST", "/v1/posture/approvals", [21, [2]]),
        ("POST", "/v1/keys/invoices/rotate", [22, [["invoices", plan, 2005]]]),
        ("POST", "/v1/keys/invoices/rotate", [22, [["invoices", plan, 2004, 9]]]),
        ("POST", "/v1/keys/invoices/rotate", [22, [["invoices", plan, 2006, None, 3]]]),
        ("POST", f"/v1/rollouts/{formats.uuid(HANDLE)}/rollback", [23, [HANDLE, [3, []]]]),
        ("POST", f"/v1/rollouts/{formats.uuid(HANDLE)}/override", [23, [HANDLE, [5, [1]]]]),
        ("POST", "/v1/verifiers", [24, [[PRINCIPAL, ["invoices"]]]]),
        ("POST", f"/v1/verifiers/{formats.uuid(PRINCIPAL)}/remove", [25, [PRINCIPAL]]),
        ("GET", "/v1/keys", [32, []]),
        ("GET", "/v1/keys", [32, ["invoices"]]),
        ("GET", "/v1/keys/invoices", [33, ["invoices"]]),
        ("GET", "/v1/status", [34, []]),
        ("GET", f"/v1/operations/{formats.uuid(HANDLE)}", [35, [HANDLE]]),
        ("POST", "/v1/audit/query", [36, [["invoices", None, 1, None, None, 100]]]),
        ("POST", "/v1/store/inspect", [37, [TENANT]]),
        ("POST", "/v1/audit/frames", [39, [300, 7]]),
        ("GET", "/v1/proposals", [40, []]),
        ("GET", "/v1/rollouts", [41, ["invoices"]]),
        ("GET", f"/v1/rollouts/{formats.uuid(HANDLE)}", [42, [HANDLE]]),
        ("POST", "/v1/verifiers/report", [43, [[[0, 2], [0, 9], bytes([4] * 32), 3, 7, [[KEY, 1, 300, 1, 0]]]]]),
        ("GET", "/v1/verifiers", [44, []]),
    ]
    signed = []
    for number, (method, path, command) in enumerate(encoded):
        operation = bytes([number + 1] * 16)
        made = NOW // 1000 + number
        base = formats.command_base(method, path, cbor(command), PRINCIPAL, operation, made, made + 60)
        signature = formats.ed25519_sign(seed, base)
        formats.ed25519_verify(formats.ed25519_public(seed), signature, base)
        signed.append({
            "method": method, "path": path, "command": cbor(command), "operation": operation,
            "created": made, "expires": made + 60, "base": base.decode(),
            "signature": signature,
        })  # fmt: skip
    write("commands", {"principal": PRINCIPAL, "public": formats.ed25519_public(seed), "signed": signed})


def rows():
    key, digest_key = bytes(range(32, 64)), bytes(range(64, 96))
    sealed, marks = [], []
    for number, (name, row) in enumerate([(b"a", b""), (TENANT + b"\x02" + KEY, b"row"), (b"n" * 128, b"x" * 1000)]):
        salt, version, epoch = bytes([number + 1] * 32), number + 1, [number, 2**40 + number]
        data = formats.seal_row(key, TENANT, name, version, epoch, salt, row)
        assert formats.open_row(key, TENANT, name, version, epoch, data) == row
        assert_refused("another name", formats.open_row, key, TENANT, name + b"x", version, epoch, data)
        sealed.append({"name": name, "version": version, "epoch": epoch, "salt": salt, "row": row, "sealed": data})
        marks.append((name, version, data[-16:]))
    digests = [sha256(formats.rows_digest(digest_key, marks[:count])) for count in range(len(marks) + 1)]
    write("rows", {
        "key": key, "tenant": TENANT, "sealed": sealed, "digest_key": digest_key,
        "sha256_of_digests": digests, "first_lanes": formats.rows_digest(digest_key, marks)[:32],
    })  # fmt: skip


class Writer:
    """Writes a log of three segments: frames, a torn end kept, an incarnation."""

    secrets = bytes(number // 32 + 1 for number in range(160))
    seed = bytes([7] * 32)

    def __init__(self):
        self.receipt_key = formats.ed25519_public(self.seed)
        self.log_id = sha256(LABELS["LOG_ID"], self.receipt_key)
        self.keys = formats.MonthKeys(self.secrets, self.log_id, bytes([9] * 16))
        self.files = {"origin": formats.encode_origin(self.receipt_key)}
        self.frontier, self.previous_hash, self.previous_signature = formats.Frontier(), bytes(32), bytes(64)
        self.incarnation = self.frames = self.counter = self.uses = self.link_uses = self.commands = 0
        self.receipts = []

    def begin(self, blocks):
        number = len([name for name in self.files if name.endswith(".seg")])
        self.segment, self.room = f"{number:016x}.seg", blocks * formats.BLOCK
        self.files[self.segment] = formats.encode_segment_header(
            self.log_id, number, self.room, self.incarnation, self.frames, self.previous_hash, self.frontier
        )

    def item(self):
        counter, self.counter = self.counter, self.counter + 1
        turn, byte, nonce = counter % 4, counter % 200 + 1, (3).to_bytes(4, "big") + counter.to_bytes(8, "big")
        counted, is_command, of_link = int(turn in (0, 2)), turn == 3, counter % 8 == 2
        use_index = (self.link_uses if of_link else self.uses) if counted else 0
        self.link_uses, self.uses = self.link_uses + of_link, self.uses + (counted and not of_link)
        self.commands += is_command
        pseudonym = self.keys.pseudonym
        section = [
            [NOW + counter, 0, bytes([9] * 16), 3, counter],
            [2 if is_command else 5 if of_link else 1, int(is_command), 1, int(turn == 1), 5 if turn == 1 else 0, 10,
             self.keys.operation(PRINCIPAL, bytes([byte] * 16)), 0],
            [pseudonym(1, TENANT), pseudonym(2, KEY) if counted else bytes(16), counted, counted, counted],
            [pseudonym(3, PRINCIPAL), 1, pseudonym(4, HANDLE), bytes(32)],
            [bytes(32), 0, 0, 4, bytes([byte] * 32) if is_command else bytes(32)],
            [pseudonym(5, bytes(16)), 0],
            [bytes([6] * 32), bytes([8] * 32)],
        ]  # fmt: skip
        identity, payload = [PRINCIPAL, HANDLE], [bytes([byte + at] * 32) for at in range(3)]
        committed, section = self.keys.commitments(nonce, section, use_index, identity, payload)
        _, mask = formats.salts(self.keys.seed(1, nonce), 7)
        answer = None
        if turn == 2:
            answer = {"name": bytes([11] * 32), "digest": bytes([12] * 32), "id_ms": NOW}
            data = TENANT + answer["name"] + answer["digest"] + NOW.to_bytes(8, "big") + bytes([9] * 16) + nonce
            answer["sealed"] = formats.AESGCM(self.keys.answers).encrypt(nonce, b"answer", data)
        return {
            "kind": section[1][0], "month": 684, "tenant": TENANT, "nonce": nonce,
            "masked_use_index": use_index ^ mask, "command": self.commands if is_command else 0,
            "root": formats.tree_root([formats.leaf_hash(one) for one in committed]),
            "sections": [self.keys.seal(at + 1, nonce, each) for at, each in enumerate((section, identity, payload))],
            "answer": answer,
        }  # fmt: skip

    def frame(self, count):
        items = [self.item() for _ in range(count)]
        leaves = [formats.leaf_hash(formats.record_leaf(item["root"])) for item in items]
        frame = {
            "incarnation": self.incarnation, "number": self.frames, "first_index": self.frontier.size,
            "unix_ms": NOW, "boot_nonce": bytes([9] * 16), "previous_hash": self.previous_hash,
            "frame_root": formats.tree_root(leaves), "previous_signature": self.previous_signature,
            "items": items,
        }  # fmt: skip
        for leaf in leaves:
            self.frontier.append(leaf)
        frame["tree_root"] = self.frontier.root()
        used = formats.encode_frame(frame)
        self.previous_hash = sha256(used)
        head = LABELS["RECEIPT_HEAD"] + formats.frame_head(frame, self.log_id)
        self.previous_signature = formats.ed25519_sign(self.seed, head)
        self.frames += 1
        self.files[self.segment] += used.ljust(-(-len(used) // formats.BLOCK) * formats.BLOCK, b"\0")
        for position in range(count):
            self.receipts.append(formats.make_receipt(frame, self.log_id, self.seed, position, self.keys))

    def tear(self, torn):
        self.files[f"torn-{self.frames:016x}-{sha256(torn).hex()}.bin"] = torn
        self.incarnation += 1

    def preallocate(self):
        self.files[self.segment] = self.files[self.segment].ljust(self.room, b"\0")


def log():
    writer = Writer()
    writer.begin(6)
    for count in (1, 3, 8):
        writer.frame(count)
    writer.tear(b"CHYF and no more")
    writer.begin(4)
    writer.frame(5)
    writer.preallocate()
    writer.begin(8)
    writer.frame(2)
    writer.frame(4)
    writer.preallocate()
    writer.files["spare"] = bytes(formats.BLOCK)
    read = formats.Log(writer.files)
    for index, receipt in enumerate(writer.receipts):
        assert formats.check_receipt(receipt, writer.receipt_key)[0] == index
    files = {name: {"length": len(data), "bytes": data.rstrip(b"\0")} for name, data in writer.files.items()}
    write("log", {
        "secrets": writer.secrets, "receipt_key": writer.receipt_key, "files": files,
        "report": read.report(), "records": list(read.records(writer.secrets)), "receipts": writer.receipts,
    })  # fmt: skip
    dense_segments(writer.files)


def dense_segments(files):
    """The closed segments of the log in their dense form, and what is none."""
    dense = {}
    for number in range(2):
        segment = files[f"{number:016x}.seg"]
        packed = formats.pack_dense(segment)
        assert formats.expand_dense(packed) == segment
        for at in (3, 2161, 4100, len(packed) - 1):
            altered = bytearray(packed)
            altered[at] ^= 1
            assert_refused(f"byte {at}", formats.expand_dense, bytes(altered))
        dense[f"{number:016x}.dense"] = packed
    write("dense", dense)


def messages():
    bodies = [(1, 1, cbor([b"handle", 0, 0, [], []])), (7, 2**64 - 1, cbor([b""])), (6, 0, b"")]
    stream = b"".join(formats.encode_message(*message) for message in bodies)
    refused = {
        "another version": "0201000000000000" + "00" * 8,
        "a reserved byte": "0101000100000000" + "00" * 8,
        "kind 0": "0100000000000000" + "00" * 8,
        "kind 11": "010b000000000000" + "00" * 8,
        "a kind of sealed sessions": "0120000000000000" + "00" * 8,
        "a body of 2 MiB and one byte": "0101000000200001" + "00" * 8,
    }
    for fault, header in refused.items():
        assert_refused(fault, formats.decode_messages, bytes.fromhex(header))
    assert formats.decode_messages(stream) == bodies
    write("messages", {
        "stream": stream,
        "messages": [{"kind": kind, "tag": str(tag), "body": body} for kind, tag, body in bodies],
        "refused": [{"fault": fault, "header": header} for fault, header in refused.items()],
    })  # fmt: skip


def bundles():
    """A bundle of two keys, one version of which is revoked, and what is none."""
    seed, stranger = bytes([51] * 32), bytes([52] * 32)
    signing = {version: bytes([60 + version] * 32) for version in (1, 2, 3)}
    public = {version: formats.ED25519_SPKI + formats.ed25519_public(signing[version]) for version in signing}

    def entry(key_id, name, versions):
        listed = [[number, 1, public[number], state, False, [0, 3], [0, 4]] for number, state in versions]
        # A version that was published and has not signed yet has no epoch from which on it may.
        listed = [version if version[3] else version[:6] for version in listed]
        return cbor([0, [[key_id, name, "sign.raw:x", SCOPE, 0, listed]]])

    first = entry(KEY, "invoices", [(1, 4), (2, 1), (3, 0)])
    second = entry(HANDLE, "other", [(1, 3)])
    revoked = cbor([1, [[KEY, 1]]])
    entries = [first, second, revoked]
    number, made = [0, 7], NOW

    def signed(entries, revoked=1, signer=seed, floors=(1, 128)):
        head = formats.bundle_head(TENANT, number, entries, revoked, bytes([3] * 32), made, list(floors), seed)
        return head, formats.bundle_file(formats.sign_bundle(head, signer), entries)

    head, data = signed(entries)
    pinned = [formats.ed25519_public(seed)]
    opened = formats.open_bundle(data, pinned, 1)
    verified = []
    for version, holds in ((1, False), (2, True), (3, True)):
        signature = formats.ed25519_sign(signing[version], b"message")
        asked = (opened, "invoices", "sign.raw:x", SCOPE, b"message", signature, made)
        if holds:
            assert formats.verify_raw(*asked) == version
        else:
            assert_refused(f"version {version}", formats.verify_raw, *asked)
        verified.append({"key": "invoices", "version": version, "signature": signature, "holds": holds})
    head_signed = formats.uncbor(data)[1]
    refused = {
        "another signer": signed(entries, signer=stranger)[1],
        "an entry less": formats.bundle_file(head_signed, entries[:-1]),
        "an entry twice": formats.bundle_file(head_signed, [first, first, second, revoked]),
        "entries in another order": formats.bundle_file(head_signed, [second, first, revoked]),
        "entries that were signed in another order": signed([second, first, revoked])[1],
        "a revoked version that is not said to be": signed(entries[:2], 0)[1],
        "a version that is said to be revoked and is not": signed([*entries, cbor([1, [[KEY, 2]]])], 2)[1],
        "an altered entry": formats.bundle_file(head_signed, [first.replace(b"invoices", b"invoicez"), *entries[1:]]),
        "trailing bytes": data + b"\0",
    }
    for fault, wrong in refused.items():
        assert_refused(fault, formats.open_bundle, wrong, pinned, 1)
    write("bundles", {
        "pins": formats.bundle_pins(pinned, 1), "digest": sha256(head), "file": data, "scope": SCOPE,
        "purpose": "sign.raw:x", "message": b"message", "now_ms": made, "verified": verified,
        "refused": [{"fault": fault, "file": wrong} for fault, wrong in refused.items()],
    })  # fmt: skip


def journal():
    log_id = bytes([8] * 32)
    entries = [(NOW, b"one"), (NOW + 1, bytes([7] * 4060)), (NOW + 2, b"three")]
    # A generation that was recorded, and the next, shorter one over it.
    first = [formats.journal_entry(0, number, *entry) for number, entry in enumerate(entries)]
    second = [formats.journal_entry(1, 0, *entries[2])]
    blocks = [formats.journal_header(log_id, 0), formats.journal_header(log_id, 1), *second, *first[1:]]
    assert formats.read_journal(log_id, blocks) == [entries[2]]
    assert formats.read_journal(log_id, [blocks[0], bytes(4096), *first]) == entries
    write("journal", {
        "log_id": log_id,
        "entries": [{"alive_ms": accepted, "request": request} for accepted, request in entries],
        "first": [blocks[0].hex(), bytes(4096).hex(), *(block.hex() for block in first)],
        "second": [block.hex() for block in blocks],
    })  # fmt: skip


def primitives():
    write("primitives", {
        "crc32c": [{"data": data, "checksum": formats.crc32c(data)} for data in (b"", b"123456789", bytes(32))],
        "trees": [
            {
                "size": size,
                "root": formats.tree_root(leaves := [formats.leaf_hash(bytes([at])) for at in range(size)]),
                "paths": [formats.tree_path(leaves, index) for index in range(size)],
            }
            for size in range(1, 18)
        ],
        "labels": {name: label.decode() for name, label in LABELS.items()},
    })  # fmt: skip


if __name__ == "__main__":
    for part in (primitives, canonical_cbor, handles, commands, rows, log, bundles, journal, messages):
        part()
    write("proofs", proofs.vectors())
    write("signatures", signatures.vectors())
    write("jws_json", jws_json.vectors())
