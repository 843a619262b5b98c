"""What keys sign, in every format that holds it, after docs/formats/signatures.md.

All keys are of Ed25519, which has one signature for a message: each vector is the very bytes that a signer makes.
"""

import base64
import hashlib
import json
import struct

import chancery_formats as formats
from chancery_formats import LABELS, cbor, sha256

KEY = bytes([7] * 16)
SUITE, ED25519_COSE, EPOCH = 1, -8, 42
SEEDS = {1: bytes([1] * 32), 2: bytes([2] * 32)}
CONTEXT = [["customer", "42"], ["region", "eu"]]


def kid(version):
    return f"{formats.uuid(KEY)}.{version}"


def sign(version, message):
    return formats.ed25519_sign(SEEDS[version], message)


def public(version):
    return formats.ed25519_public(SEEDS[version])


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def bound(domain, context, message, versions):
    def signed(version):
        frame = cbor([SUITE, KEY, version, EPOCH, f"sign.bound:{domain}", context, sha256(message)])
        return sign(version, LABELS["BOUND_FRAME"] + frame)

    if len(versions) == 1:
        return cbor([1, SUITE, KEY, versions[0], EPOCH, signed(versions[0])])
    return cbor([2, KEY, EPOCH, [[SUITE, version, signed(version)] for version in versions]])


def dsse(domain, context, message, versions):
    pae = b"DSSEv1 %d %s %d %s" % (len(domain), domain.encode(), len(message), message)
    signatures = [{"keyid": kid(version), "sig": b64(sign(version, pae))} for version in versions]
    envelope = {"payload": b64(message), "payloadType": domain, "signatures": signatures}
    return json.dumps(envelope, separators=(",", ":")).encode()


def jws(domain, context, message, versions):
    (version,) = versions
    header = {"alg": "EdDSA", "kid": kid(version), "typ": domain}
    claims = json.dumps(json.loads(message), separators=(",", ":"), sort_keys=True)
    signed = b64url(json.dumps(header, separators=(",", ":")).encode()) + "." + b64url(claims.encode())
    return (signed + "." + b64url(sign(version, signed.encode()))).encode()


def jws_json(domain, context, message, versions):
    def signed(version):
        header, payload, signature = jws(domain, context, message, [version]).decode().split(".")
        return payload, {"protected": header, "signature": signature}

    payload, members = signed(versions[0])
    if len(versions) > 1:
        members = {"signatures": [signed(version)[1] for version in versions]}
    return json.dumps({"payload": payload, **members}, separators=(",", ":")).encode()


def cose_map(pairs):
    """A map of small keys to numbers, texts and byte strings."""
    encoded = [cbor(key) + (formats._head(1, -1 - value) if type(value) is int and value < 0 else cbor(value)) for key, value in pairs]
    return formats._head(5, len(pairs)) + b"".join(encoded)


def cose_array(items):
    return formats._head(4, len(items)) + b"".join(items)


def cose(domain, context, message, versions):
    aad = LABELS["COSE_CONTEXT"] + cbor(context) if context else b""
    none = cose_map([])
    if len(versions) == 1:
        (version,) = versions
        header = cose_map([(1, ED25519_COSE), (3, domain), (4, kid(version).encode())])
        signature = sign(version, cbor(["Signature1", header, aad, message]))
        return formats._head(6, 18) + cose_array([cbor(header), none, cbor(message), cbor(signature)])
    body, signers = cose_map([(3, domain)]), []
    for version in versions:
        header = cose_map([(1, ED25519_COSE), (4, kid(version).encode())])
        signature = sign(version, cbor(["Signature", body, header, aad, message]))
        signers.append(cose_array([cbor(header), none, cbor(signature)]))
    return formats._head(6, 98) + cose_array([cbor(body), none, cbor(message), cose_array(signers)])


def string(data):
    return struct.pack(">I", len(data)) + data


def sshsig(domain, context, message, versions):
    (version,) = versions
    namespace = string(domain.encode()) + string(b"") + string(b"sha256")
    signature = sign(version, b"SSHSIG" + namespace + string(hashlib.sha256(message).digest()))
    key = string(b"ssh-ed25519") + string(public(version))
    value = string(b"ssh-ed25519") + string(signature)
    text = b64(b"SSHSIG" + struct.pack(">I", 1) + string(key) + namespace + string(value))
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def note(domain, context, message, versions):
    def line(version):
        key_id = sha256(domain.encode(), b"\n\x01", public(version))[:4]
        return f"\u2014 {domain} {b64(key_id + sign(version, message))}\n"

    return (message.decode() + "\n" + "".join(map(line, versions))).encode()


CLAIMS = b'{"iss": "https://issuer.example", "iat": 1700000000, "exp": 1700000600, "aud": "api"}'
CASES = [
    (bound, "invoice", CONTEXT, b"message", [1]),
    (bound, "invoice", [], b"message", [1, 2]),
    (dsse, "application/x", [], b"payload", [2]),
    (dsse, "application/x", [], b"payload", [1, 2]),
    (jws, "at+jwt", [], CLAIMS, [1]),
    (jws_json, "grant+jwt", [], CLAIMS, [2]),
    (jws_json, "grant+jwt", [], CLAIMS, [1, 2]),
    (cose, "application/x", [], b"payload", [1]),
    (cose, "application/x", CONTEXT, b"payload", [1]),
    (cose, "application/x", CONTEXT, b"payload", [2, 1]),
    (sshsig, "git", [], b"message", [1]),
    (note, "example.com/notes", [], b"text\n\nand more\n", [1]),
    (note, "example.com/notes", [], b"text\n", [1, 2]),
]


def vectors():
    signed = [
        {
            "purpose": f"sign.{make.__name__.replace('_', '-')}:{domain}",
            "context": context,
            "message": message,
            "versions": versions,
            "output": make(domain, context, message, versions),
        }
        for make, domain, context, message, versions in CASES
    ]
    seeds = [{"version": version, "seed": seed, "public": public(version)} for version, seed in SEEDS.items()]
    return {"key": KEY, "posture_epoch": EPOCH, "time_ms": 1_700_000_000_000, "keys": seeds, "signed": signed}
