//! As much of HTTP as the other side of a bench must read.

/// Where the head ends, and how long the body is.
pub fn head(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let length = field(&buffer[..end], "content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    Some((end, length))
}

pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
