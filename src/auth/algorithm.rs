//! The supported signature algorithms. Each is one file, and one row of the table here. Each key
//! knows its algorithm.

mod definition;
mod rs256;

pub use self::definition::{Algorithm, KeyMembers};
use super::json::Member;

/// The supported algorithms. A key without `alg` is for the first one with its `kty`.
static ALGORITHMS: [&Algorithm; 1] = [&rs256::RS256];

/// The algorithm with this `alg`.
pub fn named(name: &str) -> Option<&'static Algorithm> {
    find(|algorithm| algorithm.name == name)
}

/// The algorithm that jsonwebtoken knows by this value.
pub fn for_jsonwebtoken(algorithm: jsonwebtoken::Algorithm) -> Option<&'static Algorithm> {
    find(|ours| ours.jsonwebtoken == algorithm)
}

/// The algorithm of a key with these members.
///
/// # Errors
/// What is wrong with the key, for a log line that starts with its name.
pub fn of_key(kty: &Member<'_>, alg: &Member<'_>) -> Result<&'static Algorithm, &'static str> {
    let has_type = |algorithm: &Algorithm| kty.as_str() == Some(algorithm.key_type);
    let first = find(has_type).ok_or("its kty is not supported")?;
    if alg.is_absent() {
        return Ok(first);
    }
    let is_it = |ours: &Algorithm| has_type(ours) && alg.as_str() == Some(ours.name);
    find(is_it).ok_or("its alg is not supported")
}

/// The name of a JWK member, if some algorithm reads its keys from it.
pub fn key_member(name: &str) -> Option<&'static str> {
    let names = ALGORITHMS.iter().flat_map(|algorithm| algorithm.members);
    names.copied().find(|member| *member == name)
}

/// The names of the algorithms, with "or" between them.
pub fn names() -> String {
    ALGORITHMS.map(|algorithm| algorithm.name).join(" or ")
}

fn find(is_it: impl Fn(&Algorithm) -> bool) -> Option<&'static Algorithm> {
    ALGORITHMS.into_iter().find(|algorithm| is_it(algorithm))
}
