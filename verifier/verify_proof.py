#!/usr/bin/env python3
"""Checks a proof of a Chancery log with a policy and nothing else: no network, no service, no code of the service.

    verify_proof.py PROOF --policy FILE [--artifact FILE] [--output FILE]

It is written from docs/formats/proof.md, and needs the standard library and `cryptography`. The result is one JSON
object on standard output. Exit codes: 0 it holds, 2 usage, 4 it proves nothing. Signatures of ML-DSA-44 are checked
where `cryptography` can; elsewhere they count for nothing.
"""

import argparse
import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
except ImportError:
    MLDSA44PublicKey = None

GROUPS = ["time", "operation", "key", "actor", "authorization", "payload", "source", "build"]
FIELD_COMMITMENT = b"chancery/audit-field-commitment/v1\0"
GROUP_COMMITMENT = b"chancery/audit-group-commitment/v1\0"
PROOF_BYTES_MAX = 32 * 1024 * 1024
USE, COUNT = 1, 6
MONTHS_NAMED_MAX = 1_200
NAMING = 2
TREE_SIZE_MAX = 2**63 - 1
DEPTH_MAX = 16


class Refused(Exception):
    """The bytes do not prove anything."""


def require(holds, what):
    if not holds:
        raise Refused(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(f"not base64: {error}") from error
    require(base64.b64encode(data).decode() == text, "not canonical base64")
    return data


def decimal(text):
    require(text.isascii() and text.isdigit() and (text == "0" or text[0] != "0"), "not a number")
    require(int(text) <= TREE_SIZE_MAX, "a number too large")
    return int(text)


# --- CBOR: whole numbers, strings, arrays, null, in their one shortest spelling (RFC 8949, 4.2.1) ----------------


def cbor(data):
    value, rest = cbor_item(data, 0)
    require(rest == b"" and to_cbor(value) == data, "not canonical CBOR")
    return value


def cbor_item(data, depth):
    require(data and depth < DEPTH_MAX, "not CBOR")
    if data[0] == 0xF6:
        return None, data[1:]
    major, low, data = data[0] >> 5, data[0] & 31, data[1:]
    if low >= 24:
        require(low <= 27, "not CBOR")
        width = 1 << (low - 24)
        require(len(data) >= width, "not CBOR")
        low, data = int.from_bytes(data[:width], "big"), data[width:]
    if major == 0:
        return low, data
    if major in (2, 3):
        require(len(data) >= low, "not CBOR")
        text = data[:low]
        return (text if major == 2 else text.decode("utf-8", "strict")), data[low:]
    require(major == 4 and low <= len(data), "not CBOR")
    items = []
    for _ in range(low):
        item, data = cbor_item(data, depth + 1)
        items.append(item)
    return items, data


def to_cbor(value):
    def head(major, number):
        if number < 24:
            return bytes([major << 5 | number])
        width = next(width for width in (1, 2, 4, 8) if number < 1 << 8 * width)
        return bytes([major << 5 | 24 + width.bit_length() - 1]) + number.to_bytes(width, "big")

    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(to_cbor, value))


# --- Trees (RFC 9162, 2.1) ---------------------------------------------------------------------------------------


def leaf_hash(leaf):
    return sha256(b"\0", leaf)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def check_inclusion(leaf, index, size, root, path):
    """RFC 9162, 2.1.3.2."""
    require(index < size, "the record lies beyond the tree")
    fn, sn, found = index, size - 1, leaf
    for sibling in path:
        require(sn != 0 and len(sibling) == 32, "the path is too long")
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0 and found == root, "the path does not lead to the root")


def check_consistency(size1, root1, size2, root2, path):
    """RFC 9162, 2.1.4.2."""
    require(0 < size1 <= size2, "the trees are in the other order")
    if size1 == size2:
        require(not path and root1 == root2, "two roots of one size")
        return
    if size1 & (size1 - 1) == 0:
        path = [root1] + path
    require(path and all(len(one) == 32 for one in path), "the proof is too short")
    fn, sn = size1 - 1, size2 - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    one = two = path[0]
    for sibling in path[1:]:
        require(sn != 0, "the proof is too long")
        if fn & 1 or fn == sn:
            one, two = node_hash(sibling, one), node_hash(sibling, two)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            two = node_hash(two, sibling)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0 and one == root1 and two == root2, "the proof leads to other roots")


