"""Proofs of all uses of a key version, over one month and over several, with those that prove nothing.

A log of three months is made here by the second implementation; every proof is judged by `verifier/verify_proof.py`
before it is written.
"""

import base64
import pathlib
import sys

import chancery_formats as formats
from chancery_formats import LABELS, cbor, sha256

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "verifier"))
import verify_proof as verifier

ORIGIN = "chancery.example/vectors"
SEED, WITNESS_SEED = bytes([21] * 32), bytes([22] * 32)
TENANT, KEY, OTHER, UNUSED = (bytes([byte] * 16) for byte in (1, 7, 8, 9))
COSIGNED_S = 1_800_000_000
USE, COUNT = 1, 6
USUAL = (0, 1, 2)


class Key:
    """A key that signs notes (C2SP signed-note)."""

    def __init__(self, name, seed, kind):
        self.name, self.seed, self.kind = name, seed, kind
        self.public = bytes([kind]) + formats.ed25519_public(seed)
        self.id = sha256(name.encode(), b"\n", self.public)[:4]

    def vkey(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.public).decode()}"

    def line(self, text):
        if self.kind == 1:
            signature = formats.ed25519_sign(self.seed, text.encode())
        else:
            time = COSIGNED_S.to_bytes(8, "big")
            message = f"cosignature/v1\ntime {COSIGNED_S}\n{text}".encode()
            signature = time + formats.ed25519_sign(self.seed, message)
        return f"\u2014 {self.name} {base64.b64encode(self.id + signature).decode()}\n"


LOG, WITNESS = Key(ORIGIN, SEED, 1), Key("witness.example/vectors", WITNESS_SEED, 4)
POLICY = f"log {LOG.vkey()}\nquorum none\n"
WITNESSED = f"log {LOG.vkey()}\nwitness w {WITNESS.vkey()} http://witness.example\nquorum w\n"
SPACED = f"# the same\n\n  log\t{LOG.vkey()}\nquorum  none"
POLICIES = {"own": POLICY, "witnessed": WITNESSED, "spaced": SPACED}


