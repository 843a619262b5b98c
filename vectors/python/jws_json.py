"""JWS in the JSON serialization (RFC 7515, 7.2), after docs/formats/signatures.md: what verifies, and what does not.

Each case says which versions of the key hold in it; a verifier here agrees before it is written.
"""

import base64
import json

import chancery_formats as formats
import signatures
from signatures import CLAIMS, KEY, SEEDS, b64url, kid, public, sign

DOMAIN = "grant+jwt"
NOW = 1_700_000_000
PAYLOAD = b64url(json.dumps(json.loads(CLAIMS), separators=(",", ":"), sort_keys=True).encode())
HMAC = {"alg": "HS256", "kid": kid(1), "typ": DOMAIN}


def protected(version, **more):
    return {"alg": "EdDSA", "kid": kid(version), "typ": DOMAIN} | more


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def entry(said, by=1, payload=PAYLOAD, **more):
    """A signature under a protected header, which is an object, or text that is taken as it is."""
    text = b64url((said if isinstance(said, str) else compact(said)).encode())
    return {"protected": text, "signature": b64url(sign(by, f"{text}.{payload}".encode()))} | more


def general(*entries, payload=PAYLOAD, **more):
    return compact({"payload": payload, "signatures": list(entries)} | more)


def flattened(one, payload=PAYLOAD, **more):
    return compact({"payload": payload} | one | more)


def without(one, *names):
    return {name: value for name, value in one.items() if name not in names}


def claims(**changed):
    return b64url(json.dumps(json.loads(CLAIMS) | changed, separators=(",", ":"), sort_keys=True).encode())


ONE, TWO = entry(protected(1)), entry(protected(2), by=2)
THEIRS = {"protected": b64url(b'{"alg":"ES512","kid":"theirs"}'), "signature": "AAAA"}
OTHER_KEY = signatures.kid(1).replace("07", "08")


def taken():
    """Cases that are a JWS in the JSON serialization, each with the versions that hold."""
    expired, late = claims(exp=NOW), claims(iat=NOW + 61, exp=NOW + 120)
    yield "flattened", flattened(ONE), [1]
    yield "general with one signature", general(ONE), [1]
    yield "general with two signatures", general(ONE, TWO), [1, 2]
    yield "two signatures in the other order", general(TWO, ONE), [2, 1]
    yield "white space between members", json.dumps(json.loads(general(ONE, TWO)), indent=2), [1, 2]
    yield "escapes in a name and in a value", general(ONE).replace('"payload":"e', '"\\u0070ayload":"\\u0065'), [1]
    yield "members of other names", general(ONE | {"x": 1}, TWO, x={"payload": "AAAA"}), [1, 2]
    yield "a signature of another signer", general(THEIRS, ONE), [1]
    yield "a signature by `none` of another signer", general(ONE, entry({"alg": "none"}) | {"signature": ""}), [1]
    yield "an unprotected header of another signer", general(ONE, THEIRS | {"header": {"jku": "https://x.example"}}), [1]
    yield "another signer without a protected header", general(ONE, {"header": {"alg": "ES256"}, "signature": ""}), [1]
    yield "`b64` as `true` of another signer", general(ONE, entry({"alg": "EdDSA", "b64": True, "crit": ["b64"]})), [1]
    yield "sixteen signatures", general(*[THEIRS] * 15, ONE), [1]
    yield "one of two was altered", general(ONE, TWO | {"signature": ONE["signature"]}), [1]
    yield "the two exchanged", general(ONE | {"signature": TWO["signature"]}, TWO | {"signature": ONE["signature"]}), []
    yield "a signature of another version", flattened(entry(protected(1), by=2)), []
    yield "an empty signature", flattened(ONE | {"signature": ""}), []
    yield "another payload", flattened(ONE, payload=claims(aud="other")), []
    yield "one version twice", general(ONE, ONE), []
    yield "one version twice, beside the other", general(ONE, TWO, ONE), [2]
    yield "one version twice, once by `none`", general(ONE, entry(protected(1, alg="none")) | {"signature": ""}), []
    yield "`none`", flattened(entry(protected(1, alg="none")) | {"signature": ""}), []
    yield "`none`, signed", flattened(entry(protected(1, alg="none"))), []
    yield "another algorithm", flattened(entry(protected(1, alg="ES256"))), []
    yield "an unknown algorithm", flattened(entry(protected(1, alg="EdDSA448x"))), []
    yield "a MAC under the public half", flattened(mac()), []
    yield "`crit` of a name that is there", flattened(entry(protected(1, crit=["exp"], exp=1))), []
    yield "`crit` of `b64`", flattened(entry(protected(1, b64=True, crit=["b64"]))), []
    yield "an empty `crit`", flattened(entry(protected(1, crit=[]))), []
    yield "a key in the header", flattened(entry(protected(1, jwk={"kty": "OKP", "crv": "Ed25519", "x": b64url(public(1))}))), []
    yield "another type", flattened(entry(protected(1, typ="at+jwt"))), []
    yield "no type", flattened(entry(without(protected(1), "typ"))), []
    yield "white space in the header", flattened(entry(json.dumps(protected(1)))), []
    yield "members of the header in another order", flattened(entry(dict(reversed(protected(1).items())))), []
    yield "another key", flattened(entry(protected(1, kid=OTHER_KEY))), []
    yield "another spelling of the version", flattened(entry(protected(1, kid=kid("01")))), []
    yield "an unprotected header beside", flattened(ONE | {"header": {"x": 1}}), []
    yield "`kid` that is not protected", flattened(entry(without(protected(1), "kid"), header={"kid": kid(1)})), []
    yield "`alg` that is not protected", flattened(entry(without(protected(1), "alg"), header={"alg": "EdDSA"})), []
    yield "nothing that is protected", flattened(bare()), []
    yield "claims that have expired", flattened(entry(protected(1), payload=expired), payload=expired), []
    yield "claims that are not in force yet", flattened(entry(protected(1), payload=late), payload=late), []
    yield "a payload that is not base64url", flattened(entry(protected(1), payload="*"), payload="*"), []
    yield "a payload with padding", flattened(entry(protected(1), payload=PAYLOAD + "="), payload=PAYLOAD + "="), []


