//! Forged tokens. The attacker knows the tenant's public keys and the source of this program, but
//! no private key, or has a valid token that is meant for something else.
//!
//! Each row of a table says what is tried, why it must fail, and how. Some rows are controls, made
//! by the same means and accepted, so that a table cannot pass because all its tokens are broken.
//! `tokens.rs` tests the rules for each member of a token, base64url, duplicate members and deep
//! nesting. `keys.rs` tests keys that are skipped.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding,
};
use serde_json::{Value, json};

use crate::support::client::{Client, Response, bearer};
use crate::support::contract::{ADMIN, ADMIN_BODY, assert_headers};
use crate::support::forge::{self, SHA1_INFO, SHA256_INFO, SHA384_INFO, SHA512_INFO};
use crate::support::key::Key;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, Token, now};
use crate::support::verdict::*;

/// What the answer to a row must be.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// 200: a control.
    Accepted,
    /// 401 `invalid_token`, with this sentence.
    Invalid(&'static str),
    /// 403 `insufficient_scope`.
    Forbidden,
    /// 400 `invalid_request`: not one token.
    NotOneToken,
    /// 400 without an error code: not HTTP.
    NotHttp,
}
use Expected::{Accepted, Forbidden, Invalid, NotHttp, NotOneToken};

impl From<&'static str> for Expected {
    fn from(verdict: &'static str) -> Expected {
        Invalid(verdict)
    }
}

/// One attempt to read the admin message.
struct Row {
    name: String,
    /// Why the answer must be what it is.
    why: &'static str,
    expected: Expected,
    /// The value of `Authorization`.
    credentials: Vec<u8>,
}

/// The attempts of one test.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Why what is added now must fail.
    why: &'static str,
}

impl Table {
    /// Says why the rows from here on must fail.
    fn because(&mut self, why: &'static str) {
        self.why = why;
    }

    /// Adds `Bearer` and this token.
    fn add(&mut self, name: impl Into<String>, expected: impl Into<Expected>, token: String) {
        self.add_raw(name, expected, bearer(&token));
    }

    /// Adds the value of an `Authorization` header.
    fn add_raw(
        &mut self,
        name: impl Into<String>,
        expected: impl Into<Expected>,
        credentials: impl Into<Vec<u8>>,
    ) {
        self.rows.push(Row {
            name: name.into(),
            why: self.why,
            expected: expected.into(),
            credentials: credentials.into(),
        });
    }

    /// Adds a token that is accepted, and so shows what the others lack.
    fn control(&mut self, name: impl Into<String>, token: String) {
        self.control_raw(name, bearer(&token));
    }

    /// Adds the value of an `Authorization` header that is accepted.
    fn control_raw(&mut self, name: impl Into<String>, credentials: String) {
        let why = std::mem::replace(&mut self.why, "it is a control");
        self.add_raw(name, Accepted, credentials);
        self.why = why;
    }

    /// Makes all attempts at a server that logs at `trace`. Asserts that each gets the expected
    /// answer, that nothing of a token is logged or repeated, and that the server still works.
    fn try_all(self, tenant: &Tenant) {
        let postern = Postern::builder(tenant).env("RUST_LOG", "trace").start();
        postern.wait_for_keys();
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        let mut controls = 0;
        for row in &self.rows {
            assert!(names.insert(&row.name), "{} is there twice", row.name);
            // Twice: what has been seen before is no better for it.
            for _ in 0..2 {
                let response = postern.settled(|| ask(&postern, &row.credentials));
                row.check(&response);
                let all = format!("{:?} {}", response.headers, response.text());
                for secret in row.secrets() {
                    assert!(!all.contains(&secret), "{}: {secret} in {all}", row.name);
                }
            }
            secrets.extend(row.secrets());
            controls += usize::from(matches!(row.expected, Accepted));
        }
        assert!(controls > 0, "nothing tells that a token can be accepted");

        let good = bearer(&Token::user(tenant).admin().sign());
        let response = ask(&postern, good.as_bytes());
        assert_eq!((response.status, response.text()), (200, ADMIN_BODY));
        let log = postern.into_logs().join("\n");
        assert!(log.contains(&format!(" {ADMIN} 401 ")), "it does log");
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret} in the log");
        }
        assert!(!log.contains("panic"), "{log}");
        println!("{} rows, {controls} of them controls", self.rows.len());
    }
}

impl Row {
    fn check(&self, response: &Response) {
        let what = format!("{} (because {})", self.name, self.why);
        assert_headers(response, &what);
        match self.expected {
            Accepted => {
                let found = (response.status, response.text());
                assert_eq!(found, (200, ADMIN_BODY), "{what}");
                assert_eq!(response.header("WWW-Authenticate"), None, "{what}");
            }
            Invalid(verdict) => {
                assert_invalid_token(response, &what, verdict);
            }
            Forbidden => assert_insufficient_scope(response, &what),
            NotOneToken => assert_invalid_request(response, &what),
            NotHttp => {
                let found = (response.status, response.text());
                assert_eq!(found, (400, r#"{"message":"Bad Request"}"#), "{what}");
                assert_eq!(response.header("WWW-Authenticate"), None, "{what}");
                assert_eq!(response.header("Connection"), Some("close"), "{what}");
            }
        }
    }

    /// The beginnings of texts that must not be logged or repeated.
    fn secrets(&self) -> Vec<String> {
        let parts = self.credentials.split(|byte| b". ,\t\r\n".contains(byte));
        parts
            .filter_map(|part| part.get(..16))
            .map(|begin| String::from_utf8_lossy(begin).into_owned())
            .collect()
    }
}

/// `GET` of the admin message with these credentials, which may be any bytes.
fn ask(postern: &Postern, credentials: &[u8]) -> Response {
    let mut client = Client::connect(postern.addr());
    let head = format!("GET {ADMIN} HTTP/1.1\r\nHost: a\r\nAuthorization: ");
    client.send([head.as_bytes(), credentials, b"\r\n\r\n"].concat());
    client.response()
}

/// A valid token of an admin, to be spoilt.
fn admin(tenant: &Tenant) -> Token {
    Token::user(tenant).admin()
}

/// The compact form, with these bytes for a signature instead of its own.
fn with_signature(token: &Token, signature: &[u8]) -> String {
    token.sign_by(|_| signature.to_vec())
}

#[test]
fn unsigned_tokens_and_other_algorithms() {
    let tenant = Tenant::start();
    let user = admin(&tenant);
    let key = tenant.key();
    let mut table = Table::default();
    table.control("RS256", user.sign());
    without_a_signature(&mut table, &user);
    keyed_with_what_is_public(&mut table, &user, &key);
    signed_by_other_schemes(&mut table, &user, &key);
    table.try_all(&tenant);
}

fn without_a_signature(table: &mut Table, user: &Token) {
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "nonE\0",
        "null",
        "undefined",
    ] {
        let token = user.clone().header("alg", json!(alg));
        table.because("nobody signed it");
        table.add(format!("{alg:?}"), ALGORITHM, with_signature(&token, b""));
        table.because("the algorithm says that the signature does not count");
        table.add(format!("{alg:?}, signed"), ALGORITHM, token.sign());
        let two_parts = with_signature(&token, b"").trim_end_matches('.').to_owned();
        table.because("not a JWS");
        table.add(format!("{alg:?}, two parts"), MALFORMED, two_parts);
    }
    table.because("the algorithm is not said");
    let token = user.clone().without_header("alg");
    table.add("no alg", ALGORITHM, with_signature(&token, b""));
    table.because("an algorithm is a string");
    for alg in [
        json!(0),
        json!(false),
        json!({}),
        json!(["none"]),
        Value::Null,
    ] {
        let token = user.clone().header("alg", alg.clone());
        table.add(format!("alg {alg}"), ALGORITHM, with_signature(&token, b""));
    }
}

/// The text form of DER.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// HMAC with what everyone knows, for a verifier that takes the algorithm from the token and the
/// key from the set.
fn keyed_with_what_is_public(table: &mut Table, user: &Token, key: &Key) {
    let jwk = key.jwk();
    let text = |name: &str| jwk[name].as_str().unwrap().to_owned();
    let der = key.public_der();
    let certificate = STANDARD.decode(jwk["x5c"][0].as_str().unwrap()).unwrap();
    let spki = pem("PUBLIC KEY", &der);
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("PEM", spki.clone().into()),
        ("PEM without its last line end", spki.trim_end().into()),
        ("PEM with CR LF", spki.replace('\n', "\r\n").into()),
        ("DER", der),
        (
            "the certificate's PEM",
            pem("CERTIFICATE", &certificate).into(),
        ),
        ("the certificate", certificate),
        ("the JWK's text", jwk.to_string().into()),
        (
            "the key set's text",
            json!({"keys": [jwk]}).to_string().into(),
        ),
        ("the modulus", key.modulus()),
        ("the modulus' text", text("n").into()),
        ("the x5c's text", jwk["x5c"][0].as_str().unwrap().into()),
        ("the kid", text("kid").into()),
        ("nothing", Vec::new()),
        ("a NUL", vec![0]),
    ];
    let mac = |algorithm, secret: &[u8], message: &[u8]| {
        let key = hmac::Key::new(algorithm, secret);
        hmac::sign(&key, message).as_ref().to_vec()
    };
    table.because("a public key is no secret");
    for (alg, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        for (name, secret) in &secrets {
            let sign = |input: &[u8]| mac(algorithm, secret, input);
            let honest = user.clone().header("alg", json!(alg)).sign_by(sign);
            table.add(format!("{alg} with {name}"), ALGORITHM, honest);
            let name = format!("{alg} with {name}, called RS256");
            table.add(name, SIGNATURE, user.sign_by(sign));
        }
    }
}

