//! Looks at a token rule by rule, for whoever wants to know what is wrong with it.
//!
//! [`Verifier::read`] stops at the first rule that is broken. This goes on, and calls the same
//! function for each rule. It is no check: [`Verifier::read`] and a key are.

use std::time::SystemTime;

use crate::auth::key_set::Key;

use super::rules::{
    Parts, check_algorithm, check_critical, check_key_id, check_type, expires_at, not_before,
};
use super::{
    Header, Member, Payload, TokenError, Verifier, check_signature, cut, decode, object, quoted,
    unix_seconds,
};

/// The longest header that is shown, in characters.
const MAX_HEADER: usize = 1000;
/// The shortest client id of Auth0.
const MIN_CLIENT_ID: usize = 20;

/// What a token says, and which rules it breaks. Nothing in it is verified, nor made fit for a
/// line.
#[derive(Debug)]
pub struct Examination {
    /// What it is, from its form.
    pub kind: Kind,
    /// The text of its header, cut to a length, if that is a JSON object.
    pub header: Option<String>,
    /// The `kid` of its header.
    pub key_id: Option<String>,
    /// The claims `iss`, `aud` and `sub`, cut to a length.
    pub claims: Vec<(&'static str, String)>,
    /// The times that count, those of them that are numbers, in seconds since 1970: `exp`, `nbf`.
    pub times: Vec<(&'static str, f64)>,
    /// The rules in the order of the contract, but that of the signature.
    pub rules: Vec<Rule>,
}

/// What a token is, from its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not a JWT: the tenant alone can read it.
    Opaque,
    /// Encrypted (RFC 7516 §7.1).
    Encrypted,
    /// Signed, and made for a client to learn who has logged in (OpenID Connect Core §2).
    IdToken,
    /// Signed; an access token, if it keeps the rules.
    Signed,
}

/// A rule, and how the token stands to it.
#[derive(Debug)]
pub struct Rule {
    /// The member or the form that it is about.
    pub name: &'static str,
    /// How the token stands to it.
    pub finding: Finding,
}

/// How a token stands to a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It keeps the rule. The text says how, if there is something to say.
    Kept(String),
    /// It breaks the rule.
    Broken(TokenError),
    /// Not to be seen, as another rule is broken.
    Unseen,
}

impl Verifier {
    /// Looks at a token. It is accepted if and only if no rule is broken, and it is signed by the
    /// key that it names.
    pub fn examine(&self, token: &[u8], now: SystemTime) -> Examination {
        let mut examination = Examination {
            kind: Kind::Signed,
            header: None,
            key_id: None,
            claims: Vec::new(),
            times: Vec::new(),
            rules: Vec::new(),
        };
        let parts = match Parts::of(token) {
            Ok(parts) => parts,
            Err(error) => {
                examination.kind = kind_of_other(token);
                examination.add("three parts", Err(error));
                return examination;
            }
        };
        examination.add("three parts", Ok(()));
        let header = decode("header", parts.header);
        let payload = decode("payload", parts.payload);
        let (header, header_base64) = apart(header);
        let (payload, payload_base64) = apart(payload);
        let members = header.as_deref().map(|bytes| object("header", bytes));
        let header_json = examination.see_header(header.as_deref(), members);
        let members = payload.as_deref().map(|bytes| object("payload", bytes));
        if let (Some(text), Some(Ok(members))) = (&payload, &members)
            && is_id_token(text, members)
        {
            examination.kind = Kind::IdToken;
        }
        let payload_json = self.see_payload(&mut examination, members, now);
        // The order of the contract.
        examination.add_form("JSON", [header_json, payload_json]);
        examination.add_form("base64url", [Some(header_base64), Some(payload_base64)]);
        examination
    }

    /// Checks the signature of a token alone: also of one that breaks another rule. `None` if its
    /// form or its `alg` does not allow that.
    pub fn examine_signature(&self, token: &[u8], key: &Key) -> Option<Result<(), TokenError>> {
        let parts = Parts::of(token).ok()?;
        let header = decode("header", parts.header).ok()?;
        let header: Header<'_> = object("header", &header).ok()?;
        let algorithm = check_algorithm(&header).ok()?;
        Some(check_signature(
            algorithm,
            parts.message,
            parts.signature,
            key,
        ))
    }

    /// Looks at the payload. Returns whether it is JSON of the right form.
    fn see_payload(
        &self,
        examination: &mut Examination,
        members: Option<Result<Payload<'_>, TokenError>>,
        now: SystemTime,
    ) -> Option<Result<(), TokenError>> {
        let payload = match members {
            Some(Ok(payload)) => payload,
            other => {
                examination.unseen(&["iss", "aud", "exp", "nbf", "permissions"]);
                return other.map(|read| read.map(drop));
            }
        };
        let now = unix_seconds(now);
        examination.add("iss", self.check_issuer(&payload));
        examination.add("aud", self.check_audience(&payload));
        let expiry = expires_at(&payload);
        let in_time = |time| self.check_expiry(time, now);
        examination.add("exp", expiry.clone().and_then(in_time));
        let begin = not_before(&payload);
        let in_time = |time| self.check_begin(time, now);
        examination.add("nbf", begin.clone().and_then(in_time));
        examination.note("permissions", permissions(&payload.permissions));
        let claims = [
            ("iss", &payload.iss),
            ("aud", &payload.aud),
            ("sub", &payload.sub),
        ];
        examination.claims = claims.map(|(name, claim)| (name, quoted(claim))).into();
        let begin = begin.ok().flatten().map(|time| ("nbf", time));
        let times = expiry.ok().map(|time| ("exp", time)).into_iter();
        examination.times = times.chain(begin).collect();
        Some(Ok(()))
    }
}

