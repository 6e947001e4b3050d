//! The page's own server, on another port than postern and so another origin. It serves the page,
//! and what the page's buttons need: tokens, the record, and what can go wrong.
//!
//! It listens on the loopback address only, and answers only requests for that address: a name
//! that an attacker's DNS server points to it is not enough. What changes something is a `POST`,
//! and must come from the page.

use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

use crate::check;
use crate::record::Mark;
use crate::server::Postern;
use crate::support::token::AUDIENCE;
use crate::terminal::complain;
use crate::world::{Time, World};

const PAGE: &str = include_str!("page.html");

/// The port of the page, if it is free; so a page that is open survives a restart of the demo.
const PORT: u16 = 4070;

/// How long a request's line may take from postern to here.
const LINE_TIME: Duration = Duration::from_secs(5);

/// Where the page is served.
pub struct Site {
    server: Server,
    /// `http://127.0.0.1:4070`
    pub origin: String,
}

/// All that the page shows and changes.
pub struct Page {
    // It ends first.
    pub postern: Postern,
    pub world: World,
    /// The origin of the relay, which the page calls.
    pub api: String,
    /// `curl -i http://127.0.0.1:6060`, with what it needs to trust.
    pub curl: String,
    /// Whether postern speaks TLS.
    pub is_secure: bool,
}

type Answer = Response<Cursor<Vec<u8>>>;

impl Site {
    /// Listens, on the page's port or any other.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind() -> Result<Site, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|error| format!("cannot listen for the page: {error}"))?;
        let addr: SocketAddr = listener.local_addr().map_err(|error| error.to_string())?;
        let server = Server::from_listener(listener, None).map_err(|error| error.to_string())?;
        Ok(Site {
            server,
            origin: format!("http://{addr}"),
        })
    }

    /// Serves until [`Site::end`].
    pub fn serve(&self, mut page: Page) {
        while let Ok(request) = self.server.recv() {
            let answer = self.answer(&request, &mut page);
            // The browser has gone.
            let _ = request.respond(answer);
        }
    }

    /// Ends [`Site::serve`].
    pub fn end(&self) {
        self.server.unblock();
    }

    fn answer(&self, request: &Request, page: &mut Page) -> Answer {
        let host = self.origin.strip_prefix("http://");
        if header(request, "Host") != host {
            return text(421, &format!("This is {}/ only.\n", self.origin));
        }
        let is_from_page = header(request, "Origin") == Some(&self.origin);
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        match (request.method(), path) {
            (Method::Get, "/") => self.html(&page.api),
            (Method::Get, "/curl") => text(200, &check::introduction(&page.world, &page.curl)),
            (Method::Get, "/state") => json_answer(&page.describe()),
            (Method::Get, "/record") => json_answer(&page.record(query)),
            (Method::Post, _) if !is_from_page => text(403, "Only the page may do that.\n"),
            (Method::Post, "/tokens") => json_answer(&json!(page.world.tokens())),
            (Method::Post, path) => match page.act(path) {
                Some(lines) => json_answer(&json!({"state": page.describe(), "log": lines})),
                None => text(404, "There is no such thing.\n"),
            },
            _ => text(404, "There is no such page.\n"),
        }
    }

    /// The page, which may run its own script only, and talk to the relay and to this server only.
    fn html(&self, api: &str) -> Answer {
        let [script, style] = ["script", "style"].map(hash_of);
        let policy = format!(
            "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; \
             connect-src 'self' {api}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        response(200, "text/html; charset=utf-8", PAGE)
            .with_header(field("Content-Security-Policy", &policy))
    }
}

impl Page {
    fn describe(&self) -> Value {
        json!({
            "api": self.api,
            "curl": self.curl,
            "server": self.curl.rsplit(' ').next(),
            "secure": self.is_secure,
            "issuer": self.world.tenant.issuer(),
            "audience": AUDIENCE,
            "world": self.world.describe(),
            "mark": self.postern.record.mark(),
        })
    }

    /// What happened since the mark in `exchange=1&line=2`, once the exchanges are logged.
    fn record(&self, query: &str) -> Value {
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(other, _)| *other == name);
            values
                .next()
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0)
        };
        let since = Mark {
            exchange: number("exchange"),
            line: number("line"),
        };
        let record = &self.postern.record;
        let exchanges = record.exchanges(since);
        let are_enough = |lines: &[String]| {
            let is_logged = |peer: &str| lines.iter().any(|line| line.contains(peer));
            exchanges
                .iter()
                .all(|it| is_logged(&format!(" {} ", it.peer)))
        };
        let lines = record.lines(since, LINE_TIME, are_enough);
        json!({
            "exchanges": exchanges,
            "log": lines.unwrap_or_default(),
            "mark": record.mark(),
        })
    }

    /// Does what a button says. Returns what postern has logged about it.
    fn act(&mut self, path: &str) -> Option<Vec<String>> {
        match path {
            "/tenant/up" => self.world.set_up(true),
            "/tenant/down" => self.world.set_up(false),
            "/key/rotate" => self.world.rotate(),
            "/key/revoke" => self.world.revoke(),
            "/clock/right" => self.world.set_time(Time::Right),
            "/clock/ahead" => self.world.set_time(Time::Ahead),
            "/clock/unset" => self.world.set_time(Time::Unset),
            "/reload" => return Some(self.postern.reload()),
            _ => return None,
        }
        Some(Vec::new())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The last lines tell it.
        self.world.set_time(Time::Right);
    }
}

fn header<'r>(request: &'r Request, name: &'static str) -> Option<&'r str> {
    let mut headers = request.headers().iter();
    let found = headers.find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

fn json_answer(value: &Value) -> Answer {
    response(200, "application/json", &value.to_string())
}

fn text(status: u16, text: &str) -> Answer {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(status: u16, kind: &str, body: &str) -> Answer {
    let fields = [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ];
    let response = Response::from_string(body).with_status_code(status);
    let fields = fields.map(|(name, value)| field(name, value));
    fields.into_iter().fold(response, Response::with_header)
}

fn field(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("these names and values are ASCII")
}

/// The hash by which the policy knows the content of an element.
fn hash_of(element: &str) -> String {
    let parts = || {
        let (_, rest) = PAGE.split_once(&format!("<{element}>"))?;
        rest.split_once(&format!("</{element}>"))
    };
    match parts() {
        Some((content, _)) => {
            let hash = digest(&SHA256, content.as_bytes());
            format!("sha256-{}", STANDARD.encode(hash))
        }
        None => {
            complain(&format!("demo: the page has no {element}"));
            "none".to_owned()
        }
    }
}

/// Serves a page on a thread of its own until it is told to end.
pub fn serve(site: &Arc<Site>, page: Page) -> std::thread::JoinHandle<()> {
    let site = Arc::clone(site);
    std::thread::spawn(move || site.serve(page))
}
