//! The messages. Each says what it needs: nothing, a token, or a permission.

use serde::Serialize;

use super::access::Auth;
use super::router::{Route, Router};
use crate::http::response::{Prepared, Response};
use crate::http::{Answer, Handler, Request};

static ROUTES: Router<Messages> = Router::new(&[
    Route::get("/api/messages/public", Messages::public),
    Route::get("/api/messages/protected", Messages::protected),
    Route::get("/api/messages/admin", Messages::admin),
]);

/// The API that the binary serves: three messages.
#[derive(Debug)]
pub struct Messages {
    auth: Auth,
}

impl Handler for Messages {
    fn handle(&self, request: &Request<'_>) -> Answer {
        ROUTES.answer(self, request)
    }
}

impl Messages {
    /// The messages, for whom `auth` lets in.
    pub fn new(auth: Auth) -> Messages {
        Messages { auth }
    }

    fn public(&self, _: &Request<'_>) -> Answer {
        Ok(PUBLIC.response())
    }

    fn protected(&self, request: &Request<'_>) -> Answer {
        self.auth.authenticate(request)?;
        Ok(PROTECTED.response())
    }

    fn admin(&self, request: &Request<'_>) -> Answer {
        let access = self.auth.authenticate(request)?;
        access.require("read:admin-messages")?;
        Ok(ADMIN.response())
    }
}

static PUBLIC: Prepared =
    Prepared::new(|| message("The API doesn't require an access token to share this message."));
static PROTECTED: Prepared =
    Prepared::new(|| message("The API successfully validated your access token."));
static ADMIN: Prepared =
    Prepared::new(|| message("The API successfully recognized you as an admin."));

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

fn message(message: &'static str) -> Response {
    Response::json(200, &Message { message })
}
