#!/usr/bin/env python3
"""Checks the evidence of a rollout with a policy and nothing else: no network, no service, no code of the service.

    verify_evidence.py EVIDENCE --policy FILE

It is written from docs/formats/rollout-evidence.md, and stands beside verify_proof.py, whose trees, notes and openings it
uses. Of the steps listed there it does all but one: it does not run the engine again, and so says of each step that the log
has it and of all of them that they are one chain, but not that each follows by the plan from what was seen. The result is one
JSON object on standard output. Exit codes: 0 it holds, 2 usage, 4 it shows nothing.
"""

import argparse
import json
import sys

from verify_proof import (
    GROUPS,
    Policy,
    Refused,
    cbor,
    check_digest,
    check_inclusion,
    check_opening,
    compared,
    require,
    sha256,
    to_cbor,
)

PLAN = b"chancery/rollout-plan/v1\0"
EVIDENCE_BYTES_MAX = 16 * 1024 * 1024
COMMAND, ROTATE, ORDER, ISSUE_BUNDLE, STEP = 2, 22, 23, 26, 27
NOBODY, START, ORDERED = 0, 1, 2
SERVICE, SIGNATURE = 0, 2
ROLLED_BACK, ABORTED, ON_STANDBY, DONE = 3, 4, 5, 6
SHOWN = set(GROUPS[:6])


class Step:
    def __init__(self, value):
        self.digest = sha256(to_cbor(value))
        self.tenant, self.key, self.rollout, self.number, self.previous, self.row, taken = value[:7]
        require(len(value) in (7, 8) and len(taken) in (13, 14, 15), "not a step")
        self.lasting, self.unix_ms, self.quality, (self.asked, self.order), self.why, self.trigger = taken[:6]
        self.before, self.after, _, _, self.seen = taken[6:11]
        self.bundle, self.plan = (taken[13:] + [None, None])[:2]

    def subject(self):
        return (self.tenant, self.key, self.rollout, to_cbor(self.lasting))

    def row_of(self, plan):
        """The rollout's row after it (docs/formats/rollout.md)."""
        version, to, cause, by, digest = self.lasting
        return [self.rollout, self.tenant, self.key, version, to, cause, by, plan, digest, *self.after]

    def commands(self, plan):
        """The commands that can have had it taken; none of what the service does by itself."""
        if self.asked == ORDERED:
            return [[ORDER, [self.rollout, self.order[1]]]]
        name, versions = self.seen[2][0], self.seen[2][4]
        _, to, cause, _, _ = self.lasting
        suites = [version[5] for version in versions if version[0] == to]
        options = [[]] + [[suite] for suite in suites] + [[None, to]]
        return [[ROTATE, [[name, plan, cause, *option]]] for option in options]


def check_chain(steps, plan):
    digest = sha256(PLAN, to_cbor(plan))
    for step in steps:
        require(step.subject() == steps[0].subject(), f"step {step.number} is of another rollout")
        require(step.lasting[4] == digest, f"step {step.number} was taken by another plan")
        is_its = step.plan is None or (step.number == 0 and step.plan == plan)
        require(is_its, f"step {step.number} holds another plan")
        begins = step.before is None and step.previous == bytes(32)
        require((step.number == 0) == begins, f"step {step.number} does not begin where it says")
        require(sha256(to_cbor(step.row_of(plan))) == step.row, f"step {step.number} leaves another row")
    for before, step in zip(steps, steps[1:]):
        follows = step.number == before.number + 1 and step.previous == before.digest
        rises = step.after[8] > before.after[8]
        require(follows and rises and step.before == before.after, f"step {step.number} does not follow")


def opened(record, checkpoint):
    index, path, opening = record
    leaf, shown, digests, _ = check_opening(opening)
    check_inclusion(leaf, index, checkpoint["size"], checkpoint["root"], path)
    kind, operation, _, outcome, reason = shown["operation"][:5]
    require(digests and (kind, outcome) == (COMMAND, 0), "a record of something that was not done")
    return index, shown, operation, reason, digests


def check_step(step, record, checkpoint, plan):
    index, shown, operation, reason, (message, output, _) = opened(record, checkpoint)
    require(SHOWN <= set(shown), f"record {index} does not show what it must")
    authentication = shown["actor"][1]
    require(output == step.digest, f"record {index} commits to another step")
    require(reason == step.why, f"record {index} gives another reason")
    require(shown["time"][:2] == [step.unix_ms, step.quality], f"record {index} is of another time")
    require(shown["key"][0][2] == step.lasting[1], f"record {index} is of another version")
    if step.asked == NOBODY:
        is_its = (operation, authentication) == (STEP, SERVICE) and message == step.row
    elif step.asked == START and step.lasting[3] is None:
        is_its = (operation, authentication) == (ROTATE, SERVICE) and message == step.row
    else:
        commands = [sha256(to_cbor(command)) for command in step.commands(plan)]
        expected = (ORDER if step.asked == ORDERED else ROTATE, SIGNATURE)
        is_its = (operation, authentication) == expected and message in commands
    require(is_its, f"record {index} is of another command or step")
    return {"number": step.number, "record": index, "why": step.why, "status": step.after[3][0], "stage": step.after[0]}


def check_bundles(steps, records, checkpoint):
    named, found = [], {}
    for step in steps:
        if step.bundle is not None and step.bundle not in named:
            named.append(step.bundle)
    for record in records:
        index, _, operation, _, (message, _, _) = opened(record, checkpoint)
        is_named = any(digest == message for _, _, digest in named)
        require(operation == ISSUE_BUNDLE and is_named and message not in found, f"record {index} is of no such bundle")
        found[message] = index
    return [{"number": number[1], "digest": digest.hex(), "record": found.get(digest)} for number, _, digest in named]


def check(data, policy):
    form, body, digest = cbor(data)
    require(form == 1 and isinstance(body, bytes) and sha256(body) == digest, "not evidence, or altered")
    plan, steps, note, records, bundles, *named = cbor(body)
    require(len(named) <= 1 and named != [None] and steps and len(steps) == len(records), "not evidence")
    for one in named:
        check_digest(one)
    checkpoint = policy.vouched(note)
    steps = [Step(step) for step in steps]
    check_chain(steps, plan)
    told = [check_step(step, record, checkpoint, plan) for step, record in zip(steps, records)]
    places = [step["record"] for step in told]
    require(places == sorted(set(places)), "records out of order")
    return {
        "claim": "rollout",
        "rollout": steps[0].rollout.hex(),
        "steps": told,
        "bundles": check_bundles(steps, bundles, checkpoint),
        "from_beginning": steps[0].number == 0,
        "to_end": steps[-1].after[3][0] in (ROLLED_BACK, ABORTED, ON_STANDBY, DONE),
        "engine": "not run",
        "checkpoints": [checkpoint],
        "policy": compared(policy, *named or [None]),
    }


def main():
    parser = argparse.ArgumentParser(description="Checks the evidence of a rollout.")
    parser.add_argument("evidence")
    parser.add_argument("--policy", required=True)
    args = parser.parse_args()
    try:
        with open(args.evidence, "rb") as file:
            data = file.read(EVIDENCE_BYTES_MAX + 1)
        with open(args.policy, encoding="utf-8") as file:
            policy = Policy(file.read())
        require(len(data) <= EVIDENCE_BYTES_MAX, "too long to be evidence")
        result = check(data, policy)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    except (Refused, ValueError, IndexError, TypeError, AttributeError, KeyError, StopIteration) as error:
        print(f"it shows nothing: {error}", file=sys.stderr)
        return 4
    print(json.dumps(result, default=lambda value: value.hex()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
