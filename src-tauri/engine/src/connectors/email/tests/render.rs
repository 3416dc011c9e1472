use super::super::{Amount, BookingFacts, RenderError, Template, render};
use super::{at, facts};

fn text(template: Template, facts: &BookingFacts) -> String {
    render(template, facts, "en").unwrap().text
}

#[test]
fn a_confirmation_reads_well_as_plain_text() {
    let draft = render(Template::BookingConfirmed, &facts(), "en").unwrap();
    assert_eq!(
        draft.subject,
        "Confirmed: Deep tissue massage on Tue 14 Jul, 14:00"
    );
    assert_eq!(
        draft.text,
        "\
Your booking is confirmed

Hello Anna Müller, Stillwater Spa is looking forward to seeing you.

What       Deep tissue massage
When       Tuesday 14 July 2026, 14:00–15:00 CEST
Where      Hauptstraße 5, 10827 Berlin
Room       Room 2
With       Jonas
Price      €80.00
Paid       €80.00
Reference  BZ-7K2M

Can’t make it? Please tell us as early as you can, so that somebody else can have the time. Quote BZ-7K2M.

--\u{20}
Stillwater Spa
You get this mail because of your booking BZ-7K2M at Stillwater Spa.
Times are local to Stillwater Spa (Europe/Berlin).
"
    );
}

#[test]
fn a_cancellation_says_why_and_what_comes_back() {
    let mut facts = facts();
    facts.refunded = Amount::new(4000, "EUR");
    facts.cancel_reason = Some("Jonas is ill".to_owned());
    let draft = render(Template::BookingCancelled, &facts, "en").unwrap();
    assert_eq!(
        draft.subject,
        "Cancelled: Deep tissue massage on Tue 14 Jul, 14:00"
    );
    assert_eq!(
        draft.text,
        "\
Your booking is cancelled

Hello Anna Müller, this booking at Stillwater Spa will not take place.

What       Deep tissue massage
When       Tuesday 14 July 2026, 14:00–15:00 CEST
Where      Hauptstraße 5, 10827 Berlin
Room       Room 2
With       Jonas
Reason     Jonas is ill
Price      €80.00
Paid       €80.00
Refunded   €40.00
Reference  BZ-7K2M

€40.00 goes back to you the way you paid. Banks usually take 5 to 10 days to show it.

If this surprises you, answer this mail or call Stillwater Spa and quote BZ-7K2M.

--\u{20}
Stillwater Spa
You get this mail because of your booking BZ-7K2M at Stillwater Spa.
Times are local to Stillwater Spa (Europe/Berlin).
"
    );
}

#[test]
fn a_payment_link_says_how_much_and_until_when() {
    let mut facts = facts();
    facts.paid.minor = 2000;
    facts.pay_url = Some("https://pay.example/c/cs_1?a=1&b=2".to_owned());
    facts.hold_until = Some(at("2026-07-13T21:30:00Z"));
    let draft = render(Template::PaymentLink, &facts, "en").unwrap();
    assert_eq!(
        draft.text,
        "\
One step left: your payment

Hello Anna Müller, Stillwater Spa is keeping this time for you until Monday 13 July 2026, 23:30 CEST. Your payment confirms it.

What          Deep tissue massage
When          Tuesday 14 July 2026, 14:00–15:00 CEST
Where         Hauptstraße 5, 10827 Berlin
Room          Room 2
With          Jonas
Price         €80.00
Paid          €20.00
Still to pay  €60.00
Reference     BZ-7K2M

Pay €60.00:
https://pay.example/c/cs_1?a=1&b=2

Without a payment by then the time becomes free for others.

--\u{20}
Stillwater Spa
You get this mail because of your booking BZ-7K2M at Stillwater Spa.
Times are local to Stillwater Spa (Europe/Berlin).
"
    );
    assert!(
        draft
            .html
            .contains("href=\"https:&#x2f;&#x2f;pay.example&#x2f;c&#x2f;cs_1?a=1&amp;b=2\""),
        "{}",
        draft.html
    );
}

#[test]
fn what_people_type_is_text_and_stays_text() {
    let mut facts = facts();
    facts.customer_name =
        "Ann <script>alert(1)</script> \"O'Neil\" & {{ price }} {% raw %}".to_owned();
    facts.service = "Cut\r\nBcc: victim@example.com".to_owned();
    let draft = render(Template::BookingConfirmed, &facts, "en").unwrap();
    assert!(!draft.html.contains("<script"), "{}", draft.html);
    assert!(draft.html.contains("&lt;script&gt;"));
    assert!(
        draft.text.contains(
            "Ann <script>alert(1)</script> \"O'Neil\" & {{ price }} {% raw %}, Stillwater"
        )
    );
    assert_eq!(draft.subject.lines().count(), 1);
    assert!(
        draft
            .subject
            .starts_with("Confirmed: Cut Bcc: victim@example.com on")
    );
}

