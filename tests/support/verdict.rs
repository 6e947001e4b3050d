//! The answers to requests with an invalid token, or without one.

use super::client::Response;

/// The description of a refused token in the header is one of these.
pub const MALFORMED: &str = "The access token is malformed";
pub const ALGORITHM: &str = "The access token is not signed with RS256";
pub const TYPE: &str = "The token is not an access token";
pub const CRITICAL: &str = "The access token uses an extension this API does not know";
pub const NO_KEY_ID: &str = "The access token does not name its signing key";
pub const UNKNOWN_KEY: &str = "The access token is signed with an unknown key";
pub const SIGNATURE: &str = "The access token has an invalid signature";
pub const ISSUER: &str = "The access token is from another issuer";
pub const WRONG_AUDIENCE: &str = "The access token is for another audience";
pub const TIME: &str = "The access token lacks a valid time claim";
pub const EXPIRED: &str = "The access token expired";
pub const NOT_YET: &str = "The access token is not valid yet";

/// Stands for no description: the token is accepted.
pub const ACCEPTED: &str = "";

/// Panics unless this is the answer to an invalid token, with this sentence in the header. Returns
/// the description in the body.
#[track_caller]
pub fn assert_invalid_token(response: &Response, what: &str, verdict: &str) -> String {
    assert_eq!(response.status, 401, "{what}: {}", response.text());
    let challenge =
        format!(r#"Bearer realm="api", error="invalid_token", error_description="{verdict}""#);
    let found = response.header("WWW-Authenticate");
    assert_eq!(found, Some(&*challenge), "{what}: {}", response.text());
    let body = response.json();
    assert_eq!(body["message"], "Bad credentials", "{what}");
    assert_eq!(body["error"], "invalid_token", "{what}");
    assert_eq!(body.as_object().unwrap().len(), 3, "{what}");
    let description = body["error_description"].as_str().expect(what);
    assert!(description.ends_with('.'), "{what}: {description}");
    description.to_owned()
}

/// Panics unless this is the answer to an `Authorization` other than `Bearer` and one token.
#[track_caller]
pub fn assert_invalid_request(response: &Response, what: &str) {
    let body = concat!(
        r#"{"message":"Requires authentication","error":"invalid_request","#,
        r#""error_description":"Authorization header value must follow this format: "#,
        r#"Bearer access-token"}"#
    );
    assert_eq!((response.status, response.text()), (400, body), "{what}");
    let challenge = concat!(
        r#"Bearer realm="api", error="invalid_request", "#,
        r#"error_description="Authorization header value must follow this format: "#,
        r#"Bearer access-token""#
    );
    let found = response.header("WWW-Authenticate");
    assert_eq!(found, Some(challenge), "{what}");
}

/// Panics unless this is the answer while no token can be checked, for this reason.
#[track_caller]
pub fn assert_unavailable(response: &Response, error: &str) {
    assert_eq!(
        (response.status, response.json()["error"].as_str()),
        (503, Some(error))
    );
    let retry_after: u64 = response.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=300).contains(&retry_after), "{retry_after}");
}

/// Panics unless this is the answer to a valid token without `read:admin-messages`.
#[track_caller]
pub fn assert_insufficient_scope(response: &Response, what: &str) {
    let body = concat!(
        r#"{"message":"Permission denied","error":"insufficient_scope","#,
        r#""error_description":"Requires read:admin-messages"}"#
    );
    assert_eq!((response.status, response.text()), (403, body), "{what}");
    let challenge = concat!(
        r#"Bearer realm="api", error="insufficient_scope", scope="read:admin-messages", "#,
        r#"error_description="Requires read:admin-messages""#
    );
    let found = response.header("WWW-Authenticate");
    assert_eq!(found, Some(challenge), "{what}");
}