/// Right signatures, but by schemes other than RS256.
fn signed_by_other_schemes(table: &mut Table, user: &Token, key: &Key) {
    let schemes: [(&str, &'static dyn RsaEncoding); 5] = [
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    table.because("only RS256 counts, whatever the right key can do");
    for (alg, scheme) in schemes {
        let sign = |input: &[u8]| key.sign_as(scheme, input);
        let honest = user.clone().header("alg", json!(alg)).sign_by(sign);
        table.add(alg, ALGORITHM, honest);
        table.add(
            format!("{alg}, called RS256"),
            SIGNATURE,
            user.sign_by(sign),
        );
        let renamed = user.clone().header("alg", json!(alg)).sign();
        table.add(format!("RS256, called {alg}"), ALGORITHM, renamed);
    }
    let by_name = user.sign_by(|input| key.sign_as(&RSA_PKCS1_SHA256, input));
    table.control("RS256 by name", by_name);

    let (ec, ed) = (ec_key(), ed_key());
    let random = SystemRandom::new();
    let ecdsa = |input: &[u8]| ec.sign(&random, input).unwrap().as_ref().to_vec();
    let eddsa = |input: &[u8]| ed.sign(input).as_ref().to_vec();
    table.because("it is not a key of the tenant's");
    let es256 = user.clone().header("alg", json!("ES256")).sign_by(ecdsa);
    table.add("ES256", ALGORITHM, es256);
    table.add("ES256, called RS256", SIGNATURE, user.sign_by(ecdsa));
    let eddsa_token = user.clone().header("alg", json!("EdDSA")).sign_by(eddsa);
    table.add("EdDSA", ALGORITHM, eddsa_token);
    table.add("EdDSA, called RS256", SIGNATURE, user.sign_by(eddsa));
    // What Java took for valid once, whatever the key and the message (CVE-2022-21449).
    let zeros = user.clone().header("alg", json!("ES256"));
    table.because("no number times zero is a signature");
    table.add(
        "ES256 of zeros",
        ALGORITHM,
        with_signature(&zeros, &[0; 64]),
    );
}

fn ec_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
}

fn ed_key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

#[test]
fn signatures_that_are_nearly_right() {
    let tenant = Tenant::start();
    let key = tenant.key();
    let user = admin(&tenant);
    let mut table = Table::default();
    table.control("as it is", user.sign());
    changed_signatures(&mut table, &user, &key);
    numbers_that_are_equal_modulo_the_modulus(&mut table, &user, &key);
    padded_wrong_infos(&mut table, &user, &key);
    wrongly_padded(&mut table, &user, &key);
    table.try_all(&tenant);
}

fn changed_signatures(table: &mut Table, user: &Token, key: &Key) {
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        user.sign_by(|input| {
            let mut signature = key.sign(input);
            change(&mut signature);
            signature
        })
    };
    table.because("a signature is as long as the modulus");
    type Change = fn(&mut Vec<u8>);
    let of_another_length: [(&str, Change); 10] = [
        ("empty", |s| s.clear()),
        ("its first byte", |s| s.truncate(1)),
        ("its first half", |s| s.truncate(128)),
        ("all but its last byte", |s| s.truncate(255)),
        ("all but its first byte", |s| *s = s[1..].to_vec()),
        ("a zero before it", |s| s.insert(0, 0)),
        ("a zero behind it", |s| s.push(0)),
        ("zeros behind it", |s| s.resize(512, 0)),
        ("itself behind it", |s| s.extend_from_within(..)),
        ("ten thousand bytes", |s| s.resize(10_000, 1)),
    ];
    for (name, change) in of_another_length {
        table.add(name, SIGNATURE, changed(&change));
    }
    table.because("it is another number");
    table.add("reversed", SIGNATURE, changed(&|s| s.reverse()));
    for at in [0, 1, 127, 254, 255] {
        for bit in 0..8 {
            let name = format!("bit {bit} of byte {at} flipped");
            table.add(name, SIGNATURE, changed(&|s| s[at] ^= 1 << bit));
        }
    }

    let text = user.sign();
    let (message, signature) = text.rsplit_once('.').unwrap();
    table.because("it signs something else");
    let other = user.clone().claim("sub", json!("auth0|another")).sign();
    let other = other.rsplit_once('.').unwrap().0;
    let moved = format!("{other}.{signature}");
    table.add("of another message", SIGNATURE, moved);
    let over = |what: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(what)));
    let payload = message.split_once('.').unwrap().1;
    table.add("of the payload alone", SIGNATURE, over(payload.as_bytes()));
    let decoded = user.header_text() + "." + &user.payload_text();
    table.add("of the decoded parts", SIGNATURE, over(decoded.as_bytes()));
    let with_dot = format!("{message}.");
    table.add("of one byte more", SIGNATURE, over(with_dot.as_bytes()));
    table.add("of nothing", SIGNATURE, over(b""));
    table.control("of the message", over(message.as_bytes()));
}