def mac():
    text = b64url(compact(HMAC).encode())
    return {"protected": text, "signature": b64url(formats.mac(public(1), f"{text}.{PAYLOAD}".encode()))}


def bare():
    """A signature whose whole header is unprotected (RFC 7515, A.6)."""
    return {"header": protected(1), "signature": b64url(sign(1, f".{PAYLOAD}".encode()))}


def malformed():
    """Cases that are no JWS in the JSON serialization, or one that means two things."""
    twice = '"kid":"' + kid(1) + '",'
    doubled = entry(compact(protected(1)).replace('"typ"', twice + '"typ"'))
    yield "a compact JWS", f"{ONE['protected']}.{PAYLOAD}.{ONE['signature']}"
    yield "no object", compact([json.loads(flattened(ONE))])
    yield "bytes behind it", flattened(ONE) + "{}"
    yield "the payload twice", flattened(ONE)[:-1] + f',"payload":"{PAYLOAD}"}}'
    yield "the payload twice, once with escapes", flattened(ONE)[:-1] + f',"p\\u0061yload":"{claims(aud="x")}"}}'
    yield "a signature twice", flattened(ONE)[:-1] + ',"signature":"AAAA"}'
    yield "a name twice in a member that is ignored", flattened(ONE)[:-1] + ',"x":{"a":1,"a":1}}'
    yield "a name twice in the protected header", flattened(doubled)
    yield "a name twice in the protected header of another", general(ONE, entry('{"alg":"a","alg":"b"}'))
    yield "a name in both headers", flattened(ONE | {"header": {"typ": DOMAIN}})
    yield "a name in both headers of another", general(ONE, THEIRS | {"header": {"alg": "ES512"}})
    yield "`crit` that is not protected", flattened(ONE | {"header": {"crit": ["x"], "x": 1}})
    yield "`crit` of another that is not protected", general(ONE, THEIRS | {"header": {"crit": ["x"], "x": 1}})
    yield "`b64` that is not protected", general(ONE, THEIRS | {"header": {"b64": True}})
    yield "`b64` as `false`", flattened(entry(protected(1, b64=False, crit=["b64"])))
    yield "`b64` as `false` of another", general(ONE, entry({"alg": "EdDSA", "b64": False, "crit": ["b64"]}))
    yield "one signature and a list", general(TWO, **ONE)
    yield "a header beside a list", general(ONE, header={"x": 1})
    yield "no signature in the list", general()
    yield "seventeen signatures", general(*[THEIRS] * 16, ONE)
    yield "a list in an object", compact({"payload": PAYLOAD, "signatures": ONE})
    yield "no payload", compact(ONE)
    yield "a payload of null", compact({"payload": None} | ONE)
    yield "no signature", flattened(without(ONE, "signature"))
    yield "a signature of null", general(ONE, THEIRS | {"signature": None})
    yield "a signature with padding", flattened(ONE | {"signature": ONE["signature"] + "=="})
    yield "a signature in the other alphabet", flattened(ONE | {"signature": "+/" + ONE["signature"][2:]})
    yield "a signature with bits behind it", flattened(ONE | {"signature": ONE["signature"][:-1] + "_"})
    yield "no header", flattened(without(ONE, "protected"))
    yield "an empty protected header", flattened(ONE | {"protected": ""})
    yield "a protected header of no member", flattened(entry({}))
    yield "an unprotected header of no member", flattened(ONE | {"header": {}})
    yield "an unprotected header that is a text", flattened(ONE | {"header": "e30"})
    yield "a protected header that is an object", flattened(ONE | {"protected": protected(1)})
    yield "a protected header of null", general(ONE, {"protected": None, "header": {"alg": "x"}, "signature": ""})
    yield "a protected header that is a list", flattened(entry("[]"))
    yield "a protected header that is no JSON", flattened(entry("alg"))
    yield "a protected header of another that is no JSON", general(ONE, entry("alg"))
    yield "a header nested too deeply", general(ONE, THEIRS | {"header": {"x": [[[[[1]]]]]}})


