//! What a request needs: a valid access token, or one with a permission. Errors are those of
//! RFC 6750 §3.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use log::{Level, log_enabled};

use crate::auth::{AuthError, Authenticator, BearerError, Claims, InShort, Unavailable};
use crate::escape::Escaped;
use crate::http::response::{Prepared, Response};
use crate::http::{Interruption, Request};
use crate::metrics::Reason;

static NO_TOKEN: Prepared = Prepared::new(|| {
    Response::error(401, "Requires authentication")
        .with_header("WWW-Authenticate", r#"Bearer realm="api""#)
});

/// The most bytes of the `sub` of a refused token that the log shows.
const MAX_LOGGED_SUBJECT: usize = 64;

/// Decides who is let in. A [`Server`](crate::Server) makes one for its handler. Copies share their
/// keys and remembered tokens.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Authenticator>);

impl Auth {
    /// Lets in whom `authenticator` knows.
    pub(crate) fn new(authenticator: Authenticator) -> Auth {
        Auth(Arc::new(authenticator))
    }

    /// What the access token of a request allows. If the only thing missing is the token's key,
    /// waits for a fetch of the keys, up to 2 s.
    ///
    /// The log's line of the request names the token's `sub`.
    ///
    /// # Errors
    /// Without a valid token, the answer that says so: 401, 400 when the `Authorization` header is
    /// malformed, 503 when tokens cannot be checked at the moment.
    pub fn authenticate(&self, request: &Request<'_>) -> Result<Access, Interruption> {
        match self.0.authenticate(request.headers("Authorization")) {
            Ok(claims) => {
                if let Some(subject) = &claims.subject {
                    request.set_subject(Arc::clone(subject));
                }
                Ok(Access(claims))
            }
            Err(error) => {
                let text = self.refusal(&error, request);
                Err(not_authenticated(&error)
                    .refusing(error.kind(), text)
                    .into())
            }
        }
    }
}

impl Auth {
    /// Why a request is refused, and whom its token names, for the log.
    fn refusal(&self, error: &AuthError, request: &Request<'_>) -> String {
        if !log_enabled!(Level::Info) {
            return String::new();
        }
        let mut text = InShort(error).to_string();
        if let Some(named) = self.0.named(request.headers("Authorization")) {
            let whose = if named.is_verified { "" } else { "unverified " };
            let subject = Escaped::new(&named.subject, MAX_LOGGED_SUBJECT);
            let _ = write!(text, " {whose}sub={subject}");
        }
        text
    }
}

/// What a valid access token allows.
#[derive(Debug, Clone)]
pub struct Access(Arc<Claims>);

impl Access {
    /// Whom the token is about: its `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// Which application the token was issued to: its `azp` or `client_id`.
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// The permissions that the token grants.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.0.permissions.iter()
    }

    /// Whether the token grants exactly this permission.
    pub fn has_permission(&self, permission: &str) -> bool {
        self.0.has_permission(permission)
    }

    /// Goes on only if the token grants exactly this permission.
    ///
    /// # Errors
    /// 403 if it does not.
    pub fn require(&self, permission: &str) -> Result<(), Interruption> {
        match self.has_permission(permission) {
            true => Ok(()),
            false => Err(permission_denied(permission)
                .refusing(Reason::Permission, format!("lacks {permission}"))
                .into()),
        }
    }
}

impl Access {
    /// The claims that all this comes from.
    pub(super) fn claims(&self) -> &Claims {
        &self.0
    }
}

/// RFC 6750 §3.1, `insufficient_scope`.
fn permission_denied(permission: &str) -> Response {
    let description = format!("Requires {permission}");
    let challenge = format!(
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{permission}\", \
         error_description=\"{description}\""
    );
    Response::detailed_error(403, "Permission denied", "insufficient_scope", &description)
        .with_header("WWW-Authenticate", &challenge)
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
    Response::detailed_error(503, "Unable to verify credentials", code, description)
        .with_header("Retry-After", &seconds)
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
    Response::detailed_error(status, message, code, description)
        .with_header("WWW-Authenticate", &challenge)
}
