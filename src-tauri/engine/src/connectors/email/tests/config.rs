use super::super::{ConfigError, Mailer, Security, SmtpConfig};

fn parse(url: &str) -> Result<SmtpConfig, ConfigError> {
    SmtpConfig::parse(url, "desk@stillwater.example", "Stillwater Spa")
}

#[test]
fn a_plain_address_is_encrypted_and_on_the_submission_port() {
    let config = parse("smtp://mail.example.com").unwrap();
    assert_eq!(
        (config.host.as_str(), config.port),
        ("mail.example.com", 587)
    );
    assert_eq!(config.security, Security::Required);
    assert_eq!(parse("smtps://mail.example.com").unwrap().port, 465);
    assert_eq!(parse("smtp://u:p@[::1]:2525?tls=none").unwrap().host, "::1");
    assert_eq!(
        parse("smtp://pöst.example").unwrap().host,
        "xn--pst-sna.example"
    );
}

#[test]
fn user_and_password_are_decoded_and_never_printed() {
    let config =
        parse("smtp://anna%40example.com:p%40s%2Fs%23%25w%C3%B6rd@mail.example.com").unwrap();
    let (user, password) = config.login.clone().unwrap();
    assert_eq!(
        (user.as_str(), password.reveal()),
        ("anna@example.com", "p@s/s#%wörd")
    );
    let mailer = Mailer::new(&config).unwrap();
    for printed in [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{mailer:?}"),
    ] {
        assert!(
            printed.contains("***") && !printed.contains("p@s"),
            "{printed}"
        );
    }
}

#[test]
fn each_mistake_is_answered_with_what_to_write_instead() {
    use ConfigError as E;
    for (url, error) in [
        ("https://mail.example.com", E::Scheme("https".to_owned())),
        ("mail.example.com", E::Unreadable),
        ("smtp://u:pa/ss@mail.example.com", E::Unreadable),
        ("smtp://u:pa%ss@mail.example.com", E::Unreadable),
        ("smtp://mail.example.com/inbox", E::Path),
        ("smtp://mail.example.com/#x", E::Fragment),
        ("smtp://", E::NoHost),
        ("smtp://user@mail.example.com", E::HalfALogin),
        (
            "smtp://mail.example.com?tls=yes",
            E::UnknownTls("yes".to_owned()),
        ),
        (
            "smtp://mail.example.com?ssl=1",
            E::UnknownOption("ssl".to_owned()),
        ),
        ("smtps://mail.example.com?tls=none", E::TlsTwice),
        ("smtp://mail.example.com:465", E::PortWantsSmtps),
        ("smtps://mail.example.com:587", E::PortWantsSmtp(587)),
        (
            "smtp://u:secret@mail.example.com?tls=none",
            E::PasswordInClear,
        ),
        (
            "smtp://u:secret@localhost.example.com?tls=none",
            E::PasswordInClear,
        ),
    ] {
        let found = parse(url).unwrap_err();
        assert_eq!(found, error, "{url}");
        assert!(!found.to_string().contains("secret"), "{found}");
    }
    assert!(parse("smtp://u:p@127.0.0.1:25?tls=none").is_ok());
    let from = SmtpConfig::parse("smtp://mail.example.com", "desk", "x").unwrap_err();
    assert_eq!(
        from.to_string(),
        "The sender “desk” has no @. Write an address such as bookings@example.com."
    );
}

#[test]
fn a_file_without_a_certificate_is_no_authority() {
    let config = parse("smtp://mail.example.com")
        .unwrap()
        .with_extra_ca("not a certificate");
    assert_eq!(Mailer::new(&config).unwrap_err(), ConfigError::Authority);
}
