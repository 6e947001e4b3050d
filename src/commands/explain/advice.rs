//! What to do about a token that is refused: one sentence for each reason.

use std::sync::Arc;

use crate::auth::verifier::{Examination, Kind};
use crate::auth::{AuthError, Claims, TokenError};
use crate::http::request::HeadError;

/// What helps against a head that is not read.
pub(super) fn of_head(fault: HeadError) -> &'static str {
    match fault {
        HeadError::TooLarge => {
            "No server takes a head of any size: the token needs fewer permissions or claims."
        }
        _ => "There are characters in it that no token has: it was changed on its way.",
    }
}

/// What helps, if something does. `audience` is what the token's `aud` must contain.
pub(super) fn advice(
    examination: &Examination,
    outcome: &Result<Arc<Claims>, AuthError>,
    audience: &str,
) -> Option<String> {
    if let Err(AuthError::Bearer(_)) = outcome {
        return Some("There is white space or a comma in it: paste the token alone.".to_owned());
    }
    match examination.kind {
        Kind::Encrypted => {
            return Some(
                "It is an encrypted token (JWE): switch off token encryption in the API's settings \
                 at Auth0."
                    .to_owned(),
            );
        }
        Kind::IdToken => {
            return Some(format!(
                "It looks like an ID token, which is for the client only: send the access token \
                 that the client gets for audience={audience}."
            ));
        }
        Kind::Opaque => {
            return Some(format!(
                "It is an opaque token: the client must send audience={audience} when it asks for \
                 a token. If it does, the token was cut on its way."
            ));
        }
        Kind::Signed => {}
    }
    let error = match outcome {
        Err(AuthError::Token(error)) => error,
        Err(AuthError::Bearer(_)) => {
            return Some(
                "There is white space or a comma in it: paste the token alone.".to_owned(),
            );
        }
        _ => examination.broken()?,
    };
    Some(match error {
        TokenError::NotCompact | TokenError::Malformed { .. } | TokenError::Signature => {
            "It was changed or cut on its way, or made by somebody else.".to_owned()
        }
        TokenError::Algorithm { .. } => {
            "Set the API's signing algorithm at Auth0 to RS256, and get a new token.".to_owned()
        }
        TokenError::Type(_) => "Send the access token, not another one.".to_owned(),
        TokenError::Critical | TokenError::NoKeyId | TokenError::NotATime(_) => {
            "Auth0 issues no such access tokens: it is from elsewhere.".to_owned()
        }
        TokenError::UnknownKey(_) => {
            "It is from elsewhere, or its key was revoked: get a new token.".to_owned()
        }
        TokenError::Issuer { .. } => {
            "It is from another tenant: AUTH0_DOMAIN must be the domain at which the client gets \
             its tokens. A custom domain counts as another one."
                .to_owned()
        }
        TokenError::Audience { .. } => {
            "AUTH0_AUDIENCE must equal the API's identifier to the letter, and the client must ask \
             for it."
                .to_owned()
        }
        TokenError::Expired { .. } => {
            "Get a new token. If it is new, set this host's clock: postern check tells how it is."
                .to_owned()
        }
        TokenError::NotYetValid { .. } => {
            "Set this host's clock: postern check tells how it is. CLOCK_LEEWAY_SECONDS bridges \
             small differences."
                .to_owned()
        }
    })
}
