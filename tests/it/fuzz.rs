//! Whatever somebody sends or types: no panic, and nothing believed that should not be. `make fuzz` runs millions of each from a
//! seed that it prints; a few thousand run with every test.

use std::net::{IpAddr, Ipv4Addr};

use bizing_engine::delivery::http::{AllowList, Guard, TargetHost};
use bizing_engine::delivery::webhook::sign::{self, SigningSecret};
use bizing_stripe::Secret;
use bizing_stripe::webhook::{TOLERANCE_S, parse_event, verify};
use uuid::Uuid;

/// Small, quick and the same everywhere: a run can be had again by its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Pieces from which bad input is made, beside bytes without any sense.
const PIECES: [&str; 30] = [
    "t=",
    "v1=",
    "v0=",
    ",",
    "=",
    " ",
    "%00",
    "\\",
    "@",
    "#",
    "?",
    "[::1]",
    "[::ffff:7f00:1]",
    "0x7f.1",
    "2130706433",
    "017700000001",
    "127.0.0.1",
    "169.254.169.254",
    "localhost",
    "https://",
    "http://",
    ":443",
    ":99999999999",
    "ä",
    "\u{202e}",
    "\u{0}",
    "9223372036854775807",
    "-1",
    "{\"id\":",
    "null",
];

/// Some change of a text: cut, doubled, put together, one sign another.
fn changed(dice: &mut Dice, text: &str) -> String {
    let mut signs: Vec<char> = text.chars().collect();
    for _ in 0..=dice.below(4) {
        let at = dice.below(signs.len() + 1);
        match dice.below(6) {
            0 => signs.truncate(at),
            1 if at < signs.len() => {
                signs.remove(at);
            }
            2 => signs.insert(
                at,
                char::from_u32(dice.below(0x11_0000) as u32).unwrap_or('x'),
            ),
            3 => {
                signs.splice(at..at, dice.pick(&PIECES).chars());
            }
            4 if at < signs.len() => signs[at] = char::from(dice.below(128) as u8),
            _ => {
                let a = dice.below(signs.len() + 1);
                let b = dice.below(signs.len() + 1);
                let part: Vec<char> = signs[a.min(b)..a.max(b)]
                    .iter()
                    .take(200)
                    .copied()
                    .collect();
                signs.splice(at..at, part);
            }
        }
    }
    signs.into_iter().take(4096).collect()
}

const NOW: i64 = 1_795_520_515;
const BODY: &str = r#"{"id":"evt_1","type":"payment_intent.succeeded","created":1795520515,"api_version":"2026-09-30.endive","data":{"object":{"id":"pi_1","client_secret":"s"}}}"#;

/// Only the very signature that we made is believed, wherever in a header it stands.
fn stripe_header(dice: &mut Dice, secrets: &[Secret], good: &str) {
    let header = changed(dice, good);
    if verify(BODY.as_bytes(), &header, secrets, TOLERANCE_S, NOW).is_ok() {
        let made = good.split_once("v1=").unwrap().1;
        assert!(
            header.to_ascii_lowercase().contains(made) && header.contains("1795520515"),
            "{header:?}"
        );
    }
}

fn standard_headers(dice: &mut Dice, secret: &SigningSecret, id: &str, good: &str) {
    let (signature, time) = (changed(dice, good), changed(dice, "1795520515"));
    let told = sign::verify(
        std::slice::from_ref(secret),
        Some(id),
        Some(&time),
        Some(&signature),
        BODY.as_bytes(),
        NOW,
    );
    if told.is_ok() {
        let made = good.split_once(',').unwrap().1;
        assert!(
            signature.contains(made) && time.parse() == Ok(NOW),
            "{signature:?} {time:?}"
        );
    }
}

/// What the guard lets through is https, without a user name, and no address of one's own.
fn address(dice: &mut Dice, guard: &Guard) {
    let whole = [
        "https://hooks.example.com/in?a=b",
        "https://127.0.0.1/",
        "https://[::1]:8443/x",
        "https://user:pw@example.com/",
        "http://example.com",
        "https://0x7f000001/",
        "https://example.com:5432/",
        "https://xn--bcher-kva.example/ü",
        "https://[fe80::1%25eth0]/",
    ];
    let from = dice.pick(&whole);
    let text = changed(dice, from);
    let Ok(target) = guard.url(&text) else {
        return;
    };
    assert!(target.https, "{text:?}");
    assert!(
        !target.authority.contains('@') && !target.path.contains('#'),
        "{text:?} {target:?}"
    );
    assert!(![22, 25, 5432, 6379].contains(&target.port), "{text:?}");
    match target.host {
        TargetHost::Address(IpAddr::V4(ip)) => assert!(public(ip), "{text:?}"),
        TargetHost::Address(IpAddr::V6(ip)) => {
            assert!(!ip.is_loopback() && !ip.is_unspecified(), "{text:?}");
            assert!(ip.to_ipv4_mapped().is_none_or(public), "{text:?}");
        }
        TargetHost::Name(name) => assert!(
            name != "localhost" && !name.ends_with(".localhost") && name.contains('.'),
            "{text:?}"
        ),
    }
}

fn public(ip: Ipv4Addr) -> bool {
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_multicast())
}

/// An event has the names by which it is kept, and no secret.
fn event(dice: &mut Dice) {
    let text = changed(dice, BODY);
    if let Ok(event) = parse_event(text.as_bytes()) {
        assert!(
            event.raw["data"]["object"].get("client_secret").is_none(),
            "{text:?}"
        );
        assert_eq!(event.raw["id"], event.id.as_str(), "{text:?}");
    }
    let bytes: Vec<u8> = (0..dice.below(64)).map(|_| dice.below(256) as u8).collect();
    let _ = parse_event(&bytes);
}

fn run(cases: u64, seed: u64) {
    let mut dice = Dice(seed);
    let secrets = [Secret::new("whsec_one"), Secret::new("whsec_two")];
    let header = bizing_sandbox::signature("whsec_two", NOW as u64, BODY);
    let secret = SigningSecret::random();
    let id = format!("msg_{}", Uuid::nil().simple());
    let signed = sign::header(std::iter::once(&secret), &id, NOW, BODY.as_bytes());
    assert!(verify(BODY.as_bytes(), &header, &secrets, TOLERANCE_S, NOW).is_ok());
    let guard = Guard::new(AllowList::default(), vec![5432]);
    for _ in 0..cases {
        stripe_header(&mut dice, &secrets, &header);
        standard_headers(&mut dice, &secret, &id, &signed);
        address(&mut dice, &guard);
        event(&mut dice);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn thousands_of_odd_inputs_panic_nowhere_and_none_is_believed() {
    run(2_000, 1);
}

#[test]
#[ignore = "takes minutes: make fuzz"]
fn millions_of_odd_inputs() {
    let cases = number("FUZZ_CASES").unwrap_or(2_000_000);
    let seed = number("FUZZ_SEED").unwrap_or_else(|| Uuid::now_v7().as_u128() as u64);
    println!("{cases} inputs for each of four parsers, FUZZ_SEED={seed}");
    let began = std::time::Instant::now();
    run(cases, seed);
    println!(
        "{} inputs, no panic, none believed, in {:.0} s",
        4 * cases,
        began.elapsed().as_secs_f32()
    );
}
