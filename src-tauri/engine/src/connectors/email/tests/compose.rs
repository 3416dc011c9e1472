//! The bytes of a message, before any server sees them. What a server makes of them is in `smtp`.

use super::super::compose::compose;
use super::super::{Calendar, CalendarMethod, Mail, SendFailure, SmtpConfig};
use super::mail;

const ID: &str = "<bz1.confirmed.0@stillwater.example>";

fn bytes(mail: &Mail) -> Result<String, SendFailure> {
    let config = SmtpConfig::parse(
        "smtp://localhost",
        "desk@stillwater.example",
        "Stillwater Spa",
    )
    .unwrap();
    compose(&config, mail, ID).map(|mail| String::from_utf8(mail.bytes).unwrap())
}

fn headers(message: &str) -> Vec<&str> {
    message
        .split("\r\n\r\n")
        .next()
        .unwrap()
        .split("\r\n")
        .collect()
}

#[test]
fn no_text_becomes_a_header() {
    let attack = "Hi\r\nBcc: victim@example.com\r\n\r\n<b>body</b>\u{2028}X: y\0";
    let mut mail = mail("anna@example.com");
    mail.subject = attack.to_owned();
    mail.to_name = attack.to_owned();
    let message = bytes(&mail).unwrap();
    assert!(
        headers(&message)
            .iter()
            .all(|line| !line.to_lowercase().starts_with("bcc") && !line.starts_with("X:"))
    );
    assert!(
        headers(&message)
            .iter()
            .any(|line| line.starts_with("Subject: Hi Bcc: victim@example.com")),
        "{message}"
    );
}

#[test]
fn a_header_with_a_line_break_or_a_dangerous_name_is_refused() {
    for (name, value) in [
        ("X-Booking", "1\r\nBcc: victim@example.com"),
        ("X-Booking", "1\nBcc: victim@example.com"),
        ("X-Booking\r\nBcc", "victim@example.com"),
        ("X-Böoking", "1"),
        ("Bcc", "victim@example.com"),
        ("from", "boss@example.com"),
        ("Content-Type", "text/html"),
        ("X-", "1"),
    ] {
        let mut mail = mail("anna@example.com");
        mail.headers = vec![(name.to_owned(), value.to_owned())];
        let failure = bytes(&mail).unwrap_err();
        assert!(
            matches!(
                failure,
                SendFailure::Unsendable {
                    recipient: false,
                    ..
                }
            ),
            "{name}: {failure}"
        );
    }
}

#[test]
fn a_recipient_is_one_address() {
    for to in [
        "",
        "anna",
        "anna@",
        "@example.com",
        "a@b@example.com",
        "anna@exa mple.com",
        "anna@example.com>\r\nRCPT TO:<x@y.z",
        "anna@example.com, eve@example.com",
        "<anna@example.com>",
    ] {
        let failure = bytes(&mail(to)).unwrap_err();
        assert!(
            matches!(
                failure,
                SendFailure::Unsendable {
                    recipient: true,
                    ..
                }
            ),
            "{to}: {failure}"
        );
    }
}

#[test]
fn every_line_is_short_ascii_and_ends_in_crlf() {
    let mut mail = mail("anna@bücher.example");
    mail.subject = "Bestätigt: ".to_owned() + &"Überraschung ".repeat(30);
    mail.text =
        ".\n..\nFrom here\nbare\rreturn\n".to_owned() + &"ein sehr langer Absatz – ".repeat(200);
    mail.html = "<p>".to_owned() + &"x".repeat(5000) + "</p>";
    mail.headers = vec![(
        "References".to_owned(),
        "<a.b.c@stillwater.example> ".repeat(40).trim().to_owned(),
    )];
    let message = bytes(&mail).unwrap();
    assert!(message.is_ascii());
    assert!(!message.replace("\r\n", "").contains(['\r', '\n']));
    let longest = message.split("\r\n").max_by_key(|line| line.len()).unwrap();
    assert!(longest.len() <= 78, "{}: {longest}", longest.len());
    assert!(message.contains("<anna@xn--bcher-kva.example>"));
}

#[test]
fn a_mail_says_that_a_program_wrote_it_and_which_it_is() {
    let mut mail = mail("anna@example.com");
    mail.headers = vec![("X-Bizing-Delivery".to_owned(), "0198".to_owned())];
    mail.reply_to = Some("hello@stillwater.example".to_owned());
    let message = bytes(&mail).unwrap();
    for line in [
        "Message-ID: <bz1.confirmed.0@stillwater.example>",
        "Auto-Submitted: auto-generated",
        "X-Bizing-Delivery: 0198",
        "From: \"Stillwater Spa\" <desk@stillwater.example>",
        "Reply-To: \"Stillwater Spa\" <hello@stillwater.example>",
    ] {
        assert!(
            headers(&message).contains(&line),
            "{line} not in {:#?}",
            headers(&message)
        );
    }
}

#[test]
fn a_message_id_cannot_carry_anything_else() {
    let config = SmtpConfig::parse("smtp://localhost", "desk@stillwater.example", "").unwrap();
    for id in [
        "",
        "x",
        "<x>",
        "a@b\r\nBcc: c@d",
        "a b@c",
        "<a@b> <c@d>",
        "a@b@c",
        "ä@b",
    ] {
        assert!(
            compose(&config, &mail("anna@example.com"), id).is_err(),
            "{id}"
        );
    }
    assert!(compose(&config, &mail("anna@example.com"), "a.b.0@c").is_ok());
}

#[test]
fn a_calendar_entry_names_its_method_in_the_mail_itself() {
    let mut mail = mail("anna@example.com");
    mail.calendar = Some(Calendar {
        ics: "BEGIN:VCALENDAR\r\n".to_owned(),
        method: CalendarMethod::Cancel,
    });
    let message = bytes(&mail).unwrap();
    assert!(
        message.contains("Content-Type: text/calendar; charset=utf-8; method=CANCEL\r\n"),
        "{message}"
    );
    assert!(
        message.contains("Content-Disposition: attachment; filename=\"booking.ics\"\r\n"),
        "{message}"
    );
}
