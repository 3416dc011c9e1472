"""Reads an exported log by docs/EXPORT.md alone: every digest, and the hash chain of every stream.

Prints how many events it found whole; ends with 1 at the first line that is not.
"""

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


def member(line, name):
    """The bytes of a line's first member, as they stand."""
    head = '{"%s":' % name
    return line[len(head) : line.rindex(',"sha256":')] if line.startswith(head) else None


def chain(before, event, metadata, data):
    quoted = lambda text: json.dumps(text, ensure_ascii=False)
    parts = [
        str(event["version"]), quoted(event["event_id"]), quoted(event["name"]), str(event["schema_version"]),
        quoted(event["correlation_id"]), quoted(event["causation_id"]), str(micros(event["occurred_at"])),
        str(micros(event["recorded_at"])), quoted(event["actor"]), metadata, data,
    ]
    return hashlib.sha256(before + ("[%s]" % ", ".join(parts)).encode()).digest()


def verify(path):
    last, heads, events = bytes(32), {}, 0
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            told = json.loads(line)["sha256"]
            header, body, footer = (member(line, name) for name in ("header", "event", "footer"))
            if header is not None:
                digest = hashlib.sha256(header.encode()).hexdigest()
            elif footer is not None:
                digest = hashlib.sha256(last + footer.encode()).hexdigest()
                if json.loads(footer)["events"] != events:
                    sys.exit(f"line {number}: the footer counts otherwise")
            else:
                last = hashlib.sha256(last + body.encode()).digest()
                digest = last.hex()
                event = json.loads(body)
                metadata = body[body.index('"metadata":') + 11 : body.index(',"data":')]
                data = body[body.index(',"data":') + 8 : body.rindex(',"hash":')]
                # A part of a log begins in the middle of streams, whose hashes before it does not tell.
                if event["stream"] in heads or event["version"] == 1:
                    if chain(heads.get(event["stream"], b""), event, metadata, data).hex() != event["hash"]:
                        sys.exit(f"line {number}: the chain of its stream is broken")
                heads[event["stream"]] = bytes.fromhex(event["hash"])
                events += 1
            if digest != told:
                sys.exit(f"line {number}: its digest is another")
    if footer is None:
        sys.exit("the footer is missing")
    print(f"{events} events are whole")


verify(sys.argv[1])
