"""A second implementation of Chancery's formats, from their specification in docs/formats alone.

Standard library and `cryptography`; shares no code with the service. As a program it verifies a log's
directory from its files, opens its records with the keys of a tenant's month, or checks a receipt:

    chancery_formats.py verify DIRECTORY [SECRETS_IN_HEX]
    chancery_formats.py receipt FILE RECEIPT_KEY_IN_HEX

The result is one JSON object on standard output; a log or receipt that does not hold ends with status 1.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import struct
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Refused(Exception):
    """The bytes are not what the format says."""


def require(holds, what):
    if not holds:
        raise Refused(what)


# --- Labels ---------------------------------------------------------------------------------------------

LABELS = {
    name: b"chancery/" + name.lower().replace("_", "-").encode() + b"/v1\0"
    for name in (
        "ANSWER_KEY AUDIT_BODY_KEY AUDIT_FIELD_COMMITMENT AUDIT_GROUP_COMMITMENT AUDIT_OPERATION_ID "
        "AUDIT_PRUNED AUDIT_PSEUDONYM AUDIT_SEED_KEY BOUND_FRAME COSE_CONTEXT HANDLE_HOLDER_PROOF HANDLE_LINK "
        "HANDLE_REVOCATION_ID HANDLE_ROOT LOG_ID LTHASH_ROW RECEIPT_HEAD ROW_KEY TRUST_BUNDLE"
    ).split()
}

# --- Primitives -----------------------------------------------------------------------------------------


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def keyed_hash(key, label, parts):
    return mac(key, label, *(struct.pack(">I", len(part)) + part for part in parts))


def hkdf_sha512(key, salt, info, length):
    return HKDF(hashes.SHA512(), length, salt or None, info).derive(key)


def keystream(key, length):
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return cipher.update(bytes(length)) + cipher.finalize()


def gcm_open(key, nonce, data, sealed):
    try:
        return AESGCM(key).decrypt(nonce, sealed, data)
    except InvalidTag:
        raise Refused("the ciphertext does not authenticate") from None


def ed25519_sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def ed25519_public(seed):
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed25519_verify(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        raise Refused("the signature does not hold") from None


def _crc_row(row):
    for _ in range(8):
        row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)
    return row


_CRC32C = [_crc_row(row) for row in range(256)]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return struct.pack(">I", crc ^ 0xFFFFFFFF)


# --- Canonical CBOR: arrays, unsigned integers, byte strings, text, and null for what is absent ----------


def _head(major, number):
    for limit, code, form in ((1 << 8, 24, ">B"), (1 << 16, 25, ">H"), (1 << 32, 26, ">I"), (1 << 64, 27, ">Q")):
        if number < 24:
            return bytes([major << 5 | number])
        if number < limit:
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise Refused("a number takes more than 64 bits")


def cbor(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    return _head(4, len(value)) + b"".join(map(cbor, value))


def _parse(data, at):
    require(at < len(data), "CBOR is cut")
    major, number, at = data[at] >> 5, data[at] & 31, at + 1
    if (major, number) == (7, 22):
        return None, at
    if major == 7 and number in (20, 21):
        return number == 21, at
    if number > 23:
        require(number < 28, "CBOR of indefinite length")
        size = 1 << number - 24
        require(at + size <= len(data), "CBOR is cut")
        number, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 0:
        return number, at
    if major in (2, 3):
        require(at + number <= len(data), "CBOR is cut")
        part = data[at : at + number]
        return (part if major == 2 else part.decode()), at + number
    require(major == 4 and number <= len(data), "CBOR of another type")
    values = []
    for _ in range(number):
        value, at = _parse(data, at)
        values.append(value)
    return values, at


def uncbor(data):
    """Decodes, encodes again and compares: whatever is accepted has one encoding."""
    value, end = _parse(data, 0)
    require(end == len(data) and cbor(value) == data, "not canonical CBOR")
    return value


# --- Handles --------------------------------------------------------------------------------------------


def mint(key_id, key, root):
    encoded = cbor(root)
    return cbor([1, key_id, encoded, [], mac(key, LABELS["HANDLE_ROOT"], encoded)])


def narrow(handle, caveats):
    version, key_id, root, links, tag = uncbor(handle)
    for caveat in map(cbor, caveats):
        links, tag = links + [caveat], mac(tag, LABELS["HANDLE_LINK"], caveat)
    return cbor([version, key_id, root, links, tag])


def open_handle(handle, keys):
    """The root, the caveats and the names of the links, if the chain holds."""
    version, key_id, root, links, last = uncbor(handle)
    require(version == 1 and key_id in keys and len(links) <= 16 and len(handle) <= 4096, "not a handle")
    tag = mac(keys[key_id], LABELS["HANDLE_ROOT"], root)
    names = [uncbor(root)[0]]
    for caveat in links:
        require(uncbor(caveat)[0] in (1, 2, 3, 4, 5), "an unknown caveat")
        tag = mac(tag, LABELS["HANDLE_LINK"], caveat)
        names.append(mac(tag, LABELS["HANDLE_REVOCATION_ID"])[:16])
    require(hmac.compare_digest(tag, last), "the chain does not hold")
    return uncbor(root), [uncbor(caveat) for caveat in links], names


# --- Signatures of commands (RFC 9421, 2.5) --------------------------------------------------------------


def uuid(data):
    return "-".join((data.hex()[:8], data.hex()[8:12], data.hex()[12:16], data.hex()[16:20], data.hex()[20:]))


def command_base(method, path, command, principal, operation, created, expires):
    digest = base64.b64encode(sha256(command)).decode()
    components = '("@method" "@path" "idempotency-key" "chancery-command-digest")'
    parameters = (
        f'{components};created={created};expires={expires};keyid="{uuid(principal)}";alg="ed25519";tag="chancery"'
    )
    return (
        f'"@method": {method}\n"@path": {path}\n"idempotency-key": {uuid(operation)}\n'
        f'"chancery-command-digest": sha-256=:{digest}:\n"@signature-params": {parameters}'
    ).encode()


# --- Sealed rows and their digest ------------------------------------------------------------------------


def _row_parts(tenant, name, version, epoch, salt, key):
    header = struct.pack(">BQIQ", 1, version, *epoch)
    material = hkdf_sha512(key, salt, LABELS["ROW_KEY"], 44)
    data = tenant + struct.pack(">H", len(name)) + name + header
    return header, AESGCM(material[:32]), material[32:], data


def seal_row(key, tenant, name, version, epoch, salt, row):
    header, cipher, nonce, data = _row_parts(tenant, name, version, epoch, salt, key)
    return header + salt + cipher.encrypt(nonce, row, data)


def open_row(key, tenant, name, version, epoch, sealed):
    header, cipher, nonce, data = _row_parts(tenant, name, version, epoch, sealed[21:53], key)
    require(sealed[:21] == header, "the row stands in another place")
    try:
        return cipher.decrypt(nonce, sealed[53:], data)
    except InvalidTag:
        raise Refused("the row does not open") from None


def rows_digest(key, rows):
    """The sum over (name, version, tag), lane by lane, modulo 2^16."""
    lanes = [0] * 1024
    for name, version, tag in rows:
        seed = keyed_hash(key, LABELS["LTHASH_ROW"], [name, struct.pack(">Q", version), tag])
        added = struct.unpack(">1024H", keystream(seed, 2048))
        lanes = [(lane + more) & 0xFFFF for lane, more in zip(lanes, added)]
    return struct.pack(">1024H", *lanes)


# --- The tree (RFC 6962, 2.1) ----------------------------------------------------------------------------


def _block(head):
    require(len(head) <= 4092, "a block is longer than 4 KiB")
    padded = head + bytes(4092 - len(head))
    return padded + crc32c(padded)


def journal_header(log_id, generation):
    return _block(b"CHYRED1\n" + log_id + struct.pack(">Q", generation))


def journal_entry(generation, number, alive_ms, request):
    return _block(b"CHYREDE\n" + struct.pack(">QIIQ", generation, number, len(request), alive_ms) + request)


def read_journal(log_id, blocks):
    """The entries of the generation that counts; `blocks` are those from the start that are not zero."""
    numbers = [struct.unpack(">Q", block[40:48])[0] for block in blocks[:2]]
    headers = [one for one, block in zip(numbers, blocks) if block == journal_header(log_id, one)]
    require(headers, "no header is whole")
    generation, entries = max(headers), []
    for number, block in enumerate(blocks[2:]):
        of, place, length, accepted = struct.unpack(">QIIQ", block[8:32])
        request = block[32 : 32 + length]
        if block != journal_entry(of, place, accepted, request) or (of, place) != (generation, number):
            require(of < generation or not block.startswith(b"CHYREDE"), "an entry is out of its place")
            break
        entries.append((accepted, request))
    return entries


def leaf_hash(data):
    return sha256(b"\0", data)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def _split(count):
    return 1 << (count - 1).bit_length() - 1


def tree_root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    half = _split(len(leaves))
    return node_hash(tree_root(leaves[:half]), tree_root(leaves[half:]))


def tree_path(leaves, index):
    if len(leaves) < 2:
        return []
    half = _split(len(leaves))
    if index < half:
        return tree_path(leaves[:half], index) + [tree_root(leaves[half:])]
    return tree_path(leaves[half:], index - half) + [tree_root(leaves[:half])]


def root_by_path(leaf, index, size, path):
    """RFC 9162, 2.1.3.2, from the top down."""
    require(index < size, "the leaf is not in the tree")
    if size == 1:
        require(not path, "the path is too long")
        return leaf
    require(path, "the path is too short")
    half = _split(size)
    if index < half:
        return node_hash(root_by_path(leaf, index, half, path[:-1]), path[-1])
    return node_hash(path[-1], root_by_path(leaf, index - half, size - half, path[:-1]))


class Frontier:
    """The roots of the complete subtrees of a growing tree, the largest first."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def append(self, leaf):
        size = self.size
        while size & 1:
            leaf, size = node_hash(self.peaks.pop(), leaf), size >> 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