#[test]
fn the_html_fits_dark_mode_and_loads_nothing() {
    let html = render(Template::BookingConfirmed, &facts(), "en")
        .unwrap()
        .html;
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("content=\"light dark\""));
    assert!(
        !html.contains("src=") && !html.contains("url(") && !html.contains("href="),
        "{html}"
    );
    // Gmail cuts a mail off at 102 kB.
    assert!(html.len() < 10_000, "{}", html.len());
}

#[test]
fn money_has_the_digits_of_its_currency() {
    for (minor, currency, shown) in [
        (8000, "EUR", "€80.00"),
        (5, "EUR", "€0.05"),
        (8000, "JPY", "¥8,000"),
        (1_234_567_890, "USD", "$12,345,678.90"),
        (1250, "KWD", "KWD\u{a0}1.250"),
        (8000, "CHF", "CHF\u{a0}80.00"),
        (8000, "ISK", "ISK\u{a0}8,000"),
        (i64::MAX, "EUR", "€92,233,720,368,547,758.07"),
    ] {
        let mut facts = facts();
        facts.price = Amount::new(minor, currency);
        (facts.paid, facts.refunded) = (Amount::new(0, currency), Amount::new(0, currency));
        let text = text(Template::BookingConfirmed, &facts);
        assert!(
            text.contains(&format!("Price      {shown}\n")),
            "{shown} not in {text}"
        );
        assert!(
            text.contains(&format!("Please pay {shown} at Stillwater Spa.")),
            "{text}"
        );
    }
}

#[test]
fn times_are_the_places_own_and_name_their_zone() {
    for (zone, starts, ends, shown) in [
        (
            "Asia/Tokyo",
            "2026-01-31T23:00:00Z",
            "2026-02-01T00:00:00Z",
            "Sunday 1 February 2026, 08:00–09:00 JST",
        ),
        (
            "America/New_York",
            "2026-01-02T03:30:00Z",
            "2026-01-02T04:15:00Z",
            "Thursday 1 January 2026, 22:30–23:15 EST",
        ),
        (
            "Asia/Dubai",
            "2026-01-02T03:30:00Z",
            "2026-01-02T04:15:00Z",
            "Friday 2 January 2026, 07:30–08:15 UTC+04",
        ),
        // Across midnight, and across the hour that a clock shows twice.
        (
            "Europe/Berlin",
            "2026-07-14T21:30:00Z",
            "2026-07-14T22:30:00Z",
            "Tuesday 14 July 2026, 23:30 CEST – Wednesday 15 July 2026, 00:30 CEST",
        ),
        (
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "Sunday 25 October 2026, 02:30 CEST – Sunday 25 October 2026, 02:30 CET",
        ),
    ] {
        let mut facts = facts();
        (facts.zone, facts.starts, facts.ends) = (zone.to_owned(), at(starts), at(ends));
        let text = text(Template::BookingConfirmed, &facts);
        assert!(
            text.contains(&format!("When       {shown}\n")),
            "{shown} not in {text}"
        );
    }
}

#[test]
fn facts_that_make_no_mail_say_why() {
    let check = |template, change: fn(&mut BookingFacts), words: &str| {
        let mut facts = facts();
        change(&mut facts);
        let error: RenderError = render(template, &facts, "en").unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    check(
        Template::BookingConfirmed,
        |facts| facts.zone = "Mars/Olympus".to_owned(),
        "Europe/Berlin",
    );
    check(
        Template::BookingConfirmed,
        |facts| facts.ends = facts.starts,
        "ends before it starts",
    );
    check(
        Template::BookingConfirmed,
        |facts| facts.paid.currency = "USD".to_owned(),
        "different currencies",
    );
    check(Template::PaymentLink, |_| {}, "needs the link");
    for url in [
        "javascript:alert(1)",
        "http://pay.example/",
        "pay.example",
        "data:text/html,x",
    ] {
        let mut facts = facts();
        facts.pay_url = Some(url.to_owned());
        assert!(
            matches!(
                render(Template::PaymentLink, &facts, "en"),
                Err(RenderError::UnsafePayUrl)
            ),
            "{url}"
        );
    }
    let mut facts = facts();
    for amount in [&mut facts.price, &mut facts.paid, &mut facts.refunded] {
        amount.currency = "euro".to_owned();
    }
    assert!(matches!(
        render(Template::BookingConfirmed, &facts, "en"),
        Err(RenderError::UnknownCurrency(_))
    ));
}

#[test]
fn an_unknown_language_is_answered_in_english() {
    assert_eq!(
        render(Template::BookingConfirmed, &facts(), "tlh").unwrap(),
        render(Template::BookingConfirmed, &facts(), "en-GB").unwrap()
    );
}
