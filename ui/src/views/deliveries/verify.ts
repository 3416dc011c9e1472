//! How a receiver checks that a message is ours, to be copied into its code. Code is not translated.

export const languages = ['js', 'python', 'rust'] as const
export type Language = (typeof languages)[number]
export const languageNames: Record<Language, string> = { js: 'JavaScript', python: 'Python', rust: 'Rust' }
export const packages: Record<Language, string> = { js: 'npm install standardwebhooks', python: 'pip install standardwebhooks', rust: 'cargo add standardwebhooks' }

export const snippets: Record<Language, string> = {
  js: `import { Webhook } from 'standardwebhooks'

const webhook = new Webhook(process.env.WEBHOOK_SECRET) // whsec_…

// The raw body: parsed and printed again, it is another text.
app.post('/in', express.raw({ type: '*/*' }), (req, res) => {
  let event
  try {
    event = webhook.verify(req.body.toString(), req.headers)
  } catch {
    return res.sendStatus(400)
  }
  if (seenBefore(req.headers['webhook-id'])) return res.sendStatus(204)
  queue(event) // answer first, work later
  res.sendStatus(204)
})`,
  python: `from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_…

@app.post("/in")
def received():
    # The raw body: parsed and printed again, it is another text.
    try:
        event = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    if seen_before(request.headers["webhook-id"]):
        return "", 204
    queue(event)  # answer first, work later
    return "", 204`,
  rust: `use standardwebhooks::Webhook;

async fn received(headers: HeaderMap, body: Bytes) -> StatusCode {
    let webhook = Webhook::new(&secret()).expect("whsec_…");
    // The raw body: parsed and printed again, it is another text.
    if webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    if seen_before(&headers["webhook-id"]) {
        return StatusCode::NO_CONTENT;
    }
    queue(body); // answer first, work later
    StatusCode::NO_CONTENT
}`,
}