# --- Records ---------------------------------------------------------------------------------------------


def boot_key(key, log_id, boot_nonce, label):
    return hkdf_sha512(key, log_id + boot_nonce, LABELS[label], 32)


def salts(seed, count):
    stream = keystream(seed, count * 32 + 8)
    return [stream[at : at + 32] for at in range(0, count * 32, 32)], int.from_bytes(stream[count * 32 :], "big")


def commit_field(group, field, salt, value):
    return sha256(LABELS["AUDIT_FIELD_COMMITMENT"], bytes([group, field]), salt, struct.pack(">I", len(value)), value)


def commit_group(group, salt, value):
    return sha256(LABELS["AUDIT_GROUP_COMMITMENT"], bytes([group]), salt, struct.pack(">I", len(value)), value)


def commit_payload(seed, payload):
    (message, output, context, group), _ = salts(seed, 4)
    fields = [commit_field(5, at, salt, value) for at, (salt, value) in enumerate(zip((message, output, context), payload))]
    return commit_group(5, group, cbor(fields))


class MonthKeys:
    """The keys of one tenant and month, for one start: from 160 bytes of secrets."""

    def __init__(self, secrets, log_id, boot_nonce):
        parts = [secrets[at : at + 32] for at in range(0, 160, 32)]
        self.boot = log_id + boot_nonce
        self.bodies = [boot_key(key, log_id, boot_nonce, "AUDIT_BODY_KEY") for key in parts[:3]]
        self.seeds = [boot_key(key, log_id, boot_nonce, "AUDIT_SEED_KEY") for key in parts[:3]]
        self.pseudonyms = parts[3]
        self.answers = boot_key(parts[4], log_id, boot_nonce, "ANSWER_KEY")

    def pseudonym(self, name_class, name):
        return keyed_hash(self.pseudonyms, LABELS["AUDIT_PSEUDONYM"], [bytes([name_class]), name])[:16]

    def operation(self, principal, operation):
        return keyed_hash(self.pseudonyms, LABELS["AUDIT_OPERATION_ID"], [principal, operation])[:16]

    def seed(self, section, nonce):
        return mac(self.seeds[section - 1], nonce)

    def body_data(self, section, nonce):
        return self.boot + nonce + bytes([section])

    def seal(self, section, nonce, value):
        return AESGCM(self.bodies[section - 1]).encrypt(nonce, cbor(value), self.body_data(section, nonce))

    def open(self, section, nonce, sealed):
        return uncbor(gcm_open(self.bodies[section - 1], nonce, self.body_data(section, nonce), sealed))

    def commitments(self, nonce, section, use_index, identity, payload):
        """The commitments of the eight groups, and the section with the identity commitment in it."""
        one, _ = salts(self.seed(1, nonce), 7)
        (identity_salt,), _ = salts(self.seed(2, nonce), 1)
        time, operation, key, actor, authorization, source, build = section
        actor = actor[:3] + [commit_field(3, 3, identity_salt, cbor(identity))]
        groups = [time, operation, [key, use_index], actor, authorization, source, build]
        numbers = (0, 1, 2, 3, 4, 6, 7)
        committed = [commit_group(number, salt, cbor(group)) for number, salt, group in zip(numbers, one, groups)]
        committed.insert(5, commit_payload(self.seed(3, nonce), payload))
        return committed, [time, operation, key, actor, authorization, source, build]

    def open_record(self, item):
        """Opens the three sections and holds them against the root; gives what they say."""
        nonce = item["nonce"]
        section, identity, payload = (self.open(at + 1, nonce, item["sections"][at]) for at in range(3))
        _, mask = salts(self.seed(1, nonce), 7)
        use_index = item["masked_use_index"] ^ mask
        require(section[2][3] == 1 or use_index == 0, "a use that is not counted has an index")
        committed, _ = self.commitments(nonce, section, use_index, identity, payload)
        leaves = [leaf_hash(commitment) for commitment in committed]
        require(tree_root(leaves) == item["root"], "the record is not what its leaf commits to")
        record = {"section": section, "use_index": use_index, "identity": identity, "payload": payload}
        return record | {"payload_path": tree_path(leaves, 5)}

    def open_answer(self, item):
        answer = item["answer"]
        data = item["tenant"] + answer["name"] + answer["digest"] + struct.pack(">Q", answer["id_ms"])
        return gcm_open(self.answers, item["nonce"], data + self.boot[32:] + item["nonce"], answer["sealed"])


