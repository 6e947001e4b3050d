use super::*;
use crate::tls::validity::Timestamp;

/// An element with this tag.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let length = match length {
        0..0x80 => vec![length as u8],
        0x80..0x100 => vec![0x81, length as u8],
        _ => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [&[tag], &*length, content].concat()
}

/// A certificate as far as it is read, with these elements in the part that is signed.
fn certificate(signed: &[Vec<u8>]) -> Vec<u8> {
    let rest = [element(SEQUENCE, b""), element(0x03, b"\0signature")].concat();
    let signed = element(SEQUENCE, &signed.concat());
    element(SEQUENCE, &[signed, rest].concat())
}

fn times(not_before: &str, not_after: &str) -> Vec<u8> {
    let time = |text: &str| element(if text.len() == 13 { 0x17 } else { 0x18 }, text.as_bytes());
    element(SEQUENCE, &[time(not_before), time(not_after)].concat())
}

fn signed() -> Vec<Vec<u8>> {
    vec![
        element(VERSION, &element(INTEGER, &[2])),
        element(INTEGER, &[1, 2, 3]),
        element(SEQUENCE, b"algorithm"),
        element(SEQUENCE, b"issuer"),
        times("240101000000Z", "20500101000000Z"),
        element(SEQUENCE, b"subject"),
        element(SEQUENCE, b"key"),
    ]
}

#[test]
fn the_fields_are_found() {
    let mut signed = signed();
    let mut expected = Fields {
        is_version_3: true,
        issuer: b"issuer",
        subject: b"subject",
        validity: Validity {
            not_before: Timestamp(1_704_067_200),
            not_after: Timestamp(2_524_608_000),
        },
    };
    assert_eq!(fields(&certificate(&signed)), Some(expected));
    // Version 2, and version 1, which is left out.
    expected.is_version_3 = false;
    signed[0] = element(VERSION, &element(INTEGER, &[1]));
    assert_eq!(fields(&certificate(&signed)), Some(expected));
    signed.remove(0);
    assert_eq!(fields(&certificate(&signed)), Some(expected));
    let long = vec![b'x'; 300];
    signed[2] = element(SEQUENCE, &long);
    assert_eq!(fields(&certificate(&signed)).unwrap().issuer, long);
}

#[test]
fn the_fields_of_a_real_certificate_are_found() {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap();
    let fields = fields(der.der()).unwrap();
    assert_eq!(fields.issuer, fields.subject);
    assert_eq!(
        fields.validity.not_before.to_string(),
        "2020-01-01 00:00:00 UTC"
    );
    assert_eq!(
        fields.validity.not_after.to_string(),
        "2120-01-01 00:00:00 UTC"
    );
}

#[test]
fn what_is_no_certificate_has_no_fields() {
    let good = certificate(&signed());
    assert!(fields(&good).is_some());
    // Every cut.
    for length in 0..good.len() {
        assert_eq!(fields(&good[..length]), None, "{length}");
    }
    // More than one.
    assert_eq!(fields(&[&*good, &good].concat()), None);
    // Without one of the elements before the subject, or with one before the validity twice.
    for at in 1..5 {
        let mut without = signed();
        without.remove(at);
        assert_eq!(fields(&certificate(&without)), None, "{at}");
    }
    for at in 0..4 {
        let mut twice = signed();
        twice.insert(at, signed()[at].clone());
        assert_eq!(fields(&certificate(&twice)), None, "{at}");
    }
    // A third time, and one that is none.
    let mut three = signed();
    let time = element(0x17, b"240101000000Z");
    three[4] = element(SEQUENCE, &time.repeat(3));
    assert_eq!(fields(&certificate(&three)), None);
    let mut wrong = signed();
    wrong[4] = times("240101000000Z", "241301000000Z");
    assert_eq!(fields(&certificate(&wrong)), None);
}

#[test]
fn lengths_are_those_of_der() {
    let cases: &[(&[u8], Option<usize>)] = &[
        (b"", None),
        (b"\x00", Some(0)),
        (b"\x7f", Some(127)),
        (b"\x80", None),
        (b"\x81", None),
        (b"\x81\x7f", None),
        (b"\x81\x80", Some(128)),
        (b"\x82\x00\xff", None),
        (b"\x82\x01\x00", Some(256)),
        (b"\x83\x01\x00\x00", Some(65536)),
        (b"\x84\xff\xff\xff\xff", Some(0xffff_ffff)),
        (b"\x84\x00\xff\xff\xff", None),
        (b"\x85\x01\x00\x00\x00\x00", None),
        (b"\xff", None),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            length(bytes).map(|(length, _)| length),
            *expected,
            "{bytes:x?}"
        );
    }
    // Longer than what is there.
    assert_eq!(Elements(b"\x30\x84\xff\xff\xff\xff..").next(), None);
    assert_eq!(Elements(b"\x30\x03..").next(), None);
    assert_eq!(Elements(b"\x30\x02..").next(), Some((0x30, &b".."[..])));
    // A tag in several bytes.
    assert_eq!(Elements(b"\x3f\x02..").next(), None);
}

#[test]
fn no_byte_makes_it_panic() {
    let good = certificate(&signed());
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut changed = good.clone();
            changed[at] = byte;
            fields(&changed);
        }
    }
}

/// An attribute of a name, in a set of its own.
fn named(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    let attribute = [element(0x06, kind), element(tag, value)].concat();
    element(0x31, &element(SEQUENCE, &attribute))
}

#[test]
fn a_name_is_shown_from_its_end_to_its_beginning() {
    let country = named(&[0x55, 4, 6], 0x13, b"US");
    let organization = named(&[0x55, 4, 10], 0x0c, "Größe".as_bytes());
    let common = named(&[0x55, 4, 3], BMP_STRING, b"\0R\x01\x31\xd8\0");
    let name = [&*country, &organization, &common].concat();
    assert_eq!(name_text(&name), "CN=Rı\u{fffd}, O=Größe");
    assert_eq!(name_text(&country), "");
    assert_eq!(name_text(b""), "");
    // Of two, the first; and what is no name has no text.
    let two = [
        named(&[0x55, 4, 3], 0x0c, b"a"),
        named(&[0x55, 4, 3], 0x0c, b"\xff"),
    ]
    .concat();
    assert_eq!(name_text(&two), "CN=a");
    for cut in 0..name.len() {
        name_text(&name[..cut]);
        name_text(&name[cut..]);
    }
}