# --- Notes, policies, checkpoints (C2SP signed-note, tlog-policy, tlog-checkpoint, tlog-cosignature) --------------


class Key:
    def __init__(self, text):
        self.name, key_id, key = text.split("+", 2)
        key = unbase64(key)
        self.kind, self.public = key[0], key[1:]
        self.id = sha256(self.name.encode(), b"\n", key)[:4]
        require(self.id.hex() == key_id, "a verifier key with another id")
        require((self.kind, len(self.public)) in ((1, 32), (4, 32), (6, 1312)), "an unknown kind of key")

    def can_verify(self):
        return self.kind != 6 or MLDSA44PublicKey is not None

    def verify(self, text, checkpoint, signature):
        try:
            if self.kind == 1:
                return Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            require(time < 1 << 63, "a signature of no time")
            if self.kind == 4:
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                return Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            names = [bytes([len(name.encode())]) + name.encode() for name in (self.name, checkpoint["origin"])]
            span = (0).to_bytes(8, "big") + checkpoint["size"].to_bytes(8, "big") + checkpoint["root"]
            message = b"subtree/v1\n\0" + names[0] + time.to_bytes(8, "big") + names[1] + span
            return MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
            raise Refused("a signature by a known key does not verify") from error


class Policy:
    def __init__(self, text):
        self.logs, self.witnesses, self.groups, self.quorum = [], {}, {}, None
        lines = [line.removesuffix("\r").replace("\t", " ").split(" ") for line in text.split("\n")]
        said = [[item for item in items if item] for items in lines]
        said = [items for items in said if items and not items[0].startswith("#")]
        self.digest = sha256("".join(" ".join(items) + "\n" for items in said).encode())
        for items in said:
            if items[0] == "log" and len(items) in (2, 3):
                self.logs.append(Key(items[1]))
            elif items[0] == "witness" and len(items) in (3, 4):
                self.witnesses[self.fresh(items[1])] = Key(items[2])
            elif items[0] == "group" and len(items) > 3:
                members = [self.known(name) for name in items[3:]]
                least = {"all": len(members), "any": 1}.get(items[2]) or decimal(items[2])
                require(1 <= least <= len(members), "a group that asks for none, or too many")
                self.groups[self.fresh(items[1])] = (least, members)
            elif items[0] == "quorum" and len(items) == 2 and self.quorum is None:
                self.quorum = items[1] if items[1] == "none" else self.known(items[1])
            else:
                raise Refused(f"a line of the policy that says nothing: {' '.join(items)}")
        require(self.quorum is not None, "a policy without a quorum")
        publics = [key.public for key in self.logs + list(self.witnesses.values())]
        require(len(set(publics)) == len(publics), "a key stands twice in the policy")

    def fresh(self, name):
        require(name != "none" and name not in self.witnesses and name not in self.groups, "a name is taken")
        return name

    def known(self, name):
        require(name in self.witnesses or name in self.groups, "a name that nothing has")
        return name

    def is_met(self, name, by):
        if name == "none" or name in by:
            return True
        least, members = self.groups.get(name, (1, []))
        return sum(self.is_met(member, by) for member in members) >= least

    def vouched(self, note):
        """The checkpoint of a note that is signed as the policy asks."""
        require("\n\n" in note and note.endswith("\n"), "not a note")
        text, lines = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 : -1].split("\n")
        require(text.count("\n") == 3, "not a checkpoint")
        origin, size, root = text[:-1].split("\n")
        checkpoint = {"origin": origin, "size": decimal(size), "root": unbase64(root)}
        signatures = []
        for line in lines:
            parts = line.split(" ")
            require(len(parts) == 3 and parts[0] == "\u2014", "not a signature line")
            signature = unbase64(parts[2])
            signatures.append((parts[1], signature[:4], signature[4:]))

        def has_signed(key):
            made = [rest for name, key_id, rest in signatures if (name, key_id) == (key.name, key.id)]
            for signature in made if key.can_verify() else []:
                key.verify(text, checkpoint, signature)
            return bool(made) and key.can_verify()

        logs = [key for key in self.logs if has_signed(key)]
        by = [name for name, key in self.witnesses.items() if has_signed(key)]
        require(any(key.name == origin for key in logs), "no log that the policy names signed the checkpoint")
        require(self.is_met(self.quorum, by), "fewer witnesses signed than the policy asks for")
        return checkpoint | {"witnesses": by}


