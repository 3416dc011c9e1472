// Signs and verifies as the packages `standardwebhooks` and `svix` do. One JSON object a line on standard input:
// {"with": "standardwebhooks" | "svix", "do": "verify", "secret", "headers": {…}, "body"} or {…, "do": "sign", "secret", "id", "at", "body"};
// one line each comes back: {"ok": true, "signature"?} or {"ok": false, "why"}.
import { createInterface } from 'node:readline'
import { Webhook as Standard } from 'standardwebhooks'
import { Webhook as Svix } from 'svix'

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  let answer
  try {
    const hook = new (asked.with === 'svix' ? Svix : Standard)(asked.secret)
    if (asked.do === 'sign') {
      answer = { ok: true, signature: hook.sign(asked.id, new Date(asked.at * 1000), asked.body) }
    } else {
      hook.verify(asked.body, asked.headers)
      answer = { ok: true }
    }
  } catch (error) {
    answer = { ok: false, why: String(error?.message ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