impl Examination {
    /// The first rule that is broken, in the order of the contract.
    pub fn broken(&self) -> Option<&TokenError> {
        self.rules.iter().find_map(|rule| match &rule.finding {
            Finding::Broken(error) => Some(error),
            _ => None,
        })
    }

    /// Looks at the header. Returns whether it is JSON of the right form.
    fn see_header(
        &mut self,
        text: Option<&[u8]>,
        members: Option<Result<Header<'_>, TokenError>>,
    ) -> Option<Result<(), TokenError>> {
        let header = match members {
            Some(Ok(header)) => header,
            other => {
                self.unseen(&["alg", "typ", "kid", "crit"]);
                return other.map(|read| read.map(drop));
            }
        };
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        self.header = Some(text.chars().take(MAX_HEADER).collect());
        self.key_id = check_key_id(&header).ok().map(str::to_owned);
        self.add("alg", check_algorithm(&header).map(|_| ()));
        self.add("typ", check_type(&header));
        match check_key_id(&header) {
            Ok(id) => self.note("kid", cut(id)),
            Err(error) => self.add("kid", Err(error)),
        }
        self.add("crit", check_critical(&header));
        self.note("jwk, jku, x5u, x5c", "ignored".to_owned());
        Some(Ok(()))
    }

    fn add(&mut self, name: &'static str, checked: Result<(), TokenError>) {
        match checked {
            Ok(()) => self.note(name, String::new()),
            Err(error) => {
                let finding = Finding::Broken(error);
                self.rules.push(Rule { name, finding });
            }
        }
    }

    /// The rule is kept, and there may be something to say of it.
    fn note(&mut self, name: &'static str, how: String) {
        let finding = Finding::Kept(how);
        self.rules.push(Rule { name, finding });
    }

    fn unseen(&mut self, names: &[&'static str]) {
        let unseen = |&name| Rule {
            name,
            finding: Finding::Unseen,
        };
        self.rules.extend(names.iter().map(unseen));
    }

    /// A rule about the form of both parts. `None` is what could not be looked at.
    fn add_form(&mut self, name: &'static str, parts: [Option<Result<(), TokenError>>; 2]) {
        let seen = parts.iter().flatten().count();
        match parts.into_iter().flatten().find_map(Result::err) {
            Some(error) => self.add(name, Err(error)),
            None if seen < 2 => self.unseen(&[name]),
            None => self.add(name, Ok(())),
        }
    }
}

/// What is there, and whether it was right.
fn apart<T>(result: Result<T, TokenError>) -> (Option<T>, Result<(), TokenError>) {
    match result {
        Ok(found) => (Some(found), Ok(())),
        Err(error) => (None, Err(error)),
    }
}

/// What a token is that has not three parts.
fn kind_of_other(token: &[u8]) -> Kind {
    let mut parts = token.split(|byte| *byte == b'.');
    let header = parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let header = header.and_then(|part| decode("header", part).ok());
    match header {
        Some(header) if parts.count() == 4 && has_member(&header, "enc") => Kind::Encrypted,
        _ => Kind::Opaque,
    }
}

/// Whether a payload is one for a client: its audience is a client id, and it has what only such
/// tokens have, or no permissions.
fn is_id_token(text: &[u8], payload: &Payload<'_>) -> bool {
    let is_client_id = payload.aud.as_str().is_some_and(|audience| {
        audience.len() >= MIN_CLIENT_ID && audience.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let marks = ["nonce", "at_hash", "c_hash"];
    let is_marked = || marks.iter().any(|mark| has_member(text, mark));
    is_client_id && (payload.permissions.is_absent() || is_marked())
}

/// Whether an object seems to have this member, from its text. Good enough to guess what a token
/// is that is refused anyway.
fn has_member(text: &[u8], name: &str) -> bool {
    memchr::memmem::find(text, format!("\"{name}\"").as_bytes()).is_some()
}

/// What the claim grants.
fn permissions(claim: &Member<'_>) -> String {
    match claim {
        Member::Absent => "none, as the claim is missing".to_owned(),
        Member::Strings(texts) if texts.iter().next().is_none() => "none".to_owned(),
        Member::Strings(_) => quoted(claim),
        _ => "none, as the claim is not an array of strings".to_owned(),
    }
}

#[cfg(test)]
mod tests;