# --- Records (docs/formats/audit-record.md) ----------------------------------------------------------------------


def payload_salts(seed):
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(4 * 32))
    return [stream[start : start + 32] for start in range(0, 128, 32)]


def check_opening(data):
    """The leaf that an opening leads to, what it shows, the payload's digests, and the names of earlier months."""
    form, root, groups, *rest = cbor(data)
    payload = rest[0] if rest else None
    require(len(rest) <= 1 and rest != [None] and form == 1 and len(root) == 32 and groups, "not an opening")
    require([group[0] for group in groups] == sorted({group[0] for group in groups}), "groups out of order")
    shown = {}
    for number, salt, value, siblings in groups:
        require(number < 8 and len(salt) == 32, "not a group")
        commitment = sha256(GROUP_COMMITMENT, bytes([number]), salt, len(value).to_bytes(4, "big"), value)
        check_inclusion(leaf_hash(commitment), number, 8, root, siblings)
        shown[GROUPS[number]] = (salt, cbor(value))
    require(("payload" in shown) == (payload is not None), "a payload without its group")
    digests, names = [], []
    if payload is not None:
        section, seed, digests, *named = payload
        require(len(named) <= 1 and named != [None], "not a payload")
        salts = payload_salts(seed)
        fields = [
            sha256(FIELD_COMMITMENT, bytes([5, field]), salts[field], (32).to_bytes(4, "big"), digest)
            for field, digest in enumerate(digests)
        ]
        require(section == 3 and all(len(digest) == 32 for digest in digests), "not a payload")
        require(shown["payload"] == (salts[3], fields), "the payload is not what its group commits to")
        names = check_names(named[0], digests, shown) if named else []
    return leaf_hash(to_cbor([1, 1, root])), {name: value for name, (_, value) in shown.items()}, digests, names


def check_names(named, digests, shown):
    """What the key version of a count was called in the months before, the oldest first."""
    form, months = named
    require(form == 1 and 1 <= len(months) <= MONTHS_NAMED_MAX, "not names")
    require(all(len(month) == 2 and [len(name) for name in month] == [16, 16] for month in months), "not names")
    require(len({tuple(month) for month in months}) == len(months), "a name of two months")
    require("operation" in shown and shown["operation"][1][0] == COUNT, "names beside no count")
    require(sha256(to_cbor(named)) == digests[1], "the names are not what the record commits to")
    return [tuple(month) for month in months]


def check_record(text, policy, files):
    head, note = text.split("\n\n", 1)
    lines = head.split("\n")
    require(lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) >= 3, "not a proof")
    require(lines[1].startswith("extra ") and lines[2].startswith("index "), "not a proof with an opening")
    opening, named = unbase64(lines[1][6:]), None
    extra = cbor(opening)
    if extra[0] == NAMING:
        _, named, opening = extra
        check_digest(named)
    leaf, shown, digests, _ = check_opening(opening)
    index, path = decimal(lines[2][6:]), [unbase64(line) for line in lines[3:]]
    checkpoint = policy.vouched(note)
    check_inclusion(leaf, index, checkpoint["size"], checkpoint["root"], path)
    result = {"claim": "used", "record": index, "not_shown": [name for name in GROUPS if name not in shown]}
    if "time" in shown:
        result["time"] = shown["time"][0]
    if "key" in shown:
        (_, key, version, counted, _), use = shown["key"]
        result["key"] = {"pseudonym": key.hex(), "version": version, "use_index": use if counted else None}
    result |= {name: digest.hex() for name, digest in zip(("message", "output", "context"), digests)}
    for name, path in files.items():
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        require(result.get(name) == found, f"`{path}` is not the {name} that the record is about, or that is not shown")
    return result | {"checkpoints": [checkpoint], "policy": compared(policy, named)}


def check_digest(named):
    require(isinstance(named, bytes) and len(named) == 32, "not the digest of a policy")