def record_leaf(root):
    return cbor([1, 1, root])


# --- Frames and segments ---------------------------------------------------------------------------------

BLOCK = 4096
FRAME_BYTES_MAX, FRAME_RECORDS_MAX = 4 * 1024 * 1024, 8192
RESUME_MAGIC = b"CHYRSM1\n"
_ITEM = ">BBH16s12sQQ32sHHHHI"
_FRAME = ">4sB3sIIQQIIQ16s32s32s32s64s"
_SEGMENT = ">8s32sQQIIQQ32s"


def encode_item(item):
    answer, sections = item["answer"], item["sections"]
    head = struct.pack(
        _ITEM, 1, item["kind"], item["month"], item["tenant"], item["nonce"], item["masked_use_index"],
        item["command"], item["root"], *map(len, sections), 0, len(answer["sealed"]) if answer else 0,
    )  # fmt: skip
    out = head + b"".join(sections)
    if answer:
        out += answer["name"] + answer["digest"] + struct.pack(">Q", answer["id_ms"]) + answer["sealed"]
    return out


class _Cursor:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, length):
        require(self.at + length <= len(self.data), "the bytes end early")
        self.at += length
        return self.data[self.at - length : self.at]


def _decode_item(cursor):
    fields = struct.unpack(_ITEM, cursor.take(92))
    version, kind, month, tenant, nonce, masked, command, root, one, two, three, zero, sealed = fields
    require(version == 1 and kind in (1, 2, 3, 4, 5) and zero == 0, "not an item")
    sections, answer = [cursor.take(length) for length in (one, two, three)], None
    if sealed:
        name, digest, id_ms = struct.unpack(">32s32sQ", cursor.take(72))
        answer = {"name": name, "digest": digest, "id_ms": id_ms, "sealed": cursor.take(sealed)}
    return {
        "kind": kind, "month": month, "tenant": tenant, "nonce": nonce, "masked_use_index": masked,
        "command": command, "root": root, "sections": sections, "answer": answer,
    }  # fmt: skip


