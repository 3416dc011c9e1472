"""Signs and verifies as the packages `standardwebhooks` and `svix` do; the same lines as tests/peers/webhooks/peers.mjs."""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook as Standard
from svix.webhooks import Webhook as Svix

for line in sys.stdin:
    asked = json.loads(line)
    try:
        hook = (Svix if asked["with"] == "svix" else Standard)(asked["secret"])
        if asked["do"] == "sign":
            at = datetime.fromtimestamp(asked["at"], tz=timezone.utc)
            answer = {"ok": True, "signature": hook.sign(asked["id"], at, asked["body"])}
        else:
            hook.verify(asked["body"], asked["headers"])
            answer = {"ok": True}
    except Exception as error:  # noqa: BLE001
        answer = {"ok": False, "why": str(error)}
    print(json.dumps(answer), flush=True)
