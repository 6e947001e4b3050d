//! The three messages, and what is said to those who may not read them (RFC 6750 §3).

use std::time::Duration;

use crate::auth::{AuthError, Authenticator, BearerError, Claims, Unavailable};
use crate::http::response::{self, ErrorBody, Fixed, Response};
use crate::http::{Reply, Request};

static PUBLIC: Fixed = Fixed::new(|| {
    message(r#"{"message":"The API doesn't require an access token to share this message."}"#)
});
static PROTECTED: Fixed =
    Fixed::new(|| message(r#"{"message":"The API successfully validated your access token."}"#));
static ADMIN: Fixed =
    Fixed::new(|| message(r#"{"message":"The API successfully recognized you as an admin."}"#));
static NO_TOKEN: Fixed = Fixed::new(|| {
    response::error(401, "Requires authentication")
        .with_header(authenticate(r#"Bearer realm="api""#))
});

/// `GET /api/messages/public`: for everyone.
pub fn public() -> Reply {
    PUBLIC.response().into()
}

/// `GET /api/messages/protected`: for everyone with a valid access token.
pub fn protected(auth: &Authenticator, request: &Request<'_>) -> Reply {
    match auth.authenticate(request.headers("Authorization")) {
        Ok(claims) => to(&claims, PROTECTED.response()),
        Err(error) => refuse(&error).into(),
    }
}

/// `GET /api/messages/admin`: for those with the permission to read it.
pub fn admin(auth: &Authenticator, request: &Request<'_>) -> Reply {
    match auth.authenticate(request.headers("Authorization")) {
        Ok(claims) if claims.has_permission("read:admin-messages") => to(&claims, ADMIN.response()),
        Ok(claims) => to(&claims, requires("read:admin-messages")),
        Err(error) => refuse(&error).into(),
    }
}

fn message(body: &'static str) -> Response {
    response::json(200, body.as_bytes())
}

fn to(claims: &Claims, response: Response) -> Reply {
    Reply {
        response,
        subject: claims.subject.clone(),
    }
}

/// RFC 6750 §3.1, `insufficient_scope`.
fn requires(permission: &str) -> Response {
    let description = format!("Requires {permission}");
    let challenge = format!(
        r#"Bearer realm="api", error="insufficient_scope", scope="{permission}", error_description="{description}""#
    );
    error(403, "Permission denied", "insufficient_scope", &description)
        .with_header(authenticate(&challenge))
}

fn refuse(auth_error: &AuthError) -> Response {
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
            "The clock of this server has not been set yet, so that no access token can be checked.",
            *retry_after,
        ),
    }
}

fn unavailable(code: &str, description: &str, retry_after: Duration) -> Response {
    let seconds = retry_after.as_secs_f64().ceil().to_string();
    error(503, "Unable to verify credentials", code, description)
        .with_header(response::header("Retry-After", &seconds))
}

/// An error that says in `WWW-Authenticate` what it is. `summary` goes into that header, and so
/// must be a fixed text; `description` goes into the body, and may repeat what the token says.
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
