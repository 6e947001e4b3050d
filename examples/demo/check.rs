//! The requests to try: made and compared by `--check`, and as lines for a shell.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::support::client::{self, Client, Response};
use crate::support::token::AUDIENCE;
use crate::terminal::{Paint, say};
use crate::world::{Caller, World};

/// One request, and its expected answer.
struct Example {
    path: &'static str,
    caller: Caller,
    status: u16,
    message: &'static str,
}

const EXAMPLES: [Example; 6] = [
    Example {
        path: "/api/messages/public",
        caller: Caller::Nobody,
        status: 200,
        message: "The API doesn't require an access token to share this message.",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::User,
        status: 200,
        message: "The API successfully validated your access token.",
    },
    Example {
        path: "/api/messages/admin",
        caller: Caller::Admin,
        status: 200,
        message: "The API successfully recognized you as an admin.",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::Nobody,
        status: 401,
        message: "Requires authentication",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::Expired,
        status: 401,
        message: "Bad credentials",
    },
    Example {
        path: "/api/messages/admin",
        caller: Caller::User,
        status: 403,
        message: "Permission denied",
    },
];

/// The shell variable that holds the caller's token.
fn variable(caller: Caller) -> String {
    format!("{}_TOKEN", caller.name().to_uppercase())
}

/// What to paste into a shell: tokens, lines that `curl` begins, and the settings of another
/// server.
pub fn introduction(world: &World, curl: &str) -> String {
    let mut text = String::from("# The tokens; the first two are valid for a day.\n\n");
    for caller in [Caller::User, Caller::Admin, Caller::Expired] {
        let token = world.token(caller).unwrap_or_default();
        text += &format!("{}={token}\n", variable(caller));
    }
    for example in &EXAMPLES {
        let header = match example.caller {
            Caller::Nobody => String::new(),
            caller => format!(" -H \"Authorization: Bearer ${}\"", variable(caller)),
        };
        text += &format!(
            "\n# {} {}\n{curl}{}{header}\n",
            example.status, example.message, example.path
        );
    }
    text += &format!(
        "\n# A server of your own can take the tokens, too, as long as this demo runs:\n\
         export AUTH0_DOMAIN={} AUTH0_AUDIENCE={AUDIENCE} SSL_CERT_FILE={} PORT=6061\n",
        world.tenant.domain(),
        world.tenant.ca_file().display()
    );
    text
}

/// Makes the requests. The exit code is 0 if each answer is the expected one.
pub fn run(world: &World, addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> ExitCode {
    let paint = Paint::of(&io::stdout());
    let mut failed = 0;
    for example in &EXAMPLES {
        let request = match example.caller {
            Caller::Nobody => format!("GET {}", example.path),
            caller => format!("GET {} with {}", example.path, variable(caller)),
        };
        let expected = format!("{} {}", example.status, example.message);
        let actual = ask(world, addr, tls, example);
        let verdict = match actual == expected {
            true => paint.good("ok  "),
            false => paint.bad("FAIL"),
        };
        failed += usize::from(actual != expected);
        say(&format!(
            "{verdict}  {request}\n      expected  {expected}\n      actual    {actual}\n"
        ));
    }
    let all = EXAMPLES.len();
    say(&format!("{} of {all} as expected\n", all - failed));
    ExitCode::from(u8::from(failed > 0))
}

/// The status and message a request gets, or why it gets none.
fn ask(
    world: &World,
    addr: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    example: &Example,
) -> String {
    let authorization = world.token(example.caller);
    let authorization = authorization.map(|token| client::bearer(&token));
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("Authorization", value.as_str()))
        .collect();
    let request = || -> io::Result<Response> {
        let client = Client::try_connect(addr)?;
        let mut client = match tls {
            Some(config) => client.try_secure(config)?,
            None => client,
        };
        client.try_request("GET", example.path, &headers)
    };
    match request() {
        Ok(response) => format!("{} {}", response.status, response.message()),
        Err(error) => format!("no answer: {error}"),
    }
}
