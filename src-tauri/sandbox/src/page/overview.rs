use super::{escape, moment, money};
use crate::{
    faults::Faults,
    ledger::Ledger,
    model::{Session, SessionState},
    world::World,
};

const ROWS: usize = 50;

/// The newest of everything, to see at a glance what the third party believes.
pub fn body(world: &World, faults: &Faults) -> String {
    let ledger = Ledger::of(world);
    let payments: Vec<[String; 6]> = ledger
        .payments
        .iter()
        .rev()
        .take(ROWS)
        .map(|p| {
            [
                code(&p.payment_intent),
                badge(&p.status),
                cell(&money(p.amount, &p.currency)),
                cell(&money(p.captured, &p.currency)),
                cell(&money(p.refunded, &p.currency)),
                code(p.metadata.get("booking_id").map_or("", String::as_str)),
            ]
        })
        .collect();
    let sessions: Vec<[String; 5]> = world
        .sessions
        .iter()
        .rev()
        .take(ROWS)
        .map(session)
        .collect();
    let messages: Vec<[String; 4]> = world
        .messages
        .iter()
        .rev()
        .take(ROWS)
        .map(|m| {
            [
                cell(&moment(m.created, "%H:%M:%S")),
                cell(&m.to.join(", ")),
                cell(&m.subject),
                format!(
                    r#"<a href="/_sandbox/messages/{}">{} bytes</a>"#,
                    escape(&m.id),
                    m.size
                ),
            ]
        })
        .collect();
    let events: Vec<[String; 3]> = world
        .events
        .iter()
        .rev()
        .take(ROWS)
        .map(|e| {
            [
                cell(&moment(e.created, "%H:%M:%S")),
                cell(&e.kind),
                code(&e.id),
            ]
        })
        .collect();
    let rules: Vec<[String; 2]> = faults
        .rules()
        .iter()
        .map(|r| {
            [
                cell(&r.operation),
                cell(&format!("{:?} {:?}", r.fault, r.when)),
            ]
        })
        .collect();

    format!(
        r#"<main class="overview">
<h1>Sandbox</h1>
<p class="muted">Its clock: {now} UTC. As JSON: <a href="/_sandbox/ledger">ledger</a>, <a href="/_sandbox/messages">messages</a>, <a href="/_sandbox/faults">faults</a>.</p>
{}{}{}{}{}
</main>"#,
        table(
            "Payments",
            [
                "Intent", "Status", "Amount", "Captured", "Refunded", "Booking"
            ],
            &payments
        ),
        table(
            "Checkout pages",
            ["Session", "Status", "Amount", "Product", "Open until"],
            &sessions
        ),
        table("Mail", ["At", "To", "Subject", "Message"], &messages),
        table("Events", ["At", "Type", "Id"], &events),
        table("Faults set", ["Operation", "Rule"], &rules),
        now = moment(world.now(), "%-d %B %Y, %H:%M:%S"),
    )
}

fn session(session: &Session) -> [String; 5] {
    let id = escape(&session.id);
    [
        match session.state {
            SessionState::Open => format!(r#"<a href="/c/{id}"><code>{id}</code></a>"#),
            SessionState::Complete | SessionState::Expired => code(&session.id),
        },
        badge(session.state.as_str()),
        cell(&money(session.amount, &session.currency)),
        cell(&session.product),
        cell(&moment(session.expires_at, "%H:%M")),
    ]
}

fn table<const N: usize>(title: &str, heads: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return format!(r#"<section><h2>{title}</h2><p class="muted">None yet.</p></section>"#);
    }
    let heads: String = heads
        .iter()
        .map(|head| format!(r#"<th scope="col">{head}</th>"#))
        .collect();
    let rows: String = rows
        .iter()
        .map(|row| {
            format!(
                "<tr>{}</tr>",
                row.iter()
                    .map(|cell| format!("<td>{cell}</td>"))
                    .collect::<String>()
            )
        })
        .collect();
    format!(
        r#"<section><h2>{title}</h2><div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"#
    )
}

fn cell(text: &str) -> String {
    escape(text)
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

fn badge(status: &str) -> String {
    let kind = match status {
        "succeeded" | "complete" => "good",
        "canceled" | "expired" => "gone",
        _ => "open",
    };
    format!(
        r#"<span class="badge {kind}">{}</span>"#,
        escape(&status.replace('_', " "))
    )
}
