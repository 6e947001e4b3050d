//! The handler, and the server around the connection.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::http::cors::Cors;
use postern::http::response::{self, Response};
use postern::http::service::{Lifecycle, Service, Timeouts};
use postern::http::{Answer, Handler, Request};
use postern_fuzz::body::MAX_BODY;
use postern_fuzz::crowd::{LEFT, crowded};
use postern_fuzz::http::{Framing, Head};
use postern_fuzz::memory::uncounted;
use postern_fuzz::random::Random;

use super::peer::{Behaviour, Clock};
use super::{HEAD, IDLE, WRITE};

pub const ORIGINS: [&str; 2] = ["https://app.example", "http://localhost:4040"];
pub const UNLOGGED: &str = "/unlogged";
/// How much memory is left for bodies when others take most of it.
pub const LEFT_IN_CROWD: usize = LEFT[CROWD];
const CROWD: usize = 2;

/// The limits of bodies. The path decides which one.
const LIMITS: [usize; 9] = [0, 1, 10, 300, 5_000, 70_000, 300_000, MAX_BODY, usize::MAX];

/// The limit that a handler asks for a body with, if it does.
pub fn limit(method: &str, path: &str) -> Option<usize> {
    match path.as_bytes() {
        [b'/', b'b', rest @ ..] => {
            let kind = rest.first().copied().unwrap_or_default();
            Some(LIMITS[usize::from(kind) % LIMITS.len()])
        }
        _ if method == "PUT" => Some(300),
        _ => None,
    }
}

/// The limit within which the body of a request is collected, if it is.
pub fn collects(head: &Head<'_>) -> Option<usize> {
    let limit = limit(head.method, head.path)?.min(MAX_BODY);
    match head.framing {
        Framing::Length(0) => None,
        Framing::Length(length) if length > limit as u64 => None,
        _ => Some(limit),
    }
}

/// What the handler had of a body.
#[derive(Debug, PartialEq)]
pub enum Given {
    /// It did not ask.
    Nothing,
    /// It was told to end.
    Interruption,
    Body(Vec<u8>),
}

/// A call of the handler: what it was asked, and what it answered.
#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub is_1_1: bool,
    pub has_body: bool,
    pub keeps_alive: bool,
    pub authorization: Vec<Vec<u8>>,
    pub given: Given,
    pub status: u16,
    pub length: usize,
    pub ended: Duration,
    /// How many bytes the connection had read.
    pub taken: usize,
    /// Whether the connection had been told of the drain.
    was_draining: bool,
    /// What it was told when it asked whether this answer is the last.
    told_last: Option<bool>,
}

impl Call {
    /// Whether no request may follow its answer.
    pub fn is_last(&self) -> bool {
        !self.keeps_alive || self.was_draining || self.told_last == Some(true)
    }
}

/// The server around the connection.
pub struct Surroundings {
    pub calls: Vec<Call>,
    pub is_draining: bool,
    clock: Clock,
    is_slow: bool,
    has_tickets: bool,
    random: Random,
}

impl Surroundings {
    pub fn new(behaviour: &Behaviour, clock: Clock) -> Surroundings {
        Surroundings {
            calls: Vec::new(),
            is_draining: false,
            clock,
            is_slow: behaviour.is_slow,
            has_tickets: behaviour.has_tickets,
            random: Random::new(behaviour.seed + 1),
        }
    }

    fn note(&mut self, request: &Request<'_>, given: Given, status: u16, length: usize) {
        if self.is_slow {
            let time = self.random.pick(&[0, 0, 0, 5, 2_000, 11_000]);
            self.clock.fetch_add(time, Relaxed);
        }
        let values = request.headers("Authorization");
        self.calls.push(Call {
            method: request.method().as_str().to_owned(),
            path: request.path().to_owned(),
            is_1_1: *request.version() == tiny_http::HTTPVersion(1, 1),
            has_body: request.has_body(),
            keeps_alive: request.keeps_alive(),
            authorization: values.map(<[u8]>::to_vec).collect(),
            given,
            status,
            length,
            ended: Duration::from_millis(self.clock.load(Relaxed)),
            taken: 0,
            was_draining: self.is_draining,
            told_last: None,
        });
    }
}

pub struct Server(pub Arc<Mutex<Surroundings>>);

impl Handler for Server {
    fn handle(&self, request: &Request<'_>) -> Answer {
        let limit = limit(request.method().as_str(), request.path());
        let body = limit.map(|limit| request.body(limit));
        let (response, length) = respond(request.path());
        uncounted(|| {
            let given = match &body {
                None => Given::Nothing,
                Some(Ok(body)) => Given::Body(body.to_vec()),
                Some(Err(_)) => Given::Interruption,
            };
            let mut server = self.0.lock().expect("no handler panics");
            server.note(request, given, response.status(), length);
        });
        if let Some(subject) = request.path().get(1..) {
            request.set_subject(Arc::from(subject));
        }
        body.transpose()?;
        Ok(response)
    }
}

impl Lifecycle for Server {
    fn is_last_answer(&self) -> bool {
        uncounted(|| {
            let server = &mut *self.0.lock().expect("no handler panics");
            let call = server.calls.last_mut().expect("there is a request");
            assert_eq!(call.told_last, None, "asked twice");
            assert!(!call.is_last(), "a ticket would be wasted");
            let is_last = server.has_tickets && server.random.one_in(8);
            call.told_last = Some(is_last);
            is_last
        })
    }
}

/// A response, chosen by the path, and the length of its body.
fn respond(path: &str) -> (Response, usize) {
    let sum: usize = path.bytes().map(usize::from).sum();
    match sum % 5 {
        0 => (Response::empty(200), 0),
        1 => {
            let body = vec![b' '; sum % 4096 + 1];
            (Response::new(200, "text/plain", body), sum % 4096 + 1)
        }
        2 => (Response::json(200, &[(); 0]), 2),
        3 => (Response::error(404, "Not Found"), 23),
        _ => {
            let response = Response::detailed_error(401, "m", "e", "d");
            (response.with_header("WWW-Authenticate", "Bearer"), 51)
        }
    }
}

/// What a connection is sent that there is no place for.
pub fn dismissal(service: &Service) -> Vec<u8> {
    let mut response = Response::error(503, "Service Unavailable");
    service.cors.apply(None, &mut response);
    let mut wire = Vec::new();
    response::print(response, false, response::Persistence::Close, &mut wire);
    wire
}

pub fn service(behaviour: &Behaviour, server: &Arc<Mutex<Surroundings>>) -> Service {
    let origins = match behaviour.has_cors {
        true => ORIGINS.map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    let timeouts = Timeouts {
        head: HEAD,
        idle: IDLE,
        write: WRITE,
    };
    let mut service = Service::new(Box::new(Server(Arc::clone(server))), timeouts);
    service.cors = Cors::new(origins);
    service.unlogged_path = Some(UNLOGGED.to_owned());
    if behaviour.is_crowded {
        service.bodies = crowded(CROWD);
    }
    service
}
