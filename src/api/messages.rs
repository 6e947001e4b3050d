//! The messages. Each handler says what it needs: nothing, a token, or a permission.

use super::access;
use crate::auth::Authenticator;
use crate::http::response::{self, Prepared, Response};
use crate::http::{Reply, Request};

/// `GET /api/messages/public`: needs nothing.
pub fn public(_: &Authenticator, _: &Request<'_>) -> Reply {
    static MESSAGE: Prepared = Prepared::new(|| {
        message(r#"{"message":"The API doesn't require an access token to share this message."}"#)
    });
    MESSAGE.response().into()
}

/// `GET /api/messages/protected`: needs a valid access token.
pub fn protected(auth: &Authenticator, request: &Request<'_>) -> Reply {
    static MESSAGE: Prepared = Prepared::new(|| {
        message(r#"{"message":"The API successfully validated your access token."}"#)
    });
    access::with_token(auth, request, |_| MESSAGE.response())
}

/// `GET /api/messages/admin`: needs a token with the permission to read it.
pub fn admin(auth: &Authenticator, request: &Request<'_>) -> Reply {
    static MESSAGE: Prepared = Prepared::new(|| {
        message(r#"{"message":"The API successfully recognized you as an admin."}"#)
    });
    access::with_permission(auth, request, "read:admin-messages", |_| MESSAGE.response())
}

fn message(body: &'static str) -> Response {
    response::json(200, body.as_bytes())
}
