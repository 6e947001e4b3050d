//! The API with `tiny_http::Server` and jsonwebtoken, every token verified.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use log::{LevelFilter, info};
use simple_logger::SimpleLogger;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::common::{FIXED_HEADERS, Refusal, Verifier};

fn main() {
    SimpleLogger::new()
        .with_level(LevelFilter::Info)
        .env()
        .with_utc_timestamps()
        .init()
        .expect("the first logger");
    let server = Arc::new(Server::http(common::address()).expect("PORT is free"));
    let app = Arc::new(App {
        verifier: Verifier::from_environment(),
        headers: FIXED_HEADERS
            .iter()
            .map(|(name, value)| header(name, value))
            .collect(),
    });
    // tiny_http reads in threads of its own; these check tokens and write answers.
    let count = 2 * thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..count)
        .map(|_| {
            let (server, app) = (server.clone(), app.clone());
            thread::spawn(move || {
                for request in server.incoming_requests() {
                    app.serve(request);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker panicked");
    }
}

struct App {
    verifier: Verifier,
    headers: Vec<Header>,
}

struct Answer {
    status: u16,
    body: &'static str,
    /// One more header.
    extra: Option<Header>,
    sub: Option<String>,
}

impl App {
    fn serve(&self, request: Request) {
        let started = Instant::now();
        let answer = self.answer(&request);
        info!(
            "{} {} {} {} {:.3} ms{}{}",
            request.remote_addr().unwrap_or(&NO_ADDRESS),
            request.method(),
            path(&request),
            answer.status,
            started.elapsed().as_secs_f64() * 1e3,
            if answer.sub.is_some() { " sub=" } else { "" },
            answer.sub.as_deref().unwrap_or_default(),
        );
        let mut headers = self.headers.clone();
        headers.extend(answer.extra);
        let body = answer.body.as_bytes();
        let response = Response::new(
            StatusCode(answer.status),
            headers,
            body,
            Some(body.len()),
            None,
        );
        // A client that has gone is no reason to stop.
        let _ = request.respond(response);
    }

    fn answer(&self, request: &Request) -> Answer {
        let handler = match path(request) {
            "/api/messages/public" => App::public,
            "/api/messages/protected" => App::protected,
            "/api/messages/admin" => App::admin,
            _ => return plain(404, r#"{"message":"Not Found"}"#),
        };
        match request.method() {
            Method::Get | Method::Head => handler(self, request).unwrap_or_else(refused),
            Method::Options => allow(plain(200, "")),
            _ => allow(plain(405, r#"{"message":"Method Not Allowed"}"#)),
        }
    }

    fn public(&self, _: &Request) -> Result<Answer, Refusal> {
        Ok(plain(200, common::PUBLIC))
    }

    fn protected(&self, request: &Request) -> Result<Answer, Refusal> {
        let claims = self.verifier.authenticate(authorization(request))?;
        Ok(Answer {
            sub: claims.sub,
            ..plain(200, common::PROTECTED)
        })
    }

    fn admin(&self, request: &Request) -> Result<Answer, Refusal> {
        let claims = self.verifier.authenticate(authorization(request))?;
        claims.require("read:admin-messages")?;
        Ok(Answer {
            sub: claims.sub,
            ..plain(200, common::ADMIN)
        })
    }
}

const NO_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

fn plain(status: u16, body: &'static str) -> Answer {
    Answer {
        status,
        body,
        extra: None,
        sub: None,
    }
}

fn allow(answer: Answer) -> Answer {
    Answer {
        extra: Some(header("Allow", "GET, HEAD, OPTIONS")),
        ..answer
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer {
        extra: Some(header("WWW-Authenticate", refusal.challenge())),
        ..plain(refusal.status(), refusal.body())
    }
}

fn path(request: &Request) -> &str {
    let target = request.url();
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn authorization(request: &Request) -> Option<&str> {
    let mut headers = request.headers().iter();
    let found = headers.find(|header| header.field.equiv("Authorization"));
    found.map(|header| header.value.as_str())
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("ASCII")
}
