//! Checks that a request needs: a token, or a permission. Errors are those of RFC 6750 §3.

use std::time::Duration;

use crate::auth::{AuthError, Authenticator, BearerError, Claims, Unavailable};
use crate::http::response::{self, ErrorBody, Prepared, Response};
use crate::http::{Reply, Request};

static NO_TOKEN: Prepared = Prepared::new(|| {
    response::error(401, "Requires authentication")
        .with_header(authenticate(r#"Bearer realm="api""#))
});

/// Answers with what `answer` makes of the claims, if the request has a valid access token; else
/// with an error.
pub fn with_token(
    auth: &Authenticator,
    request: &Request<'_>,
    answer: impl FnOnce(&Claims) -> Response,
) -> Reply {
    match auth.authenticate(request.headers("Authorization")) {
        Ok(claims) => Reply {
            response: answer(&claims),
            subject: claims.subject.clone(),
        },
        Err(error) => not_authenticated(&error).into(),
    }
}

/// As [`with_token`], if the token also has this permission.
pub fn with_permission(
    auth: &Authenticator,
    request: &Request<'_>,
    permission: &str,
    answer: impl FnOnce(&Claims) -> Response,
) -> Reply {
    with_token(auth, request, |claims| {
        if claims.has_permission(permission) {
            answer(claims)
        } else {
            permission_denied(permission)
        }
    })
}

/// RFC 6750 §3.1, `insufficient_scope`.
fn permission_denied(permission: &str) -> Response {
    let description = format!("Requires {permission}");
    let challenge = format!(
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{permission}\", \
         error_description=\"{description}\""
    );
    error(403, "Permission denied", "insufficient_scope", &description)
        .with_header(authenticate(&challenge))
}

fn not_authenticated(auth_error: &AuthError) -> Response {
    match auth_error {
        AuthError::Bearer(BearerError::Missing) => NO_TOKEN.response(),
        AuthError::Bearer(BearerError::Malformed) => {
            let description =
                "Authorization header value must follow this format: Bearer access-token";
            challenged(
                400,
                "Requires authentication",
                "invalid_request",
                description,
                description,
            )
        }
        AuthError::Token(refused) => challenged(
            401,
            "Bad credentials",
            "invalid_token",
            &refused.to_string(),
            refused.summary(),
        ),
        AuthError::Unavailable(Unavailable::Keys { retry_after }) => unavailable(
            "signing_key_unavailable",
            "The signing keys of the identity provider are not available at the moment.",
            *retry_after,
        ),
        AuthError::Unavailable(Unavailable::Clock { retry_after }) => unavailable(
            "clock_unset",
            "The clock of this server has not been set yet, so that no access token can be \
             checked.",
            *retry_after,
        ),
    }
}

fn unavailable(code: &str, description: &str, retry_after: Duration) -> Response {
    let seconds = retry_after.as_secs_f64().ceil().to_string();
    error(503, "Unable to verify credentials", code, description)
        .with_header(response::header("Retry-After", &seconds))
}

/// An error with a challenge. `description` goes into the body and may quote the token's claims.
/// `summary` goes into the `WWW-Authenticate` header, so it must be a fixed text.
fn challenged(
    status: u16,
    message: &str,
    code: &str,
    description: &str,
    summary: &'static str,
) -> Response {
    let challenge = format!(r#"Bearer realm="api", error="{code}", error_description="{summary}""#);
    error(status, message, code, description).with_header(authenticate(&challenge))
}

fn authenticate(challenge: &str) -> tiny_http::Header {
    response::header("WWW-Authenticate", challenge)
}

fn error(status: u16, message: &str, code: &str, description: &str) -> Response {
    let body = ErrorBody {
        message,
        error: Some(code),
        error_description: Some(description),
    };
    response::error_with(status, &body)
}