class Log:
    """Records of three months, under a checkpoint."""

    def __init__(self):
        boot, log_id = bytes([9] * 16), sha256(LABELS["LOG_ID"], LOG.public[1:])
        self.months = [
            formats.MonthKeys(bytes(number // 32 + 1 + 16 * month for number in range(160)), log_id, boot)
            for month in range(3)
        ]
        self.records, self.leaves = [], []

    def called(self, month, key):
        pseudonym = self.months[month].pseudonym
        return [pseudonym(1, TENANT), pseudonym(2, key)]

    def names(self, months, key):
        return [1, [self.called(month, key) for month in months]]

    def add(self, kind, month, key, number, version=1, names=None):
        """A record with the leaf's eight groups, each with its salt."""
        keys, index = self.months[month], len(self.records)
        nonce = (3).to_bytes(4, "big") + index.to_bytes(8, "big")
        digest = sha256(cbor(names)) if names else bytes([index + 1] * 32)
        payload = [bytes([index + 2] * 32), digest, bytes(32)]
        section = [
            [1_800_000_000_000 + index, 0, bytes([9] * 16), 3, index],
            [kind, 13 if kind == COUNT else 0, 1, 0, 0, 10, bytes(16), 0],
            [*self.called(month, key), version, 1, 1],
            [keys.pseudonym(3, bytes([5] * 16)), 1, bytes(16), bytes(32)],
            [bytes(32), 0, 0, 4, bytes(32)],
            [keys.pseudonym(5, bytes(16)), 0],
            [bytes([6] * 32), bytes([8] * 32)],
        ]
        committed, section = keys.commitments(nonce, section, number, [bytes([5] * 16), bytes(16)], payload)
        salts, _ = formats.salts(keys.seed(1, nonce), 7)
        seed = keys.seed(3, nonce)
        fields, _ = formats.salts(seed, 4)
        time, operation, key_group, *rest = section
        values = [cbor(value) for value in (time, operation, [key_group, number], *rest)]
        groups = list(zip(salts, values))
        value = cbor([formats.commit_field(5, at, fields[at], each) for at, each in enumerate(payload)])
        groups.insert(5, (fields[3], value))
        self.records.append((groups, [formats.leaf_hash(one) for one in committed], [3, seed, payload]))
        self.leaves.append(formats.leaf_hash(formats.record_leaf(formats.tree_root(self.records[-1][1]))))
        return index

    def opening(self, index, groups=USUAL, names=None):
        """An opening of these groups; with names, of the payload too."""
        values, leaves, payload = self.records[index]
        groups = sorted({*groups, *([5] if names else [])})
        opened = [[group, *values[group], formats.tree_path(leaves, group)] for group in groups]
        shown = [[*payload, *([names] if names else [])]] if 5 in groups else []
        return cbor([1, formats.tree_root(leaves), opened, *shown])

    def note(self):
        root = base64.b64encode(formats.tree_root(self.leaves)).decode()
        text = f"{ORIGIN}\n{len(self.leaves)}\n{root}\n"
        return text + "\n" + LOG.line(text) + WITNESS.line(text)

    def record(self, index, policy=None, groups=USUAL, names=None):
        """The proof of one record."""
        opening = self.opening(index, groups, names)
        extra = cbor([2, policy, opening]) if policy else opening
        path = formats.tree_path(self.leaves, index)
        lines = ["c2sp.org/tlog-proof@v1", f"extra {base64.b64encode(extra).decode()}", f"index {index}"]
        lines += [base64.b64encode(one).decode() for one in path]
        return ("\n".join(lines) + "\n\n" + self.note()).encode()

    def trees(self, *policy):
        """That the log continues itself."""
        return cbor([1, [1, []], [self.note(), self.note()], [], *policy])

    def proof(self, *records, policy=None):
        """A proof of records: indices, with the names that one shows."""
        records = [record if isinstance(record, tuple) else (record, None) for record in records]
        entries = [
            [index, formats.tree_path(self.leaves, index), self.opening(index, names=names)] for index, names in records
        ]
        return cbor([2, self.note(), entries, *([policy] if policy else [])])


def vectors():
    log = Log()
    first = [log.add(USE, 0, KEY, 0), log.add(USE, 0, OTHER, 0), log.add(USE, 0, KEY, 1)]
    second = [log.add(USE, 1, KEY, 2), log.add(USE, 1, OTHER, 2), log.add(USE, 1, KEY, 3)]
    of_first, of_both = log.names([0], KEY), log.names([0, 1], KEY)
    early = log.add(COUNT, 1, KEY, 4, names=of_first)
    third = [log.add(USE, 2, KEY, 4), log.add(USE, 2, OTHER, 4), log.add(USE, 2, KEY, 5)]
    late = log.add(COUNT, 2, KEY, 6, names=of_both)
    last = log.add(USE, 2, KEY, 6)
    end = log.add(COUNT, 2, KEY, 7, names=of_both)
    unused = log.add(COUNT, 2, UNUSED, 0, names=log.names([0, 1], UNUSED))
    lie = log.add(USE, 2, UNUSED, 0, version=2, names=of_both)
    twice = [1, [of_both[1][0], of_both[1][0], of_both[1][1]]]
    doubled = log.add(COUNT, 2, KEY, 7, names=twice)
    own = log.names([0, 1, 2], KEY)
    its_own = log.add(COUNT, 2, KEY, 7, names=own)
    (a, _, b), (c, other, d), (e, _, f) = first, second, third

    def shown(names, before, of):
        return {"before": [names[1][at][1] for at in before], "uses": of}

    accepted = [
        ("one month", log.proof(a, b), shown(of_both, [], [a, b])),
        ("the last month, from a use on", log.proof(e, f, late), shown(of_both, [], [e, f])),
        ("two months", log.proof(a, b, c, d, (early, of_first)), shown(of_both, [0], [a, b, c, d])),
        ("three months", log.proof(a, b, c, d, e, f, (late, of_both)), shown(of_both, [0, 1], [a, b, c, d, e, f])),
        ("from the second use on", log.proof(b, c, d, e, f, (late, of_both)), shown(of_both, [0, 1], [b, c, d, e, f])),
        ("from the second month on", log.proof(c, d, e, f, last, (end, of_both)), shown(of_both, [1], [c, d, e, f, last])),
        ("a use behind the count", log.proof(d, e, f, (late, of_both), last), shown(of_both, [1], [d, e, f, last])),
        ("a count without names on the way", log.proof(d, early, e, f, (late, of_both)), shown(of_both, [1], [d, e, f])),
        ("not used", log.proof(unused), shown(of_both, [], [])),
        ("not used, with the names", log.proof((unused, log.names([0, 1], UNUSED))), shown(of_both, [], [])),
    ]
    swapped = [1, list(reversed(of_both[1]))]
    of_other = [1, [of_both[1][0], log.called(1, OTHER)]]
    refused = [
        ("a use left out", log.proof(a, c, d, e, f, (late, of_both))),
        ("a month left out", log.proof(a, b, e, f, (late, of_both))),
        ("the last use of a month left out", log.proof(a, c, d, (early, of_first))),
        ("the first use of a month left out", log.proof(a, b, d, (early, of_first))),
        ("the last use left out", log.proof(a, b, c, d, e, f, (end, of_both))),
        ("months swapped", log.proof(c, d, a, b, (early, of_first))),
        ("a use twice", log.proof(a, b, c, c, d, (early, of_first))),
        ("a use twice at the seam", log.proof(a, b, b, c, d, (early, of_first))),
        ("several months without names", log.proof(a, b, c, d, early)),
        ("two records that show names", log.proof(a, b, c, d, (early, of_first), e, f, (late, of_both))),
        ("a month that no name is of", log.proof(a, b, c, d, (early, of_first), e, f)),
        ("names of a month less", log.proof(c, d, e, f, (late, log.names([1], KEY)))),
        ("names in another order", log.proof(a, b, c, d, e, f, (late, swapped))),
        ("names of another key", log.proof(a, b, other, d, e, f, (late, of_other))),
        ("a use of another key under names of this one", log.proof(a, b, other, d, e, f, (late, of_both))),
        ("names that a use shows", log.proof((lie, of_both))),
        ("a month named twice", log.proof(a, b, c, d, e, f, last, (doubled, twice))),
        ("a name that is the count's own", log.proof(a, b, c, d, e, f, last, (its_own, own))),
        ("no record", log.proof()),
    ]
    refused += damaged(log, accepted[0][1])
    policy = verifier.Policy(POLICY)
    for name, proof, expected in accepted:
        result = verifier.check_proof(proof, policy, {})
        found = {
            "before": [bytes.fromhex(one["pseudonym"]) for one in result["key"]["before"]],
            "uses": [use["record"] for use in result["uses"]],
        }
        assert found == expected, (name, found, expected)
    for name, proof in refused:
        assert_refused(name, proof, policy)
    return {
        "policies": POLICIES,
        "naming": naming(log),
        "accepted": [{"name": name, "proof": proof, "shows": shows} for name, proof, shows in accepted],
        "refused": [{"name": name, "proof": proof} for name, proof in refused],
    }


def naming(log):
    """Proofs that name a policy, checked under one."""
    own, witnessed = (verifier.Policy(policy).digest for policy in (POLICY, WITNESSED))
    assert own == sha256(POLICY.encode()) == verifier.Policy(POLICIES["spaced"]).digest != witnessed
    proofs = [
        ("a record", lambda policy: log.record(0, policy)),
        ("uses", lambda policy: log.proof(0, 2, policy=policy)),
        ("trees", lambda policy: log.trees(*([policy] if policy else []))),
    ]
    vectors = []
    for name, make in proofs:
        for given, named in (("own", own), ("spaced", own), ("witnessed", own), ("witnessed", witnessed), ("own", None)):
            proof = make(named)
            policy = verifier.Policy(POLICIES[given])
            said = verifier.check_proof(proof, policy, {})["policy"]
            is_named = None if named is None else named == policy.digest
            assert said == {"given": policy.digest, "named": named, "is_named": is_named}, (name, given, said)
            vectors.append({"name": name, "proof": proof, "policy": given, "given": policy.digest, "named": named})
    return vectors


def damaged(log, proof):
    """Forms that are none."""
    form, note, records = verifier.cbor(proof)
    index, path, opening = records[0]
    shorter = [[index, path[:-1], opening], *records[1:]]
    other = [[index + 1, path, opening], *records[1:]]
    foreign = note.replace(ORIGIN, ORIGIN + "2")
    return [
        ("another form", cbor([9, note, records])),
        ("a shorter path", cbor([form, note, shorter])),
        ("another index", cbor([form, note, other])),
        ("another checkpoint", cbor([form, foreign, records])),
        ("a record of no key", cbor([form, note, [[0, path, log.opening(0, groups=(0, 1))]]])),
        ("a digest of 31 bytes", cbor([form, note, records, bytes(31)])),
        ("a digest that is none", cbor([form, note, records, None])),
        ("two digests", cbor([form, note, records, bytes(32), bytes(32)])),
        ("trees, with a digest of 31 bytes", log.trees(bytes(31))),
        ("trees, with two digests", log.trees(bytes(32), bytes(32))),
        ("a record, with a digest of 31 bytes", log.record(0, bytes(31))),
        ("bytes behind it", proof + b"\0"),
        ("a byte less", proof[:-1]),
    ]


def assert_refused(name, proof, policy):
    try:
        verifier.check_proof(proof, policy, {})
    except (verifier.Refused, ValueError, TypeError, IndexError, KeyError):
        return
    raise AssertionError(f"not refused: {name}")
