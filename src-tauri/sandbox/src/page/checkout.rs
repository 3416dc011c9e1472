use super::{escape, moment, money};
use crate::model::{Session, SessionState};

pub fn body(session: &Session, error: Option<&str>) -> String {
    match session.state {
        SessionState::Open => open(session, error),
        SessionState::Complete => complete(session),
        SessionState::Expired => notice(
            session,
            "This link has expired",
            "Nothing was charged. Ask the business for a new link.",
            session.cancel_url.as_deref(),
        ),
    }
}

fn open(session: &Session, error: Option<&str>) -> String {
    let amount = money(session.amount, &session.currency);
    let promise = if session.manual_capture {
        "Your bank reserves the amount now. It is taken when the booking is confirmed."
    } else {
        "The amount is taken right away."
    };
    let alert = error.map_or(String::new(), |error| {
        format!(r#"<p class="alert" role="alert">{}</p>"#, escape(error))
    });
    let email = session
        .customer_email
        .as_ref()
        .map_or(String::new(), |email| {
            format!("<div><dt>Receipt to</dt><dd>{}</dd></div>", escape(email))
        });
    format!(
        r#"<main class="checkout">
<section class="summary" aria-labelledby="product">
<p class="muted">You are paying for</p>
<h1 id="product">{product}</h1>
<p class="amount">{amount}</p>
<dl>
{email}
<div><dt>Reference</dt><dd>{reference}</dd></div>
<div><dt>Open until</dt><dd><time datetime="{iso}">{until} UTC</time></dd></div>
</dl>
</section>
<section class="pay" aria-labelledby="pay">
<h2 id="pay">Payment</h2>
{alert}
<form method="post" action="/c/{id}">
<div class="card" aria-hidden="true"><span>4242 4242 4242 4242</span><span>12 / 34</span></div>
<button class="primary" name="action" value="pay">Pay {amount}</button>
<p class="muted small">{promise}</p>
<fieldset>
<legend>Or try what can go wrong</legend>
<button name="action" value="decline">Decline</button>
<button name="action" value="authenticate">3-D Secure</button>
<button name="action" value="close">Close</button>
</fieldset>
</form>
</section>
</main>"#,
        product = escape(&session.product),
        reference = escape(session.client_reference_id.as_deref().unwrap_or("none")),
        iso = moment(session.expires_at, "%Y-%m-%dT%H:%M:%SZ"),
        until = moment(session.expires_at, "%-d %B, %H:%M"),
        id = escape(&session.id),
    )
}

pub fn challenge(session: &Session) -> String {
    if session.state != SessionState::Open {
        return body(session, None);
    }
    format!(
        r#"<main class="narrow">
<p class="muted">Your bank wants to know it's you</p>
<h1>Approve {amount}?</h1>
<p>{product}</p>
<form method="post" action="/c/{id}/authenticate">
<button class="primary" name="action" value="approve">Approve</button>
<button name="action" value="fail">Fail</button>
</form>
</main>"#,
        amount = money(session.amount, &session.currency),
        product = escape(&session.product),
        id = escape(&session.id),
    )
}

pub fn closed(session: &Session) -> String {
    if session.state != SessionState::Open {
        return body(session, None);
    }
    let until = moment(session.expires_at, "%-d %B, %H:%M");
    let back = session
        .cancel_url
        .as_deref()
        .map_or(String::new(), |url| link(url, "Back to the business"));
    format!(
        r#"<main class="narrow">
<h1>You have left the page</h1>
<p>Nothing was charged. The link works until {until} UTC.</p>
<p class="links"><a class="primary" href="/c/{id}">Open it again</a> {back}</p>
</main>"#,
        id = escape(&session.id),
    )
}

pub fn not_found() -> String {
    r#"<main class="narrow"><h1>There is no such page</h1><p>The link is not one of this sandbox's.</p></main>"#.to_owned()
}

fn complete(session: &Session) -> String {
    let amount = money(session.amount, &session.currency);
    let text = if session.manual_capture {
        format!("Your bank has reserved {amount}. It is taken when the booking is confirmed.")
    } else {
        format!("{amount} was paid.")
    };
    let url = session
        .success_url
        .replace("{CHECKOUT_SESSION_ID}", &session.id);
    notice(session, "Thank you", &text, Some(&url))
}

fn notice(session: &Session, title: &str, text: &str, url: Option<&str>) -> String {
    let back = url.map_or(String::new(), |url| link(url, "Back to the business"));
    format!(
        r#"<main class="narrow">
<p class="muted">{product}</p>
<h1>{title}</h1>
<p role="status">{text}</p>
<p class="links">{back}</p>
</main>"#,
        product = escape(&session.product),
        title = escape(title),
        text = escape(text),
    )
}

/// Only to a web page: a `javascript:` address from a booking's settings stays text.
fn link(url: &str, text: &str) -> String {
    if url.starts_with("https://") || url.starts_with("http://") {
        return format!(r#"<a href="{}" rel="noreferrer">{text}</a>"#, escape(url));
    }
    String::new()
}