def compared(policy, named):
    """Whether the policy is the one that the proof names: its maker's word, signed by nobody, and no condition."""
    is_named = None if named is None else named == policy.digest
    return {"given": policy.digest, "named": named, "is_named": is_named}


def check_uses(policy, checkpoint, records, *digests):
    require(len(digests) <= 1, "not a proof")
    for digest in digests:
        check_digest(digest)
    checkpoint, found, last, uses, named = policy.vouched(checkpoint), [], -1, [], []
    for index, path, opening in records:
        leaf, shown, _, names = check_opening(opening)
        check_inclusion(leaf, index, checkpoint["size"], checkpoint["root"], path)
        kind, (tenant, key, version, counted, _), number = shown["operation"][0], *shown["key"]
        require(counted == 1 and kind in (USE, COUNT), "a record that is no use, and states no count")
        found.append((index, number, (tenant, key), version))
        named += [names + [(tenant, key)]] if names else []
        require(number == found[0][1] + len(uses) and version == found[0][3], "a use is left out")
        require(index > last, "records out of order")
        last = index
        uses += [{"record": index, "use_index": number}] if kind == USE else []
    require(found, "a proof of nothing")
    before = check_months(found, named)
    index, number, _, version = found[0]
    return {
        "claim": "complete" if uses else "not-used",
        "key": {"pseudonym": found[-1][2][1].hex(), "version": version, "before": before},
        "from_record": 0 if number == 0 else index,
        "to_record": last,
        "uses": uses,
        "checkpoints": [checkpoint],
        "policy": compared(policy, *digests or [None]),
    }


def check_months(found, named):
    """Follows a version through its names: no record is of another, and none goes back to an earlier name."""
    require(len(named) <= 1, "two records that name months")
    names = named[0] if named else [found[-1][2]]
    require(len(set(names)) == len(names), "a name of two months")
    require(all(name in names for _, _, name, _ in found), "a record of another key version")
    places = [names.index(name) for _, _, name, _ in found]
    require(places == sorted(places), "months out of order")
    first = {name: index for index, _, name, _ in reversed(found)}
    return [{"pseudonym": name[1].hex(), "from_record": first[name]} for name in names[: places[-1]] if name in first]


def check_trees(policy, claim, notes, path, *named):
    require(len(named) <= 1, "not a proof")
    for digest in named:
        check_digest(digest)
    number, claim = claim
    require(len(notes) == 2, "not a proof")
    one, two = (policy.vouched(note) for note in notes)
    require(one["origin"] == two["origin"], "checkpoints of different logs")
    root = one["root"] if number == 1 else claim[0]
    require(number == 1 and claim == [] or number == 2 and root != one["root"], "not a claim")
    check_consistency(one["size"], root, two["size"], two["root"], path)
    named = compared(policy, *named or [None])
    return {"claim": "consistent" if number == 1 else "fork", "checkpoints": [one, two], "policy": named}


def check_proof(data, policy, files):
    if data.startswith(b"c2sp.org/tlog-proof@v1\n"):
        return check_record(data.decode(), policy, files)
    require(not files, "only the proof of one operation is about bytes")
    form, *parts = cbor(data)
    require(form in (1, 2), "not a proof")
    return check_trees(policy, *parts) if form == 1 else check_uses(policy, *parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("proof")
    parser.add_argument("--policy", required=True)
    parser.add_argument("--artifact", help="the message that the proof must be about")
    parser.add_argument("--output", help="what came out, such as the signature")
    args = parser.parse_args()
    files = {name: path for name, path in (("message", args.artifact), ("output", args.output)) if path}
    try:
        with open(args.proof, "rb") as file:
            data = file.read(PROOF_BYTES_MAX + 1)
        require(len(data) <= PROOF_BYTES_MAX, "a proof too long")
        with open(args.policy, encoding="utf-8") as file:
            policy = Policy(file.read())
        result = check_proof(data, policy, files)
    except (Refused, ValueError, TypeError, IndexError, KeyError) as error:
        print(f"{args.proof} proves nothing: {error}", file=sys.stderr)
        return 4
    print(json.dumps({"outcome": "verified"} | result, default=bytes.hex, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
