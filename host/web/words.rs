//! Numbers, times and sizes as people read them, and parts of addresses.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::queue::Pause;
use crate::text;

/// What stays as it is in a part of a path.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.');

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 job`, `2 jobs`.
pub(super) fn of(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// A rate: `0`, `0.4`, `12`, `1,234`.
pub(super) fn rate(number: f64) -> String {
    if number < 0.05 {
        "0".to_owned()
    } else if number < 9.95 {
        format!("{number:.1}")
    } else {
        count(whole(number))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "people read it, and it is no less than 0"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.round().max(0.0) as u64
}

/// A length of time by its two largest units: `850 ms`, `4.1 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn time(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match s {
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// A length of time by its largest unit, for what changes all the time: `4 s`, `3 min`, `2 h`, `5 d`.
pub(super) fn roughly(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// How long ago a time was: `just now`, `3 min ago`, `in 5 s`.
pub(super) fn ago(at_ms: i64, now: Timestamp) -> String {
    let past = now.as_millisecond().saturating_sub(at_ms);
    let length = Duration::from_millis(past.unsigned_abs());
    match past {
        ..-999 => format!("in {}", roughly(length)),
        -999..2000 => "just now".to_owned(),
        _ => format!("{} ago", roughly(length)),
    }
}

/// `25 min ago by ana: why`, of a pause.
pub(super) fn pause(pause: &Pause, now: Timestamp) -> String {
    let since = parse_ms(&pause.at).map_or_else(|| text::name(&pause.at).into_owned(), |at| ago(at, now));
    let by = match pause.by.as_str() {
        "" => String::new(),
        by => format!(" by {}", text::name(by)),
    };
    let why = match pause.reason.as_str() {
        "" => String::new(),
        why => format!(": {}", text::line(why, text::MAX_LINE_BYTES)),
    };
    format!("{since}{by}{why}")
}

/// `512 B`, `3.4 KiB`, `12 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "people read it")]
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size < 9.95 {
        format!("{size:.1} {}", UNITS[unit])
    } else {
        format!("{size:.0} {}", UNITS[unit])
    }
}

/// A share of a whole in percent: `0.4%`, `12%`.
pub(super) fn share(part: u64, of: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "people read it")]
    let percent = if of == 0 { 0.0 } else { part as f64 / of as f64 * 100.0 };
    if percent > 0.0 && percent < 9.95 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.0}%")
    }
}

/// The time of a text, if it is RFC 3339.
pub(super) fn parse_ms(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Text as one part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// A query: `?a=1&b=2`, without pairs that have no value.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        empty if empty.is_empty() => empty,
        query => format!("?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0.01, 0.44, 9.94, 12.4, 4321.0].map(rate),
            ["0", "0.4", "9.9", "12", "4,321"]
        );
        assert_eq!(
            [0, 1_023, 1_024, 3_500, 12 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "3.4 KiB", "12 MiB"]
        );
        assert_eq!(
            [share(1, 3), share(1, 200), share(0, 0), share(7, 7)],
            ["33%", "0.5%", "0%", "100%"]
        );
    }

    #[test]
    fn times_have_the_units_that_matter() {
        let shown = [850, 4_100, 42_000, 200_000, 7_500_000, 273_600_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(shown, ["850 ms", "4.1 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"]);
        let now = Timestamp::from_second(1_000_000).unwrap();
        let shown = [0, -1_000, -90_000, 5_000].map(|ms| ago(1_000_000_000 + ms, now));
        assert_eq!(shown, ["just now", "just now", "1 min ago", "in 5 s"]);
    }

    #[test]
    fn addresses_keep_what_is_in_them_apart() {
        assert_eq!(part("a/b ?#é"), "a%2Fb%20%3F%23%C3%A9");
        assert_eq!(query(&[("a", "1&2"), ("b", ""), ("c", "x y")]), "?a=1%262&c=x+y");
        assert_eq!(query(&[("a", "")]), "");
    }
}
