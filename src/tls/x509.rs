//! The few fields of a certificate that are read here: version, issuer, subject and validity.
//!
//! rustls and webpki read certificates, too, but tell no validity: webpki names `notAfter` only in
//! the error for a certificate that has expired. The crate x509-parser would tell it, and is 18
//! more crates with those it needs. These fields stand at fixed places near the beginning
//! (RFC 5280 §4.1), so a walk over a few elements finds them. It does not recurse, and copies
//! nothing.

use super::validity::{self, Validity};

/// Tags of DER (X.690 §8).
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version of a certificate.
const VERSION: u8 = 0xa0;

/// Some fields of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// Whether it is of version 3, the only one that rustls takes.
    pub(super) is_version_3: bool,
    /// The name of who issued it, as DER.
    pub(super) issuer: &'a [u8],
    /// The name of who it is for, as DER.
    pub(super) subject: &'a [u8],
    /// When it is valid.
    pub(super) validity: Validity,
}

/// The fields of a DER certificate; `None` if that is not what it is.
pub(super) fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let mut outside = Elements(certificate);
    let mut certificate = Elements(outside.expect(SEQUENCE)?);
    if !outside.0.is_empty() {
        return None;
    }
    let mut signed = Elements(certificate.expect(SEQUENCE)?);
    // Version 1 is the default, and left out. The numbers begin with 0.
    let mut is_version_3 = false;
    if signed.0.first() == Some(&VERSION) {
        is_version_3 = Elements(signed.expect(VERSION)?).expect(INTEGER)? == [2];
    }
    signed.expect(INTEGER)?;
    // The algorithm of the signature.
    signed.expect(SEQUENCE)?;
    let issuer = signed.expect(SEQUENCE)?;
    let mut validity = Elements(signed.expect(SEQUENCE)?);
    let subject = signed.expect(SEQUENCE)?;
    let (tag, not_before) = validity.next()?;
    let not_before = validity::time(tag, not_before)?;
    let (tag, not_after) = validity.next()?;
    let not_after = validity::time(tag, not_after)?;
    validity.0.is_empty().then_some(Fields {
        is_version_3,
        issuer,
        subject,
        validity: Validity {
            not_before,
            not_after,
        },
    })
}

/// The parts of a name that are shown (RFC 5280 §4.1.2.4): their attribute types in DER (RFC 4519
/// §2), in the order in which they are shown.
const SHOWN: [(&str, &[u8]); 3] = [
    ("CN", &[0x55, 4, 3]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
];
/// A string with two bytes for each character (X.690 §8.23.8).
const BMP_STRING: u8 = 0x1e;

/// A [name](Fields::issuer) as text: `CN=R11, O=Let's Encrypt`. It holds whatever who made the
/// certificate wrote. Empty if the name has none of these parts.
pub(super) fn name_text(name: &[u8]) -> String {
    let shown = SHOWN.iter().filter_map(|(label, kind)| {
        let value = attribute(name, kind)?;
        Some(format!("{label}={value}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The first attribute of this type in a name.
fn attribute(name: &[u8], kind: &[u8]) -> Option<String> {
    let mut sets = Elements(name);
    while let Some((_, set)) = sets.next() {
        let mut attributes = Elements(set);
        while let Some(attribute) = attributes.expect(SEQUENCE) {
            let mut attribute = Elements(attribute);
            let (_, found) = attribute.next()?;
            let (tag, value) = attribute.next()?;
            if found == kind {
                return Some(string(tag, value));
            }
        }
    }
    None
}

/// A string of any of the types that names have.
fn string(tag: u8, value: &[u8]) -> String {
    if tag != BMP_STRING {
        return String::from_utf8_lossy(value).into_owned();
    }
    let units = value.chunks_exact(2);
    let units = units.map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// DER elements one after the other, not yet read.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    /// The tag and the content of the next element; `None` if there is none, or none in DER.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        // A tag in several bytes, which certificates do not use.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// A length, and what follows it (X.690 §8.1.3, §10.1): definite, in as few bytes as possible.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    // No file here has 4 GiB. 0 is the indefinite length, which DER has not.
    if !(1..=4).contains(&count) {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let fold = |length: u32, digit: &u8| (length << 8) | u32::from(*digit);
    let length = digits.iter().fold(0, fold);
    let is_shortest = length >= 0x80 && digits[0] != 0;
    let length = usize::try_from(length).ok()?;
    is_shortest.then_some((length, rest))
}

#[cfg(test)]
mod tests;
