//! How long a certificate is valid, and its times as DER has them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// How long before its end a certificate is said to expire soon, in seconds.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 24 * 3600;

/// A moment, in seconds since 1970. Its `Display` is `2027-01-31 12:00:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now, by the wall clock.
    pub fn now() -> Timestamp {
        // Linux keeps its clock between 1970 and 2232.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0) else {
            // No certificate has such a time.
            return write!(f, "{} s after 1970", self.0);
        };
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

/// From when to when a certificate is valid, both inclusive (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub not_before: Timestamp,
    /// `notAfter`.
    pub not_after: Timestamp,
}

/// How a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its time has not come.
    NotYet,
    /// It is valid for 14 days or more.
    Valid,
    /// It expires in less than 14 days: after this many whole days.
    Soon(i64),
    /// It has expired.
    Over,
}

impl Validity {
    /// How it stands.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let left = self.not_after.0.saturating_sub(now.0);
        if left < 0 {
            Standing::Over
        } else if now < self.not_before {
            Standing::NotYet
        } else if left < SOON {
            Standing::Soon(left / DAY)
        } else {
            Standing::Valid
        }
    }
}

/// The tag of a `UTCTime`.
const UTC_TIME: u8 = 0x17;
/// The tag of a `GeneralizedTime`.
const GENERALIZED_TIME: u8 = 0x18;

/// Reads a time of a certificate: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, and nothing else (RFC 5280
/// §4.1.2.5.1 and §4.1.2.5.2). `tag` is the DER tag.
pub(super) fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 13) => {
            let year = number(&text[..2])?;
            let century = if year < 50 { 2000 } else { 1900 };
            (century + year, &text[2..])
        }
        (GENERALIZED_TIME, 15) => (number(&text[..4])?, &text[4..]),
        _ => return None,
    };
    let (digits, zone) = rest.split_at(10);
    if zone != b"Z" {
        return None;
    }
    let mut parts = [0u8; 5];
    for (part, digits) in parts.iter_mut().zip(digits.chunks(2)) {
        *part = u8::try_from(number(digits)?).ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = Time::from_hms(hour, minute, second).ok()?;
    let at = PrimitiveDateTime::new(date, time).assume_utc();
    Some(Timestamp(at.unix_timestamp()))
}

/// A number of at most four digits.
fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0, |number, digit| {
        let is_digit = digit.is_ascii_digit();
        is_digit.then(|| number * 10 + i32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
