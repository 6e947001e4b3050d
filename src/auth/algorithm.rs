//! The signature algorithms that tokens may use. Each is a file and a row of the table here; a key
//! knows which one is its own.

mod definition;
mod rs256;

use super::json::Member;

pub use definition::{Algorithm, KeyMembers};

/// All of them. A key without `alg` is for the first one of its `kty`.
static ALGORITHMS: [&Algorithm; 1] = [&rs256::RS256];

/// The algorithm with this `alg`.
pub fn named(name: &str) -> Option<&'static Algorithm> {
    find(|algorithm| algorithm.name == name)
}

/// The algorithm that jsonwebtoken calls this.
pub fn for_jsonwebtoken(algorithm: jsonwebtoken::Algorithm) -> Option<&'static Algorithm> {
    find(|ours| ours.jsonwebtoken == algorithm)
}

/// The algorithm of a key with these members.
///
/// # Errors
/// What is wrong with them, in words that go behind the key's name.
pub fn of_key(kty: &Member<'_>, alg: &Member<'_>) -> Result<&'static Algorithm, &'static str> {
    let has_type = |algorithm: &Algorithm| kty.as_str() == Some(algorithm.key_type);
    let first = find(has_type).ok_or("its kty is not supported")?;
    if alg.is_absent() {
        return Ok(first);
    }
    let is_it = |ours: &Algorithm| has_type(ours) && alg.as_str() == Some(ours.name);
    find(is_it).ok_or("its alg is not supported")
}

/// The name of a member of a JWK that some algorithm's keys are made of.
pub fn key_member(name: &str) -> Option<&'static str> {
    let names = ALGORITHMS.iter().flat_map(|algorithm| algorithm.members);
    names.copied().find(|member| *member == name)
}

/// What a token may be signed with: `RS256`, or several names with "or" between them.
pub fn names() -> String {
    ALGORITHMS.map(|algorithm| algorithm.name).join(" or ")
}

fn find(is_it: impl Fn(&Algorithm) -> bool) -> Option<&'static Algorithm> {
    ALGORITHMS.into_iter().find(|algorithm| is_it(algorithm))
}
