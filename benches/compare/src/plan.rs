//! What is measured: servers, loads, and how both are put together.

use serde::{Deserialize, Serialize};

use crate::choice::{Other, Set};
use crate::options::Options;

/// The server that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    Postern {
        /// Its place among the builds on the command line.
        build: usize,
        /// Whether its token cache has room for more tokens than are sent.
        large_cache: bool,
    },
    Other(Other),
}

impl Server {
    /// A build of postern with its default cache.
    pub fn postern(build: usize) -> Server {
        Server::Postern {
            build,
            large_cache: false,
        }
    }

    /// Whether it looks at tokens at all.
    pub fn verifies(self) -> bool {
        self != Server::Other(Other::Nginx)
    }

    fn speaks_tls(self, options: &Options) -> bool {
        match self {
            Server::Postern { build, .. } => options.builds[build].speaks_tls,
            Server::Other(other) => other == Other::Nginx,
        }
    }

    pub fn name(self, options: &Options) -> String {
        match self {
            Server::Postern { build, large_cache } => {
                let name = &options.builds[build].name;
                let note = if large_cache {
                    ", cache of 100,000"
                } else {
                    ""
                };
                format!("{name}{note}")
            }
            Server::Other(other) => other.name().to_owned(),
        }
    }
}

impl Set {
    fn conditions(self) -> Vec<Condition> {
        let condition = Condition::with(64);
        match self {
            Set::Load => vec![condition],
            Set::Connections => [1, 8, 256].map(Condition::with).to_vec(),
            Set::Close => vec![condition.closing()],
            Set::Log => vec![Condition {
                logs: Logs::Requests,
                ..condition
            }],
            Set::Tls => vec![OVER_TLS, HANDSHAKES],
            Set::Targets => [64, 8, 256]
                .map(Condition::with)
                .into_iter()
                .chain([condition.closing(), OVER_TLS, HANDSHAKES])
                .collect(),
        }
    }

    fn has(self, condition: Condition, load: Load, server: Server) -> bool {
        let is_basic = matches!(load, Load::Public | Load::Warm);
        let is_postern = matches!(server, Server::Postern { .. });
        if matches!(server, Server::Postern { large_cache, .. } if large_cache) {
            return self == Set::Load && load == Load::Many;
        }
        if condition.tls || load.is_handshakes() {
            let is_meant = match condition.close {
                true => load.is_handshakes(),
                false => load == Load::Warm,
            };
            return condition.tls && is_meant && (is_postern || server == NGINX);
        }
        match self {
            Set::Load => is_basic || server.verifies(),
            // The memory of all is of interest, under one load.
            Set::Connections => load == Load::Warm || is_basic && (is_postern || server == AXUM),
            // tiny_http closes without saying so, which wrk takes for a failure.
            Set::Close => is_basic && server != Server::Other(Other::TinyHttp),
            // All of it is in the condition.
            Set::Tls => false,
            Set::Log => is_basic,
            Set::Targets => match (condition.connections, condition.close, load) {
                (64, false, Load::Public | Load::Warm) | (64, true, Load::Public) => {
                    is_postern || [AXUM, NGINX].contains(&server)
                }
                (64, false, Load::Cold) => is_postern || server == AXUM,
                (_, false, _) => is_basic && is_postern,
                _ => false,
            },
        }
    }
}

pub const AXUM: Server = Server::Other(Other::Axum);
pub const NGINX: Server = Server::Other(Other::Nginx);

pub const OVER_TLS: Condition = Condition::with(64).over_tls();
/// Each client waits for the server once or twice in a handshake: so many keep both busy.
pub const HANDSHAKES: Condition = Condition::with(16).closing().over_tls();

/// The requested path, and the tokens; or handshakes without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    Public,
    Warm,
    Many,
    Cold,
    FullHandshakes,
    ResumedHandshakes,
}

impl Load {
    pub const ALL: [Load; 6] = [
        Load::Public,
        Load::Warm,
        Load::Many,
        Load::Cold,
        Load::FullHandshakes,
        Load::ResumedHandshakes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Load::Public => "public",
            Load::Warm => "warm",
            Load::Many => "many",
            Load::Cold => "cold",
            Load::FullHandshakes => "full handshakes",
            Load::ResumedHandshakes => "resumed handshakes",
        }
    }

    pub fn is_handshakes(self) -> bool {
        matches!(self, Load::FullHandshakes | Load::ResumedHandshakes)
    }
}

/// The circumstances of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub connections: usize,
    /// A connection per request.
    pub close: bool,
    /// Over TLS.
    pub tls: bool,
    pub logs: Logs,
}

/// What a server logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Logs {
    Warnings,
    /// A line per request as well.
    Requests,
    /// A line per handshake as well. It tells whether a session was resumed.
    Handshakes,
}

impl Logs {
    /// The value of `RUST_LOG`.
    pub fn level(self) -> &'static str {
        match self {
            Logs::Warnings => "warn",
            Logs::Requests => "info",
            Logs::Handshakes => "debug",
        }
    }
}

impl Condition {
    /// Kept connections, and no line per request.
    pub const fn with(connections: usize) -> Condition {
        Condition {
            connections,
            close: false,
            tls: false,
            logs: Logs::Warnings,
        }
    }

    /// The same with a connection per request.
    pub const fn closing(self) -> Condition {
        Condition {
            close: true,
            ..self
        }
    }

    /// The same over TLS.
    pub const fn over_tls(self) -> Condition {
        Condition { tls: true, ..self }
    }

    pub fn title(self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        let kind = match (self.tls, self.close) {
            (false, false) => "",
            (false, true) => ", one request each",
            (true, false) => " over TLS",
            (true, true) => " over TLS, one handshake each",
        };
        let level = self.logs.level();
        format!("{} connection{plural}{kind}, {level}", self.connections)
    }
}

/// One thing that every round measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    pub condition: Condition,
    pub load: Load,
    pub server: Server,
}

impl Measurement {
    pub fn name(&self, options: &Options) -> String {
        let (condition, load) = (self.condition.title(), self.load.name());
        format!("{condition}, {load}, {}", self.server.name(options))
    }
}

/// The measurements of a round, those to be compared with each other in a row.
pub fn round(options: &Options) -> Vec<Measurement> {
    let posterns = (0..options.builds.len())
        .flat_map(|build| [false, true].map(|large_cache| Server::Postern { build, large_cache }));
    let others = options.others.iter().copied().map(Server::Other);
    let servers: Vec<Server> = posterns.chain(others).collect();
    let mut round: Vec<Measurement> = Vec::new();
    for set in &options.sets {
        for condition in set.conditions() {
            for load in Load::ALL {
                let chosen = servers.iter().filter(|server| {
                    set.has(condition, load, **server)
                        && (!condition.tls || server.speaks_tls(options))
                });
                let chosen = chosen.map(|&server| Measurement {
                    condition,
                    load,
                    server,
                });
                let new: Vec<_> = chosen.filter(|new| !round.contains(new)).collect();
                round.extend(new);
            }
        }
    }
    round
}

/// In which order round number `number` makes the measurements: the server that was first under a
/// load is last in the next round, so that none is always measured after the same one.
pub fn order(round: &[Measurement], number: usize) -> Vec<usize> {
    let mut order = Vec::new();
    for rivals in round.chunk_by(|a, b| a.condition == b.condition && a.load == b.load) {
        let mut places: Vec<usize> = (order.len()..order.len() + rivals.len()).collect();
        places.rotate_left(number % rivals.len());
        order.extend(places);
    }
    order
}