def encode_frame(frame):
    body = b"".join(map(encode_item, frame["items"]))
    length = 224 + len(body) + 4
    head = struct.pack(
        _FRAME, b"CHYF", 1, bytes(3), length, frame["incarnation"], frame["number"], frame["first_index"],
        len(frame["items"]), 0, frame["unix_ms"], frame["boot_nonce"], frame["previous_hash"],
        frame["tree_root"], frame["frame_root"], frame["previous_signature"],
    )  # fmt: skip
    return head + body + crc32c(head + body)


def decode_frame(data, at):
    """The frame at `at`, and its bytes without padding. Refuses whatever it would not itself have written."""
    fields = struct.unpack(_FRAME, _Cursor(data, at).take(224))
    magic, version, zeros, length, incarnation, number, first, count, zero, unix_ms = fields[:10]
    require((magic, version, zeros, zero) == (b"CHYF", 1, bytes(3), 0), "not a frame")
    require(228 <= length <= FRAME_BYTES_MAX and count <= FRAME_RECORDS_MAX, "a frame of no such size")
    whole = _Cursor(data, at).take(-(-length // BLOCK) * BLOCK)
    used = whole[:length]
    require(crc32c(used[:-4]) == used[-4:] and not any(whole[length:]), "a frame's checksum or padding")
    cursor = _Cursor(used[:-4], 224)
    frame = dict(
        zip(("boot_nonce", "previous_hash", "tree_root", "frame_root", "previous_signature"), fields[10:]),
        incarnation=incarnation, number=number, first_index=first, unix_ms=unix_ms,
        items=[_decode_item(cursor) for _ in range(count)],
    )  # fmt: skip
    require(cursor.at == len(used) - 4, "a frame with more than its records")
    return frame, used


def frame_head(frame, log_id):
    size = frame["first_index"] + len(frame["items"])
    numbers = struct.pack(">IQQQ", frame["incarnation"], frame["number"], frame["first_index"], size)
    return log_id + numbers + frame["tree_root"] + frame["frame_root"]


def encode_segment_header(log_id, number, size, incarnation, first_frame, previous_hash, frontier):
    peaks = frontier.peaks
    head = struct.pack(
        _SEGMENT, b"CHYSEG1\n", log_id, number, size, incarnation, len(peaks), first_frame, frontier.size, previous_hash
    )
    head = (head + b"".join(peaks)).ljust(BLOCK - 4, b"\0")
    return head + crc32c(head)


def _checked(row):
    require(crc32c(row[:-4]) == row[-4:], "a checksum of a dense segment")
    return row[:-4]


def pack_dense(segment):
    """The dense form of a closed segment."""
    first, at, rows, bundles = struct.unpack(">Q", segment[72:80])[0], BLOCK, [], []
    index = first
    while at < len(segment) and any(segment[at:]):
        frame, used = decode_frame(segment, at)
        row = struct.pack(">I", at // BLOCK) + used[:224] + used[-4:]
        rows.append(row + crc32c(row))
        for item in frame["items"]:
            if not bundles or index % 256 == 0:
                bundles.append((index, b""))
            bundles[-1] = (bundles[-1][0], bundles[-1][1] + encode_item(item))
            index += 1
        at += -(-len(used) // BLOCK) * BLOCK
    offset, table = BLOCK + 236 * len(rows) + 24 * len(bundles), b""
    for start, items in bundles:
        row = struct.pack(">QQI", start, offset, len(items) + 4)
        table += row + crc32c(row)
        offset += len(items) + 4
    head = b"CHYDNS1\n" + segment[8:2160] + struct.pack(">QIIQ", len(segment), len(rows), len(bundles), offset)
    head = head.ljust(BLOCK - 4, b"\0")
    return head + crc32c(head) + b"".join(rows) + table + b"".join(items + crc32c(items) for _, items in bundles)


def expand_dense(dense):
    """The segment that a dense form is of."""
    head = _checked(dense[:BLOCK])
    length, frames, bundles, whole = struct.unpack(">QIIQ", head[2160:2184])
    require(head[:8] == b"CHYDNS1\n" and not any(head[2184:]) and whole == len(dense), "a dense segment's head")
    cursor, items = _Cursor(dense, BLOCK), b""
    rows = [_checked(cursor.take(236)) for _ in range(frames)]
    places = [struct.unpack(">QQI", _checked(cursor.take(24))) for _ in range(bundles)]
    for _, offset, size in places:
        require(offset == cursor.at, "a bundle where none is")
        items += _checked(cursor.take(size))
    require(cursor.at == len(dense), "a dense segment with more than its bundles")
    header = b"CHYSEG1\n" + head[8:2160] + bytes(BLOCK - 4 - 2160)
    out, cursor = header + crc32c(header), _Cursor(items)
    for row in rows:
        block, used = struct.unpack(">I", row[:4])[0], struct.unpack(">I", row[12:16])[0]
        require(block * BLOCK == len(out) and used >= 228, "a frame where none is")
        out += (row[4:228] + cursor.take(used - 228) + row[228:]).ljust(-(-used // BLOCK) * BLOCK, b"\0")
    require(cursor.at == len(items) and len(out) <= length, "records of no frame")
    out = out.ljust(length, b"\0")
    require(pack_dense(out) == dense, "a dense segment that would be written otherwise")
    return out


def origin_name(log_id):
    return "chancery.log/" + base64.b32encode(log_id).decode().lower()[:26]


def encode_origin(receipt_key):
    log_id = sha256(LABELS["LOG_ID"], receipt_key)
    lines = ("chancery audit origin 1", origin_name(log_id), log_id.hex(), receipt_key.hex())
    return "".join(line + "\n" for line in lines).encode()


def read_pruned(data, log_id, receipt_key):
    """What a note says of the segments that were pruned, if the log's service has signed it."""
    names = ("chancery", "segments", "size", "root", "head", "hash", "latest", "entry", "at", "location", "signature")
    lines = data.decode().split("\n")
    require(len(lines) == len(names) + 1 and lines[-1] == "", "not a note of pruned segments")
    fields = dict(zip(names, (line.partition(" ") for line in lines)))
    require(all(name == said for name, (said, _, _) in fields.items()), "not a note of pruned segments")
    value = {name: rest for name, (_, _, rest) in fields.items()}
    require(value["chancery"] == "audit pruned 1", "a note of another version")
    signed = LABELS["AUDIT_PRUNED"] + data[: data.rindex(b"signature ")]
    ed25519_verify(receipt_key, bytes.fromhex(value["signature"]), signed)
    head = bytes.fromhex(value["head"])
    require(head[:32] == log_id, "a note of another log")
    incarnation, number = struct.unpack(">IQ", head[32:44])
    return {
        "segments": int(value["segments"]), "size": int(value["size"]), "root": bytes.fromhex(value["root"]),
        "head": head, "incarnation": incarnation, "frames": number + 1, "hash": bytes.fromhex(value["hash"]),
    }  # fmt: skip


class Log:
    """A log, verified as it is read from its files."""

    def __init__(self, files):
        require("origin" in files, "the origin is missing")
        lines = files["origin"].split(b"\n")
        require(len(lines) == 5 and re.fullmatch(rb"[0-9a-f]{64}", lines[3]), "not an origin")
        self.receipt_key = bytes.fromhex(lines[3].decode())
        require(encode_origin(self.receipt_key) == files["origin"], "not an origin")
        self.log_id = sha256(LABELS["LOG_ID"], self.receipt_key)
        self.files, self.frames, self.frontier, self.torn = files, [], Frontier(), None
        self.previous_hash, self.incarnation, self.signatures, self.command = bytes(32), 0, 0, 0
        self.begun, self.head, self.last_incarnation, self.gone, self.base = [], None, 0, 0, 0
        if "pruned" in files:
            self._begin_behind(read_pruned(files["pruned"], self.log_id, self.receipt_key))
        self._list()
        for number, name in enumerate(self.segments, self.gone):
            self._segment(number, self._read(name), number + 1 == self.gone + len(self.segments))
        self._check_kept()
        require(not any(files.get("spare", b"")), "the spare is not empty")
        for name in ("resume", "resume.base"):
            resume = files.get(name, RESUME_MAGIC + crc32c(RESUME_MAGIC))
            whole = resume.startswith(RESUME_MAGIC) and crc32c(resume[:-4]) == resume[-4:]
            require(whole, "the resume file is altered")

    def _begin_behind(self, pruned):
        """Goes on where the note says that the log was pruned: with the tree in the header of the segment behind."""
        self.gone, self.base, self.head = pruned["segments"], pruned["frames"], pruned["head"]
        self.previous_hash, self.incarnation = pruned["hash"], pruned["incarnation"]
        self.last_incarnation = pruned["incarnation"]
        header = self._read(f"{self.gone:016x}.seg")[:BLOCK]
        count = struct.unpack(">I", header[60:64])[0]
        self.frontier.size = struct.unpack(">Q", header[72:80])[0]
        self.frontier.peaks = [header[112 + 32 * at : 144 + 32 * at] for at in range(count)]
        is_it = (self.frontier.size, self.frontier.root()) == (pruned["size"], pruned["root"])
        require(is_it, "the segment does not go on where the log was pruned")

    def _next(self):
        return self.base + len(self.frames)

    def _list(self):
        single = r"origin|pruned|resume|resume\.base|spare|torn-[0-9a-f]{16}-[0-9a-f]{64}\.bin"
        for name in self.files:
            known = rf"({single}|[0-9a-f]{{16}}\.dense)(\.new)?|[0-9a-f]{{16}}\.seg"
            require(re.fullmatch(known, name), f"{name} is no file of the log")
        named = (re.fullmatch(r"([0-9a-f]{16})\.(seg|dense)", name) for name in self.files)
        self.segments = sorted({f"{name[1]}.seg" for name in named if name and int(name[1], 16) >= self.gone})
        wanted = [f"{self.gone + at:016x}.seg" for at in range(len(self.segments))]
        require(self.segments == wanted, "a segment is missing")

    def _read(self, name):
        dense = self.files.get(name.replace(".seg", ".dense"))
        expanded = expand_dense(dense) if dense is not None else None
        require(expanded is None or self.files.get(name, expanded) == expanded, "two forms of a segment that differ")
        return self.files[name] if expanded is None else expanded

    def _segment(self, number, data, is_last):
        require(len(data) >= BLOCK, "a segment without a header")
        size, incarnation = struct.unpack(">QI", data[48:60])
        header = encode_segment_header(
            self.log_id, number, size, incarnation, self._next(), self.previous_hash, self.frontier
        )
        require(data[:BLOCK] == header and incarnation >= self.last_incarnation, "a segment's header does not continue the log")
        self.incarnation, at = incarnation, BLOCK
        while at < len(data):
            try:
                frame, used = decode_frame(data, at)
            except Refused:
                break
            self._frame(frame, used)
            at += -(-len(used) // BLOCK) * BLOCK
        rest = data[at:].rstrip(b"\0")
        if not rest:
            return require(len(data) in (size, at), "a segment was cut")
        require(is_last and len(rest) <= FRAME_BYTES_MAX, "a frame is altered, and others follow")
        for later in range(at + BLOCK, len(data), BLOCK):
            try:
                require(decode_frame(data, later)[0]["number"] < self._next(), "a later frame follows a bad one")
            except Refused as refused:
                if "later" in str(refused):
                    raise
        self.torn = (self.segments[number - self.gone], at, rest)

    def _frame(self, frame, used):
        numbers = (frame["number"], frame["previous_hash"], frame["incarnation"], frame["first_index"])
        expected = (self._next(), self.previous_hash, self.incarnation, self.frontier.size)
        require(numbers == expected and frame["items"], "a frame does not follow the one before it")
        step = frame["incarnation"] - self.last_incarnation
        require(step in (0, 1), "an incarnation was left out")
        if step:
            self.begun.append(frame["number"])
        leaves = [leaf_hash(record_leaf(item["root"])) for item in frame["items"]]
        for leaf in leaves:
            self.frontier.append(leaf)
        require((frame["tree_root"], frame["frame_root"]) == (self.frontier.root(), tree_root(leaves)), "a frame's roots")
        if self.head is None:
            require(frame["previous_signature"] == bytes(64), "a signature of nothing")
        else:
            signed = LABELS["RECEIPT_HEAD"] + self.head
            ed25519_verify(self.receipt_key, frame["previous_signature"], signed)
            self.signatures += 1
        for item in frame["items"]:
            require(item["command"] == 0 or item["command"] > self.command, "a command out of order")
            self.command = max(self.command, item["command"])
        self.previous_hash = sha256(used)
        self.head, self.last_incarnation = frame_head(frame, self.log_id), frame["incarnation"]
        self.frames.append(frame)

    def _check_kept(self):
        wanted = set(self.begun) | ({self._next()} if self.incarnation > self.last_incarnation else set())
        kept = [name for name in self.files if name.startswith("torn-") and name.endswith(".bin")]
        for name in kept:
            frame = int(name[5:21], 16)
            require(name[22:86] == sha256(self.files[name]).hex(), "a kept torn end is altered")
            require(frame < self.base or frame in self.begun or frame == self._next(), "a torn end of no frame")
            wanted.discard(frame)
        require(not wanted, "a torn end is missing")
        self.kept = len(kept)

    def report(self):
        return {
            "origin": origin_name(self.log_id), "frames": self._next(), "size": self.frontier.size,
            "root": self.frontier.root().hex(), "signatures": self.signatures, "kept": self.kept,
            "incarnation": self.last_incarnation,
            "torn": [self.torn[0], self.torn[1]] if self.torn else None,
        }  # fmt: skip

    def records(self, secrets):
        for frame in self.frames:
            keys = MonthKeys(secrets, self.log_id, frame["boot_nonce"])
            for item in frame["items"]:
                record = keys.open_record(item)
                record["answer"] = keys.open_answer(item) if item["answer"] else None
                yield record


# --- Receipts --------------------------------------------------------------------------------------------


def make_receipt(frame, log_id, receipt_seed, position, keys):
    head = frame_head(frame, log_id)
    item = frame["items"][position]
    record = keys.open_record(item)
    path = tree_path([leaf_hash(record_leaf(each["root"])) for each in frame["items"]], position)
    signature = ed25519_sign(receipt_seed, LABELS["RECEIPT_HEAD"] + head)
    seed = keys.seed(3, item["nonce"])
    return cbor([1, head, signature, position, path, seed, record["payload"], record["payload_path"]])


def check_receipt(receipt, receipt_key):
    """The record's index in the log, and the payload, if the receipt holds."""
    values = uncbor(receipt)
    require(isinstance(values, list) and len(values) == 8 and values[0] == 1, "not a receipt")
    _, head, signature, position, path, seed, payload, payload_path = values
    require(len(head) == 124 and len(payload) == len(payload_path) == 3, "not a receipt")
    ed25519_verify(receipt_key, signature, LABELS["RECEIPT_HEAD"] + head)
    first, size = struct.unpack(">QQ", head[44:60])
    root = root_by_path(leaf_hash(commit_payload(seed, payload)), 5, 8, payload_path)
    leaf = leaf_hash(record_leaf(root))
    require(root_by_path(leaf, position, size - first, path) == head[92:], "the payload is not under the head")
    return first + position, payload


# --- Frames between front and signer ---------------------------------------------------------------------


def encode_message(kind, tag, body):
    return struct.pack(">BBHIQ", 1, kind, 0, len(body), tag) + body


def decode_messages(stream):
    messages = []
    while stream:
        require(len(stream) >= 16, "a header is cut")
        version, kind, zero, length, tag = struct.unpack(">BBHIQ", stream[:16])
        require((version, zero) == (1, 0) and 1 <= kind <= 10 and length <= 2 << 20, "not a header")
        require(len(stream) >= 16 + length, "a body is cut")
        messages.append((kind, tag, stream[16 : 16 + length]))
        stream = stream[16 + length :]
    return messages


# --- Trust bundles (docs/formats/trust-bundle.md) --------------------------------------------------------

ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
# Keys that sign, of what is here read: Ed25519, in the table of suites.
ED25519 = 1
VERIFYING_STATES = (0, 1, 3)


def bundle_head(tenant, number, entries, revoked, previous, made, floors, signer):
    """The head over entries, of which the last so many are revoked versions."""
    root = tree_root([leaf_hash(entry) for entry in entries])
    return cbor([
        tenant, number, [number[0], number[1] + 10], previous, made, 60_000, 14_400_000, made + 86_400_000, 1,
        len(entries) - revoked, revoked, False, root, sum(map(len, entries)), floors,
        [[ED25519, ED25519_SPKI + ed25519_public(signer)]],
    ])  # fmt: skip


def sign_bundle(head, seed):
    name = sha256(ED25519_SPKI + ed25519_public(seed))
    return cbor([1, head, [[name, ed25519_sign(seed, LABELS["TRUST_BUNDLE"] + head)]]])


def bundle_file(signed, entries):
    return cbor([1, signed, entries])


def bundle_pins(publics, threshold):
    lines = [f"ed25519 {base64.b64encode(ED25519_SPKI + public).decode()}\n" for public in publics]
    return f"chancery bundle pins v1\nthreshold {threshold}\n" + "".join(lines)


def open_bundle(data, pinned, threshold):
    """The head, the keys by name, and the revoked versions, if all of it holds."""
    version, signed, entries = uncbor(data)
    signed_version, head, signatures = uncbor(signed)
    require((version, signed_version) == (1, 1), "another form")
    have = 0
    for public in set(pinned):
        name = sha256(ED25519_SPKI + public)
        for signer, signature in signatures:
            try:
                if signer == name:
                    ed25519_verify(public, signature, LABELS["TRUST_BUNDLE"] + head)
                    have += 1
                    break
            except Refused:
                continue
    require(have >= threshold, "too few signatures")
    fields = uncbor(head)
    keys, revoked = fields[9], fields[10]
    require(len(entries) == keys + revoked and sum(map(len, entries)) == fields[13], "not all entries")
    require(tree_root([leaf_hash(entry) for entry in entries]) == fields[12], "another root")
    parsed = [uncbor(entry) for entry in entries]
    require([kind for kind, _ in parsed] == [0] * keys + [1] * revoked, "another order")
    listed = [entry[0] for _, entry in parsed[:keys]]
    require([key[0] for key in listed] == sorted({key[0] for key in listed}), "another order of keys")
    compromised = [[key[0], version[0]] for key in listed for version in key[5] if version[3] == 4]
    require([entry[0] for _, entry in parsed[keys:]] == compromised, "another revoked set")
    return fields, {key[1]: key for key in listed}, compromised


def verify_raw(bundle, name, purpose, scope, message, signature, now):
    """The versions of a key of plain bytes whose signature it is."""
    fields, keys, revoked = bundle
    require(now < fields[7] and not fields[11] and name in keys, "not now, or no such key")
    key = keys[name]
    require((key[2], key[3]) == (purpose, scope), "another purpose or scope")
    for version in key[5]:
        usable = version[3] in VERIFYING_STATES and not version[4] and [key[0], version[0]] not in revoked
        if usable and version[1] == ED25519:
            try:
                ed25519_verify(version[2][len(ED25519_SPKI) :], signature, message)
                return version[0]
            except Refused:
                continue
    raise Refused("no version has signed this")


# --- The program -----------------------------------------------------------------------------------------


def _plain(value):
    return value.hex() if isinstance(value, bytes) else [_plain(each) for each in value] if isinstance(value, list) else value


def read_directory(directory):
    files = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            files[name] = file.read()
    return files


def main(arguments):
    if arguments[0] == "verify":
        log = Log(read_directory(arguments[1]))
        result = log.report()
        if len(arguments) > 2:
            records = log.records(bytes.fromhex(arguments[2]))
            result["records"] = [{name: _plain(value) for name, value in record.items()} for record in records]
    else:
        with open(arguments[1], "rb") as file:
            index, payload = check_receipt(file.read(), bytes.fromhex(arguments[2]))
        result = {"index": index, "payload": _plain(payload)}
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Refused, ValueError, TypeError) as refused:
        sys.exit(f"refused: {refused}")