/// A token of this user for whose signing input `make` has a signature, with the signature.
fn find(user: &Token, make: impl Fn(&[u8]) -> Option<Vec<u8>>) -> String {
    for id in 0.. {
        let token = user.clone().claim("jti", json!(id));
        let mut signature = None;
        token.sign_by(|input| {
            signature = make(input);
            Vec::new()
        });
        if let Some(signature) = signature {
            return with_signature(&token, &signature);
        }
    }
    unreachable!("there are numbers enough")
}

fn numbers_that_are_equal_modulo_the_modulus(table: &mut Table, user: &Token, key: &Key) {
    let n = key.modulus();
    table.because("a signature is less than the modulus");
    let plus_n = |zeros: usize| {
        let begin = vec![0; zeros];
        user.sign_by(|input| {
            let number = |bytes: &[u8]| [&[0; 8], bytes].concat();
            let sum = forge::sum(&number(&key.sign(input)), &number(&n)).unwrap();
            [&begin, &sum[7..]].concat()
        })
    };
    table.add("plus n, a byte more", SIGNATURE, plus_n(0));
    table.add("plus n, two bytes more", SIGNATURE, plus_n(1));
    let one = [&[0; 255][..], &[1]].concat();
    for (name, signature) in [
        ("zero", vec![0; 256]),
        ("one", one.clone()),
        ("n", n.clone()),
        ("n less one", forge::difference(&n, &one)),
        ("n plus one", forge::sum(&n, &one).unwrap_or_default()),
        ("all ones", vec![0xff; 256]),
    ] {
        table.add(name, SIGNATURE, with_signature(user, &signature));
    }
    let negative = user.sign_by(|input| forge::difference(&n, &key.sign(input)));
    table.because("an odd power keeps the sign");
    table.add("its negative", SIGNATURE, negative);

    // One signature in 256 begins with a zero, which is a part of it.
    let begins_with_zero = |input: &[u8]| Some(key.sign(input)).filter(|s| s[0] == 0);
    let whole = find(user, begins_with_zero);
    let (message, signature) = whole.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let cut = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature[1..]));
    table.because("a signature is as long as the modulus, whatever it begins with");
    table.add("without the zero it begins with", SIGNATURE, cut);
    table.control("with the zero it begins with", whole);
}

/// Bytes made of a message.
type Make<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// What a right block ends with.
fn right_info(message: &[u8]) -> Vec<u8> {
    forge::info(SHA256_INFO, &SHA256, message)
}