def unique(pairs):
    if len(dict(pairs)) != len(pairs):
        raise formats.Refused("a name twice")
    return dict(pairs)


def parse(text, depth=8):
    def check(value, left):
        if isinstance(value, (dict, list)):
            if not left:
                raise formats.Refused("too deep")
            for each in value.values() if isinstance(value, dict) else value:
                check(each, left - 1)
        return value

    return check(json.loads(text, object_pairs_hook=unique), depth)


def need(holds, what):
    if not holds:
        raise formats.Refused(what)


def decode(text):
    need(isinstance(text, str), "no text")
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    need(b64url(data) == text, "another encoding")
    return data


def read_entry(one):
    """The protected header as it came, what it says, and the signature."""
    need(isinstance(one, dict), "no signature")
    has = {"protected", "header"} & one.keys()
    need(has, "no header")
    headers = {"protected": {}, "header": {}}
    if "protected" in has:
        headers["protected"] = parse(decode(one["protected"]))
    if "header" in has:
        headers["header"] = one["header"]
    need(all(isinstance(header, dict) for header in headers.values()), "no object")
    need(all(headers[name] for name in has), "an empty header")
    need(not headers["protected"].keys() & headers["header"].keys(), "a name in both")
    need(not {"crit", "b64"} & headers["header"].keys(), "not protected")
    need(headers["protected"].get("b64", True) is True, "another encoding of the payload")
    need("signature" in one, "no signature")
    return one.get("protected", ""), headers["protected"], "header" in has, decode(one["signature"])


def read(text):
    output = parse(text)
    need(isinstance(output, dict) and isinstance(output.get("payload"), str), "no payload")
    entries = [output]
    if "signatures" in output:
        need(not {"protected", "header", "signature"} & output.keys(), "both forms")
        entries = output["signatures"]
        need(isinstance(entries, list) and 1 <= len(entries) <= 16, "no list")
    return output["payload"], [read_entry(one) for one in entries]


def holds(payload, entries, version):
    """Whether the one signature of a version holds, under the only header that it may have."""
    ours = [one for one in entries if one[1].get("kid") == kid(version)]
    if len(ours) != 1:
        return False
    text, _, has_unprotected, signature = ours[0]
    if has_unprotected or text != b64url(compact(protected(version)).encode()):
        return False
    try:
        formats.ed25519_verify(public(version), signature, f"{text}.{payload}".encode())
        said = parse(decode(payload))
    except (formats.Refused, ValueError):
        return False
    return said["exp"] > NOW and said["iat"] <= NOW + 60


def vectors():
    cases = []
    for name, text, expected in taken():
        payload, entries = read(text)
        named = [version for _, said, _, _ in entries for version in SEEDS if said.get("kid") == kid(version)]
        found = [version for version in dict.fromkeys(named) if holds(payload, entries, version)]
        assert found == expected, (name, found, expected)
        cases.append({"name": name, "output": text, "is_malformed": False, "holds": expected})
    for name, text in malformed():
        try:
            read(text)
        except (formats.Refused, ValueError):
            cases.append({"name": name, "output": text, "is_malformed": True, "holds": []})
            continue
        raise AssertionError(f"not refused: {name}")
    seeds = [{"version": version, "seed": seed, "public": public(version)} for version, seed in SEEDS.items()]
    return {"key": KEY, "purpose": f"sign.jws-json:{DOMAIN}", "time_ms": NOW * 1000, "keys": seeds, "cases": cases}