/// Blocks that are padded as they should be, signed by the right key, with something else in them
/// than `DigestInfo` and the SHA-256 of the message.
fn padded_wrong_infos(table: &mut Table, user: &Token, key: &Key) {
    let sign = |info: Make<'_>| user.sign_by(|input| key.power(&forge::padded(&info(input), 256)));
    table.control("padded by hand", sign(&right_info));
    table.because("there is one DigestInfo for a hash (RFC 8017, section 9.2 and appendix B.1)");
    let prefixes: [(&str, &[u8]); 9] = [
        ("none", b""),
        ("OCTET STRING alone", b"\x04\x20"),
        (
            "no NULL",
            b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20",
        ),
        (
            "an empty string for NULL",
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x00\x04\x20",
        ),
        (
            "a NULL with a byte in it",
            b"\x30\x32\x30\x0e\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x01\x00\x04\x20",
        ),
        (
            "a length in long form",
            b"\x30\x81\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        ),
        (
            "no length",
            b"\x30\x80\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        ),
        (
            "the OID of SHA-224",
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x20",
        ),
        (
            "the OID of SHA-512/256",
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x06\x05\x00\x04\x20",
        ),
    ];
    for (name, prefix) in prefixes {
        let token = sign(&|input| forge::info(prefix, &SHA256, input));
        table.add(format!("DigestInfo: {name}"), SIGNATURE, token);
    }
    let hash = |input: &[u8]| forge::info(b"", &SHA256, input);
    let infos: [(&str, Make<'_>); 9] = [
        ("SHA-1", &|input| {
            forge::info(SHA1_INFO, &SHA1_FOR_LEGACY_USE_ONLY, input)
        }),
        ("SHA-384", &|input| forge::info(SHA384_INFO, &SHA384, input)),
        ("SHA-512", &|input| forge::info(SHA512_INFO, &SHA512, input)),
        ("hashed twice", &|input| right_info(&hash(input))),
        ("half of it", &|input| {
            right_info(input)[..SHA256_INFO.len() + 16].to_vec()
        }),
        ("none of it", &|_| SHA256_INFO.to_vec()),
        ("no DigestInfo either", &|_| Vec::new()),
        ("its first bit flipped", &|input| {
            let mut info = right_info(input);
            info[SHA256_INFO.len()] ^= 0x80;
            info
        }),
        ("its last bit flipped", &|input| {
            let mut info = right_info(input);
            info[SHA256_INFO.len() + 31] ^= 1;
            info
        }),
    ];
    table.because("the hash is SHA-256 of the message, all of it");
    for (name, info) in infos {
        table.add(format!("hash: {name}"), SIGNATURE, sign(info));
    }
    table.because("nothing comes behind the hash");
    for (name, garbage) in [
        ("a zero", vec![0]),
        ("100 bytes", vec![0x5a; 100]),
        ("all there is room for", vec![0xff; 202]),
    ] {
        let token = sign(&|input| [right_info(input), garbage.clone()].concat());
        table.add(format!("behind the hash: {name}"), SIGNATURE, token);
    }
    let within = sign(&|input| {
        let mut info = right_info(input);
        info[1] += 4;
        [&info[..], b"\x04\x02ab"].concat()
    });
    table.add("behind the hash, within DigestInfo", SIGNATURE, within);
}

/// Blocks with the right end, signed by the right key, that are padded in another way.
fn wrongly_padded(table: &mut Table, user: &Token, key: &Key) {
    let left = |begin: &[u8], input: &[u8]| {
        let mut block = [begin, &[0], &right_info(input)].concat();
        block.resize(256, 0x5a);
        block
    };
    let with = |begin: &[u8], filler: u8, input: &[u8]| {
        forge::with_padding(begin, filler, &right_info(input), 256)
    };
    let changed = |at: usize, byte: u8, input: &[u8]| {
        let mut block = forge::padded(&right_info(input), 256);
        block[at] = byte;
        block
    };
    let zero = 256 - SHA256_INFO.len() - 32 - 1;
    let blocks: [(&str, Make<'_>); 12] = [
        ("eight bytes", &|input| {
            left(b"\0\x01\xff\xff\xff\xff\xff\xff\xff\xff", input)
        }),
        ("one byte", &|input| left(b"\0\x01\xff", input)),
        ("no byte", &|input| left(b"\0\x01", input)),
        ("type 0", &|input| with(b"\0\0", 0, input)),
        ("type 0 with ones", &|input| with(b"\0\0", 0xff, input)),
        ("type 2", &|input| with(b"\0\x02", 0xa5, input)),
        ("begins with 1", &|input| with(b"\x01\x01", 0xff, input)),
        ("not all ones", &|input| with(b"\0\x01", 0xfe, input)),
        ("one byte not all ones", &|input| changed(100, 0xfe, input)),
        ("a zero in it", &|input| changed(100, 0, input)),
        ("no zero behind it", &|input| changed(zero, 0xff, input)),
        ("zeros before the hash", &|input| {
            [vec![0; 224], forge::info(b"", &SHA256, input)].concat()
        }),
    ];
    table.because("all of a block counts: 00 01 FF .. FF 00, and then DigestInfo to its end");
    for (name, block) in blocks {
        let token = user.sign_by(|input| key.power(&block(input)));
        table.add(format!("padding: {name}"), SIGNATURE, token);
    }
}

/// The tenant's keys and, beside them, some that only a careless tenant would have.
fn tenant_with(keys: Vec<Value>) -> Tenant {
    let tenant = Tenant::start();
    let own = [tenant.key().jwk(), tenant.next_key().jwk()];
    tenant.set_keys([&own[..], &keys].concat());
    tenant
}

#[test]
fn cubes_that_need_no_private_key() {
    // Three is an exponent a tenant may have: all that makes it safe is that every byte counts.
    let key = Key::weak(2048, 3);
    let tenant = tenant_with(vec![key.jwk()]);
    let user = admin(&tenant).header("kid", json!(key.kid()));
    let mut table = Table::default();
    let padded = |input: &[u8]| forge::padded(&right_info(input), 256);
    table.control("signed", user.sign_by(|input| key.power(&padded(input))));

    table.because("what comes behind the hash counts (CVE-2006-4339)");
    for ones in [0, 1, 8, 24] {
        let forged = user.sign_by(|input| {
            let begin = [&[0, 1][..], &vec![0xff; ones], &[0], &right_info(input)].concat();
            forge::cube_root(&begin, b"", 256)
        });
        let name = format!("{ones} bytes of padding and garbage behind the hash");
        table.add(name, SIGNATURE, forged);
    }
    let between = |prefix: &[u8], suffix: Make<'_>| {
        // What ends with no set bit has no such root: one message in two has one.
        find(&user, |input| {
            let suffix = suffix(input);
            let is_odd = suffix.last().is_some_and(|last| last % 2 == 1);
            is_odd.then(|| forge::cube_root(prefix, &suffix, 256))
        })
    };
    table.because("every byte of the padding counts");
    let with_zero = |input: &[u8]| [&[0], &right_info(input)[..]].concat();
    let forged = between(b"\0\x01\xff", &with_zero);
    table.add("garbage for padding", SIGNATURE, forged);
    let forged = between(b"\0\x01", &right_info);
    table.add("garbage up to DigestInfo", SIGNATURE, forged);
    table.because("every byte of DigestInfo counts (CVE-2014-1568)");
    let hash = |input: &[u8]| forge::info(b"\x04\x20", &SHA256, input);
    let forged = between(b"\0\x01\xff\xff", &hash);
    table.add("garbage for DigestInfo", SIGNATURE, forged);
    // Lengths in a form that a careless reader skips, along with what they cover.
    let begin = b"\0\x01\xff\xff\0\x30\x82\x00\xf7\x30\x82\x00\xd1\
        \x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x82\x00\xc2";
    table.add("garbage for NULL", SIGNATURE, between(begin, &hash));
    table.because("the hash counts");
    let forged = between(b"\0\x01\xff\xff", &|_| vec![1]);
    table.add("garbage for nearly all", SIGNATURE, forged);
    table.because("a number whose cube is less than the modulus is not padded");
    for small in [0, 1, 2] {
        let number = [&[0; 255][..], &[small]].concat();
        let name = format!("the number {small}");
        table.add(name, SIGNATURE, with_signature(&user, &number));
    }
    table.try_all(&tenant);
}

#[test]
fn keys_that_cannot_sign_tokens() {
    let own = Key::shared(0);
    let named = |key: &Key, kid: &str, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk["kid"] = json!(kid);
        jwk[name] = value;
        jwk
    };
    let small = Key::weak(1024, 65_537);
    let zero = URL_SAFE_NO_PAD.encode([&[0][..], &own.modulus()].concat());
    let secret = b"a secret that the tenant shares with this API, alas";
    let (ec, ed) = (ec_key(), ed_key());
    let point = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let xy = &ec.public_key().as_ref()[1..];
    let tenant = tenant_with(vec![
        small.jwk(),
        named(&own, "even", "e", json!("AQAC")),
        named(&own, "one", "e", json!("AQ")),
        named(&own, "leading zero", "n", json!(zero)),
        named(&own, "enc", "use", json!("enc")),
        named(&own, "RS512", "alg", json!("RS512")),
        named(&own, "HS256", "alg", json!("HS256")),
        named(&own, "none", "alg", json!("none")),
        named(&own, "as it is", "use", json!("sig")),
        json!({"kty": "oct", "kid": "oct", "k": point(secret)}),
        json!({"kty": "oct", "kid": "oct RS256", "alg": "RS256", "k": point(secret)}),
        json!({
            "kty": "EC", "kid": "EC", "crv": "P-256",
            "x": point(&xy[..32]), "y": point(&xy[32..]),
        }),
        json!({"kty": "OKP", "kid": "OKP", "crv": "Ed25519", "x": point(ed.public_key().as_ref())}),
    ]);
    let user = |kid: &str| admin(&tenant).header("kid", json!(kid));
    let padded = |message: &[u8], size| forge::padded(&right_info(message), size);
    let mut table = Table::default();
    table.control("a key's copy", user("as it is").sign());

    let signed = user(small.kid()).sign_by(|input| small.power(&padded(input, 128)));
    table.because("as good as factored");
    table.add("1024 bits", UNKNOWN_KEY, signed);
    let signed = user("one").sign_by(|input| padded(input, 256));
    table.because("the block is its own signature");
    table.add("exponent 1", UNKNOWN_KEY, signed);
    table.because("it has no inverse");
    table.add("an even exponent", UNKNOWN_KEY, user("even").sign());
    table.because("not as numbers are written");
    table.add("a leading zero", UNKNOWN_KEY, user("leading zero").sign());
    let longer = user("leading zero").sign_by(|input| [&[0][..], &own.sign(input)].concat());
    table.add("a leading zero in both", UNKNOWN_KEY, longer);
    table.because("the tenant says so");
    table.add("use enc", UNKNOWN_KEY, user("enc").sign());
    for alg in ["RS512", "HS256", "none"] {
        table.because("the key is for something else");
        table.add(format!("alg {alg}"), UNKNOWN_KEY, user(alg).sign());
        let agreed = user(alg).header("alg", json!(alg));
        let name = format!("alg {alg}, and the token agrees");
        table.add(name, ALGORITHM, agreed.sign());
    }
    let agreed = user("RS512").header("alg", json!("RS512"));
    let agreed = agreed.sign_by(|input| own.sign_as(&RSA_PKCS1_SHA512, input));
    table.because("only RS256 counts");
    table.add("alg RS512, really", ALGORITHM, agreed);

    let mac = |input: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::sign(&key, input).as_ref().to_vec()
    };
    for kid in ["oct", "oct RS256"] {
        table.because("a secret that is served is none");
        let honest = user(kid).header("alg", json!("HS256")).sign_by(mac);
        table.add(format!("{kid}, HS256"), ALGORITHM, honest);
        table.add(format!("{kid}, MAC"), UNKNOWN_KEY, user(kid).sign_by(mac));
    }
    let random = SystemRandom::new();
    let ecdsa = |input: &[u8]| ec.sign(&random, input).unwrap().as_ref().to_vec();
    let eddsa = |input: &[u8]| ed.sign(input).as_ref().to_vec();
    table.because("only RS256 counts, even if the tenant has other keys");
    let honest = user("EC").header("alg", json!("ES256")).sign_by(ecdsa);
    table.add("ES256", ALGORITHM, honest);
    table.add("EC, called RS256", UNKNOWN_KEY, user("EC").sign_by(ecdsa));
    let honest = user("OKP").header("alg", json!("EdDSA")).sign_by(eddsa);
    table.add("EdDSA", ALGORITHM, honest);
    table.add("OKP, called RS256", UNKNOWN_KEY, user("OKP").sign_by(eddsa));
    table.try_all(&tenant);
}

#[test]
fn tokens_that_bring_a_key() {
    let tenant = Tenant::start();
    let (attacker, theirs) = attacker();
    let mut table = Table::default();
    keys_in_the_header(&mut table, &admin(&tenant), &theirs, &attacker.issuer());
    table.try_all(&tenant);
    let connections = (tenant.connections(), attacker.connections());
    assert_eq!(connections, (1, 0), "a token made the server ask for keys");
}

#[test]
fn tokens_that_name_another_key() {
    let tenant = Tenant::start();
    let (attacker, theirs) = attacker();
    let mut table = Table::default();
    table.control("the tenant's", admin(&tenant).sign());
    names_of_keys(&mut table, &admin(&tenant), &theirs);
    table.try_all(&tenant);
    // The tenant may have a key that was not fetched yet. No other server has one.
    assert_eq!(attacker.connections(), 0, "the attacker was asked");
}

/// A tenant like any other, and the key it serves.
fn attacker() -> (Tenant, Key) {
    let attacker = Tenant::start();
    let key = Key::shared(5);
    attacker.set_keys(vec![key.jwk()]);
    (attacker, key)
}

/// A key by value or by address, with a `kid` that the tenant has.
fn keys_in_the_header(table: &mut Table, user: &Token, theirs: &Key, url: &str) {
    let mut alike = theirs.jwk();
    alike["kid"] = json!(kid_of(user));
    let set = format!("{url}.well-known/jwks.json");
    table.because("a token never brings its own key");
    for (name, member, value) in [
        ("jwk", "jwk", theirs.jwk()),
        ("jwk with the tenant's kid", "jwk", alike.clone()),
        ("jwk as text", "jwk", json!(alike.to_string())),
        ("jwks", "jwks", json!({"keys": [alike]})),
        ("jku", "jku", json!(set)),
        ("jku with http", "jku", json!(set.replace("https", "http"))),
        ("jku of a file", "jku", json!("file:///etc/passwd")),
        ("jku that is empty", "jku", json!("")),
        ("jku array", "jku", json!([set])),
        ("x5u", "x5u", json!(format!("{url}chain.pem"))),
        ("x5c", "x5c", theirs.jwk()["x5c"].clone()),
        ("x5t", "x5t", theirs.jwk()["x5t"].clone()),
        ("x5t#S256", "x5t#S256", json!("AAAA")),
        ("iss", "iss", json!(url)),
        ("keys", "keys", json!([theirs.jwk()])),
        ("epk", "epk", theirs.jwk()),
    ] {
        let with = user.clone().header(member, value);
        table.add(name, SIGNATURE, with.sign_with(theirs));
        table.control(format!("{name}, ignored"), with.sign());
    }
}

fn kid_of(token: &Token) -> String {
    let header: Value = serde_json::from_str(&token.header_text()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

fn names_of_keys(table: &mut Table, user: &Token, theirs: &Key) {
    let own = kid_of(user);
    table.because("no key of the tenant's has that name");
    let mut add = |name: &str, kid: Value| {
        let is_string = kid.is_string();
        let verdict = if is_string { UNKNOWN_KEY } else { NO_KEY_ID };
        let token = user.clone().header("kid", kid).sign();
        table.add(format!("kid {name}"), verdict, token);
    };
    add("path", json!("../../../../../../dev/null"));
    add(
        "path to a key",
        json!("/proc/self/root/etc/ssl/private/key.pem"),
    );
    add("URL", json!("https://attacker.example.com/key"));
    add("SQL", json!("x' UNION SELECT 'secret' -- "));
    add("SQL that ends", json!("x'; DROP TABLE keys; --"));
    add("shell", json!("|/bin/sleep 10"));
    add(
        "substitution",
        json!("$(reboot)`reboot`${jndi:ldap://127.0.0.1/a}{{7*7}}%s%n"),
    );
    add("LDAP", json!("*)(kid=*"));
    add("NUL", json!("\0"));
    add("right one and NUL", json!(format!("{own}\0")));
    add(
        "right one and what follows NUL",
        json!(format!("{own}\0.pem")),
    );
    add("right one after a path", json!(format!("./{own}")));
    add("right one and a space", json!(format!("{own} ")));
    add("right one and a line end", json!(format!("{own}\r\n")));
    add("right one but the last letter", json!(own[..own.len() - 1]));
    add("right one in capitals", json!(own.to_uppercase()));
    add("right one behind a mark", json!(format!("\u{feff}{own}")));
    add("right one as base64", json!(STANDARD.encode(&own)));
    add("right one as JSON", json!(format!("\"{own}\"")));
    add("empty", json!(""));
    add("10 KB", json!("k".repeat(10_000)));
    add(
        "line ends for the log",
        json!("a\r\n2030-01-01T00:00:00Z INFO forged\u{1b}[2J"),
    );
    add("number", json!(0));
    add("negative number", json!(-1));
    add("array", json!([own]));
    add("null", Value::Null);
    add("object", json!({ "kid": own }));
    add("boolean", json!(true));
    table.because("no key is named");
    let token = user.clone().without_header("kid");
    table.add("no kid", NO_KEY_ID, token.sign());
    table.because("it is the attacker's");
    let token = user.clone().header("kid", json!(theirs.kid()));
    table.add("kid of theirs", UNKNOWN_KEY, token.sign_with(theirs));
    let token = token.header("jwk", theirs.jwk());
    table.add(
        "kid of theirs, with it",
        UNKNOWN_KEY,
        token.sign_with(theirs),
    );
    table.add("theirs", SIGNATURE, user.sign_with(theirs));
}

#[test]
fn tokens_of_the_tenants_that_are_for_something_else() {
    let tenant = Tenant::start();
    let user = admin(&tenant);
    let mut table = Table::default();
    table.control("an access token", user.sign());
    other_issuers(&mut table, &user, &tenant);
    other_audiences(&mut table, &user);
    other_kinds(&mut table, &user);
    other_times(&mut table, &user);
    table.try_all(&tenant);
}

fn other_issuers(table: &mut Table, user: &Token, tenant: &Tenant) {
    let issuer = tenant.issuer();
    let host = tenant.domain();
    // The stand-in's is `localhost:PORT`.
    let (name, port) = host.split_once(':').expect("the stand-in has a port");
    table.because("an issuer is compared byte by byte");
    let mut add = |what: &str, iss: Value| {
        assert_ne!(iss, json!(issuer), "{what}");
        let token = user.clone().claim("iss", iss).sign();
        table.add(format!("iss {what}"), ISSUER, token);
    };
    add("without slash", json!(format!("https://{host}")));
    add("with two slashes", json!(format!("https://{host}//")));
    add("http", json!(format!("http://{host}/")));
    add("HTTPS", json!(format!("HTTPS://{host}/")));
    add(
        "of another case",
        json!(issuer.replace("localhost", "Localhost")),
    );
    add("without scheme", json!(host));
    add("relative", json!(format!("//{host}/")));
    add("userinfo", json!(format!("https://a@{host}/")));
    add(
        "as userinfo",
        json!(format!("https://{host}@attacker.example.com/")),
    );
    add("without port", json!(format!("https://{name}/")));
    add(
        "port with a zero",
        json!(format!("https://{name}:0{port}/")),
    );
    add("trailing dot", json!(format!("https://{name}.:{port}/")));
    add("subdomain", json!(format!("https://a.{host}/")));
    add(
        "as subdomain",
        json!(format!("https://{host}.attacker.example.com/")),
    );
    add(
        "as path",
        json!(format!("https://attacker.example.com/{issuer}")),
    );
    add(
        "as fragment",
        json!(format!("https://attacker.example.com/#{issuer}")),
    );
    add("with a path", json!(format!("{issuer}a")));
    add("with a query", json!(format!("{issuer}?a")));
    add("with a fragment", json!(format!("{issuer}#")));
    add(
        "percent-encoded",
        json!(issuer.replace("localhost", "%6cocalhost")),
    );
    add("Cyrillic o", json!(issuer.replacen('o', "\u{43e}", 1)));
    add("full width", json!(issuer.replacen('l', "\u{ff4c}", 1)));
    add(
        "soft hyphen",
        json!(issuer.replacen("local", "local\u{ad}", 1)),
    );
    add("zero width space", json!(format!("{issuer}\u{200b}")));
    add("byte order mark", json!(format!("\u{feff}{issuer}")));
    add("line end", json!(format!("{issuer}\n")));
    add("space before", json!(format!(" {issuer}")));
    add("NUL", json!(format!("{issuer}\0")));
    add("two", json!(format!("{issuer} {issuer}")));
    add("backslash", json!(format!("https:\\\\{host}\\")));
    add("array", json!([issuer]));
    add(
        "two in an array",
        json!(["https://attacker.example.com/", issuer]),
    );
    add("object", json!({ "0": issuer }));
    add("null", Value::Null);
    add("IP address", json!(format!("https://127.0.0.1:{port}/")));
    let escaped = issuer.replace("https", "\\u0068ttps");
    let payload = user.payload_text().replace(&issuer, &escaped);
    let token = user.clone().raw_payload(payload).sign();
    table.control("iss escaped in JSON", token);
}

fn other_audiences(table: &mut Table, user: &Token) {
    table.because("an audience is compared byte by byte");
    let mut add = |what: &str, aud: Value| {
        let token = user.clone().claim("aud", aud).sign();
        table.add(format!("aud {what}"), WRONG_AUDIENCE, token);
    };
    add(
        "without the last letter",
        json!(AUDIENCE[..AUDIENCE.len() - 1]),
    );
    add("without the first letter", json!(AUDIENCE[1..]));
    add("with a slash", json!(format!("{AUDIENCE}/")));
    add("with a path", json!(format!("{AUDIENCE}/admin")));
    add(
        "as subdomain",
        json!(format!("{AUDIENCE}.attacker.example.com")),
    );
    add(
        "as query",
        json!(format!("https://attacker.example.com/?{AUDIENCE}")),
    );
    add("of another case", json!(AUDIENCE.replace("hello", "Hello")));
    add("in capitals", json!([AUDIENCE.to_uppercase()]));
    add("with a space", json!(format!("{AUDIENCE} ")));
    add("with NUL", json!(format!("{AUDIENCE}\0")));
    add("list by spaces", json!(format!("a {AUDIENCE} b")));
    add("list by commas", json!(format!("{AUDIENCE},b")));
    add("list in an array", json!([format!("a {AUDIENCE}")]));
    add("JSON in a string", json!(json!([AUDIENCE]).to_string()));
    add("Cyrillic e", json!(AUDIENCE.replacen('e', "\u{435}", 1)));
    add(
        "zero width joiner",
        json!(AUDIENCE.replacen("hello", "hel\u{200d}lo", 1)),
    );
    add("wildcard", json!("*"));
    add("wildcard host", json!("https://*.example.com"));
    add("array of arrays", json!([[AUDIENCE]]));
    add("array with an object", json!([AUDIENCE, {}]));
    add("array with null", json!([null, AUDIENCE]));
    add("empty array", json!([]));
    add("array with nothing", json!([""]));
    add("object", json!({ AUDIENCE: AUDIENCE }));
    add("null", Value::Null);
    add("true", json!(true));
    add("number", json!(0));
    let token = user.clone().without_claim("aud").sign();
    table.because("it is for anyone");
    table.add("no aud", WRONG_AUDIENCE, token);
    let token = user.clone().claim("aud", json!(AUDIENCE)).sign();
    table.control("aud as a string", token);
}

/// Other tokens that the same tenant signs with the same key.
fn other_kinds(table: &mut Table, user: &Token) {
    let client = "my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy";
    let id_token = user.clone().claim("nonce", json!("n-0S6_WzA2Mj"));
    let id_token = id_token.claim("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ"));
    let for_client = id_token.clone().claim("aud", json!(client));
    table.because("it tells the client who has logged in");
    table.add("an ID token", WRONG_AUDIENCE, for_client.sign());
    let array = id_token.claim("aud", json!([client]));
    table.add("an ID token, array", WRONG_AUDIENCE, array.sign());
    table.because("it is for the tenant itself");
    let userinfo = user
        .clone()
        .claim("aud", json!(format!("{AUDIENCE}/userinfo")));
    table.add("for userinfo", WRONG_AUDIENCE, userinfo.sign());
    table.because("it says that it is something else");
    for typ in [
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "rt+jwt",
        "at+jwt; charset=utf-8",
        "at +jwt",
        "application/at+jwt+x",
        "JWT\0",
        "\u{ff2a}WT",
    ] {
        let token = user.clone().header("typ", json!(typ)).sign();
        table.add(format!("typ {typ:?}"), TYPE, token);
    }
    let token = user.clone().header("typ", json!("at+jwt")).sign();
    table.control("typ at+jwt", token);

    let inner = user.sign();
    table.because("the payload is not an object");
    let nested = user
        .clone()
        .header("cty", json!("JWT"))
        .raw_payload(inner.clone());
    table.add("nested", MALFORMED, nested.sign());
    let quoted = user.clone().raw_payload(format!("\"{inner}\""));
    table.add("nested, as a string", MALFORMED, quoted.sign());
    table.because("it is encrypted, or says so");
    let parts: Vec<&str> = inner.split('.').collect();
    let jwe = user
        .clone()
        .header("alg", json!("RSA-OAEP"))
        .header("enc", json!("A256GCM"));
    let jwe_header = jwe.sign().split_once('.').unwrap().0.to_owned();
    let five = |header: &str| format!("{header}.{}.AAAA.{}.{}", parts[2], parts[1], parts[2]);
    table.add("JWE", MALFORMED, five(&jwe_header));
    table.add("JWE with the header of a JWS", MALFORMED, five(parts[0]));
    let empty = format!("{}....", parts[0]);
    table.add("JWE of nothing", MALFORMED, empty);
    table.add("JWE in three parts", ALGORITHM, jwe.sign());
    table.because("JWS in JSON is not the compact form");
    let json_jws = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
    table.add("JWS in JSON", NotOneToken, json_jws.to_string());
    table.because("the payload is detached");
    let detached = format!("{}..{}", parts[0], parts[2]);
    table.add("detached", MALFORMED, detached);
}

fn other_times(table: &mut Table, user: &Token) {
    let digits = "9".repeat(400);
    let soon = (now() + 600).to_string();
    // Of `exp` and of `nbf`: what each is written as in JSON is not what `json!` would write.
    let rows: [(&str, Expected, Expected); 22] = [
        (&soon, Accepted, Invalid(NOT_YET)),
        ("1e308", Accepted, Invalid(NOT_YET)),
        ("9999999999.5", Accepted, Invalid(NOT_YET)),
        ("18446744073709551616", Accepted, Invalid(NOT_YET)),
        // What does not fit a float is no number to this program.
        ("1e400", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("-1e400", Invalid(MALFORMED), Invalid(MALFORMED)),
        (&digits, Invalid(MALFORMED), Invalid(MALFORMED)),
        ("1e-400", Invalid(EXPIRED), Accepted),
        ("0", Invalid(EXPIRED), Accepted),
        ("-0", Invalid(EXPIRED), Accepted),
        ("-1", Invalid(EXPIRED), Accepted),
        ("-9223372036854775809", Invalid(EXPIRED), Accepted),
        ("NaN", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("Infinity", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("-Infinity", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("0xffffffff", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("09999999999", Invalid(MALFORMED), Invalid(MALFORMED)),
        ("\"NaN\"", Invalid(TIME), Invalid(TIME)),
        ("\"9999999999\"", Invalid(TIME), Invalid(TIME)),
        ("{}", Invalid(TIME), Invalid(TIME)),
        ("true", Invalid(TIME), Invalid(TIME)),
        ("null", Invalid(TIME), Invalid(TIME)),
    ];
    table.because("exp is a number, and of the future; nbf is one, and is not");
    for (text, as_exp, as_nbf) in rows {
        for (claim, expected) in [("exp", as_exp), ("nbf", as_nbf)] {
            let marked = user.clone().claim(claim, json!("TIME"));
            let payload = marked.payload_text().replace("\"TIME\"", text);
            let token = user.clone().raw_payload(payload).sign();
            table.add(format!("{claim} {text:.30}"), expected, token);
        }
    }
    table.because("it would never end");
    let token = user.clone().without_claim("exp").sign();
    table.add("no exp", TIME, token);
    let token = user
        .clone()
        .without_claim("exp")
        .claim("Exp", json!(9_999_999_999_u64));
    table.add("Exp", TIME, token.sign());
    let token = user
        .clone()
        .without_claim("exp")
        .header("exp", json!(9_999_999_999_u64));
    table.add("exp in the header", TIME, token.sign());
}

#[test]
fn permissions_that_are_not_the_permission() {
    let tenant = Tenant::start();
    let user = Token::user(&tenant);
    let right = "read:admin-messages";
    let mut table = Table::default();
    table.because("permissions are compared byte by byte");
    let mut add = |name: &str, expected, permissions: Value| {
        let token = user.clone().claim("permissions", permissions).sign();
        table.add(name, expected, token);
    };
    add("the permission", Accepted, json!([right]));
    add("prefix", Forbidden, json!(["read:admin-message"]));
    add("longer", Forbidden, json!(["read:admin-messages2"]));
    add(
        "within another",
        Forbidden,
        json!(["not-read:admin-messages-at-all"]),
    );
    add("space before", Forbidden, json!([" read:admin-messages"]));
    add("space behind", Forbidden, json!(["read:admin-messages "]));
    add("NUL behind", Forbidden, json!(["read:admin-messages\0"]));
    add(
        "line end behind",
        Forbidden,
        json!(["read:admin-messages\n"]),
    );
    add(
        "list by spaces",
        Forbidden,
        json!(["a read:admin-messages b"]),
    );
    add(
        "list by commas",
        Forbidden,
        json!(["a,read:admin-messages,b"]),
    );
    add(
        "JSON within",
        Forbidden,
        json!([json!([right]).to_string()]),
    );
    add("capitals", Forbidden, json!(["READ:ADMIN-MESSAGES"]));
    add(
        "Cyrillic a",
        Forbidden,
        json!(["re\u{430}d:admin-messages"]),
    );
    add(
        "full width colon",
        Forbidden,
        json!(["read\u{ff1a}admin-messages"]),
    );
    add(
        "another hyphen",
        Forbidden,
        json!(["read:admin\u{2010}messages"]),
    );
    add(
        "zero width space",
        Forbidden,
        json!(["read:\u{200b}admin-messages"]),
    );
    add(
        "wildcards",
        Forbidden,
        json!(["*", "read:*", "*:*", "admin", "read:admin-*"]),
    );
    add("nothing", Forbidden, json!([""]));
    add("string", Forbidden, json!(right));
    add(
        "list as a string",
        Forbidden,
        json!("a read:admin-messages"),
    );
    add("object", Forbidden, json!({ right: true }));
    add("nested", Forbidden, json!([[right]]));
    add(
        "object within",
        Forbidden,
        json!([{ "permission_name": right }]),
    );
    add("null within", Forbidden, json!([right, null]));
    add("number within", Forbidden, json!([1, right]));
    add("true", Forbidden, json!(true));
    add("null", Forbidden, Value::Null);
    let many: Vec<_> = (0..160)
        .map(|at| format!("read:other-messages-{at:04}"))
        .collect();
    assert!(json!(many).to_string().len() > 4096);
    add("4 KB of others", Forbidden, json!(many));
    add(
        "4 KB of others and the right one",
        Accepted,
        json!([&many[..], &[right.into()]].concat()),
    );

    table.because("only `permissions` counts");
    for claim in [
        "scope",
        "scp",
        "roles",
        "permission",
        "Permissions",
        "https://a/permissions",
    ] {
        for value in [json!(format!("openid {right}")), json!([right])] {
            let token = user.clone().claim(claim, value.clone()).sign();
            table.add(format!("{claim} {value}"), Forbidden, token);
        }
    }
    let token = user.clone().header("permissions", json!([right])).sign();
    table.add("permissions in the header", Forbidden, token);
    let token = user.clone().without_claim("permissions").sign();
    table.add("no permissions", Forbidden, token);
    let nobody = user.clone().admin().sign_with(&Key::shared(5));
    table.because("who is not known has no permissions");
    table.add("signed by nobody", SIGNATURE, nobody);
    table.try_all(&tenant);
}

#[test]
fn texts_that_could_be_read_in_two_ways() {
    let tenant = Tenant::start();
    let user = admin(&tenant);
    let mut table = Table::default();
    table.control("one object", user.sign());
    two_values(&mut table, &user);
    not_one_object(&mut table, &user);
    not_one_token(&mut table, &user);
    table.try_all(&tenant);
}

/// One member twice, in either order, of which one reader would take the first and another the
/// last.
fn two_values(table: &mut Table, user: &Token) {
    let with_both = |text: &str, right: &str, wrong: &str, wrong_first: bool| {
        assert!(text.contains(right), "{right} in {text}");
        let (first, second) = if wrong_first {
            (wrong, right)
        } else {
            (right, wrong)
        };
        text.replace(right, &format!("{first},{second}"))
    };
    let header = user.header_text();
    let payload = user.payload_text();
    let member = |text: &str, name: &str| {
        let all: Value = serde_json::from_str(text).unwrap();
        format!("\"{name}\":{}", all[name])
    };
    table.because("it says two things");
    for wrong_first in [true, false] {
        let order = if wrong_first { "before" } else { "behind" };
        for (name, wrong) in [
            ("alg", r#""alg":"none""#),
            ("alg", r#""al\u0067":"HS256""#),
            ("kid", r#""kid":"a""#),
            ("typ", r#""typ":"at+jwt""#),
        ] {
            let text = with_both(&header, &member(&header, name), wrong, wrong_first);
            let token = user.clone().raw_header(text).sign();
            table.add(format!("{wrong} {order}"), MALFORMED, token);
        }
        for (name, wrong) in [
            ("iss", r#""iss":"https://attacker.example.com/""#),
            ("iss", r#""\u0069ss":null"#),
            ("aud", r#""aud":"https://attacker.example.com""#),
            ("exp", r#""exp":0"#),
            ("exp", r#""exp":99999999999"#),
            ("permissions", r#""permissions":[]"#),
            ("sub", r#""sub":"auth0|another""#),
            ("azp", r#""azp":"another""#),
        ] {
            let text = with_both(&payload, &member(&payload, name), wrong, wrong_first);
            let token = user.clone().raw_payload(text).sign();
            table.add(format!("{wrong} {order}"), MALFORMED, token);
        }
    }
    let same = with_both(
        &payload,
        &member(&payload, "sub"),
        &member(&payload, "sub"),
        true,
    );
    let token = user.clone().raw_payload(same).sign();
    table.because("once is enough");
    table.add("the same twice", MALFORMED, token);
    let text = with_both(&payload, &member(&payload, "sub"), r#""SUB":"a""#, true);
    let token = user.clone().raw_payload(text).sign();
    // It is another member.
    table.control("another case", token);
}

fn not_one_object(table: &mut Table, user: &Token) {
    let (header, payload) = (user.header_text(), user.payload_text());
    let utf16 = |text: &str| -> Vec<u8> {
        let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    let with = |text: &str, bytes: &[u8]| {
        let (brace, rest) = text.as_bytes().split_at(1);
        [brace, b"\"a\":\"", bytes, b"\",", rest].concat()
    };
    type Change<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    let changes: [(&str, Change<'_>); 19] = [
        ("byte order mark", &|text| format!("\u{feff}{text}").into()),
        ("UTF-16", &|text| utf16(text)),
        ("UTF-16 without mark", &|text| utf16(text)[2..].into()),
        ("garbage behind", &|text| format!("{text}garbage").into()),
        ("a brace behind", &|text| format!("{text}}}").into()),
        ("NUL behind", &|text| format!("{text}\0").into()),
        ("two objects", &|text| format!("{text}{text}").into()),
        ("two objects in lines", &|text| {
            format!("{text}\n{text}").into()
        }),
        ("array", &|text| format!("[{text}]").into()),
        ("string", &|text| json!(text).to_string().into()),
        ("a comment", &|text| text.replacen('{', "{/**/", 1).into()),
        ("a comma", &|text| text.replacen('}', ",}", 1).into()),
        ("single quotes", &|text| text.replace('"', "'").into()),
        ("form feed", &|text| format!("\u{c}{text}").into()),
        ("no-break space", &|text| format!("\u{a0}{text}").into()),
        ("a byte of no letter", &|text| with(text, b"\xff")),
        ("half a letter", &|text| with(text, b"\xc3")),
        ("a dot of two bytes", &|text| with(text, b"\xc0\xae")),
        ("half a pair", &|text| with(text, b"\xed\xa0\x80")),
    ];
    table.because("not one JSON object in UTF-8");
    for (name, change) in changes {
        let token = user.clone().raw_header(change(&header)).sign();
        table.add(format!("{name}, header"), MALFORMED, token);
        let token = user.clone().raw_payload(change(&payload)).sign();
        table.add(format!("{name}, payload"), MALFORMED, token);
    }
    let spaced = header.replace("\":", "\" :\t\r\n ");
    let token = user.clone().raw_header(format!(" \n{spaced}\r\t"));
    table.control("white space", token.sign());
    let token = user.clone().raw_header(with(&header, "é".as_bytes()));
    table.control("a letter of two bytes", token.sign());
}

fn not_one_token(table: &mut Table, user: &Token) {
    let token = user.sign();
    let with = |text: &str| token.replacen('.', text, 1);
    table.because("white space ends a token");
    table.add("space before a dot", NotOneToken, with(" ."));
    table.add("space behind a dot", NotOneToken, with(". "));
    table.add("tab behind a dot", NotOneToken, with(".\t"));
    table.add(
        "space within a part",
        NotOneToken,
        format!("{} {}", &token[..10], &token[10..]),
    );
    table.add("twice", NotOneToken, format!("{token} {token}"));
    table.add("a list", NotOneToken, format!("{token},{token}"));
    table.add_raw(
        "quoted parameter",
        NotOneToken,
        format!("Bearer token = \"{token}\""),
    );
    table.because("a line ends a header");
    table.add("LF behind a dot", NotHttp, with(".\n"));
    table.add("CR behind a dot", NotHttp, with(".\r"));
    table.add("a folded line", NotHttp, with(".\r\n "));
    table.add("NUL behind a dot", NotHttp, with(".\0"));
    table.add("vertical tab behind a dot", NotHttp, with(".\x0b"));
    table.add("form feed before it", NotHttp, format!("\x0c{token}"));
    table.add("NUL behind it", NotHttp, format!("{token}\0"));
    table.because("it is a part of the token, and none of the alphabet");
    table.add("no-break space", MALFORMED, format!("\u{a0}{token}"));
    table.add("zero width space", MALFORMED, with(".\u{200b}"));
    table.add("another dot", MALFORMED, with("\u{2024}"));
    table.add("percent-encoded dot", MALFORMED, with("%2e"));
    table.add("percent-encoded space", MALFORMED, format!("%20{token}"));
    table.add("quoted", MALFORMED, format!("\"{token}\""));
    table.add(
        "quoted parameter, close",
        MALFORMED,
        format!("token=\"{token}\""),
    );
    table.add("NULs in words", MALFORMED, with(".\\u0000"));
    table.add(
        "semicolon",
        MALFORMED,
        format!("{token};a=b").replacen('.', ";", 1),
    );
    let bytes = [b"Bearer ", token.as_bytes(), b"\xff"].concat();
    table.because("it is not even UTF-8");
    table.add_raw("a byte of no letter", MALFORMED, bytes);
    let spaces = format!(" \t bearer \t {token} \t ");
    // They are not a part of it.
    table.control_raw("spaces around", spaces);
}
