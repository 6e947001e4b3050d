//! Figures to test with.

use super::*;
use crate::choice::Other;
use crate::plan::{AXUM, HANDSHAKES, NGINX, OVER_TLS};

/// Those of a round with about everything in it.
pub fn figures() -> Figures {
    let (tiny_http, flask) = (Server::Other(Other::TinyHttp), Server::Other(Other::Flask));
    let postern = Server::postern(0);
    let kept = Condition::with(64);
    let rates = [
        (kept, Load::Public, postern, 200e3),
        (kept, Load::Public, AXUM, 125e3),
        (kept, Load::Public, tiny_http, 63e3),
        (kept, Load::Public, NGINX, 190e3),
        (kept, Load::Public, flask, 2e3),
        (kept, Load::Many, postern, 120e3),
        (kept, Load::Many, AXUM, 33e3),
        (kept, Load::Cold, postern, 43e3),
        (kept, Load::Cold, AXUM, 32e3),
        (kept.closing(), Load::Public, postern, 36e3),
        (kept.closing(), Load::Public, NGINX, 37e3),
        (kept.closing(), Load::Warm, AXUM, 25e3),
        (OVER_TLS, Load::Warm, postern, 106e3),
        (OVER_TLS, Load::Warm, NGINX, 83e3),
        (HANDSHAKES, Load::FullHandshakes, postern, 5e3),
        (HANDSHAKES, Load::FullHandshakes, NGINX, 3e3),
        (HANDSHAKES, Load::ResumedHandshakes, postern, 5.2e3),
        (HANDSHAKES, Load::ResumedHandshakes, NGINX, 3.2e3),
    ];
    let rates =
        rates.map(|(condition, load, server, rate)| measured(server, condition, load, rate, 7.0));
    let memory = [1, 8, 64, 256].into_iter().flat_map(|connections| {
        let condition = Condition::with(connections);
        let more = connections as f64 / 256.0;
        [
            (postern, 154e3, 2.3 + 0.2 * more),
            (AXUM, 33e3, 6.0 + more),
            (tiny_http, 27e3, 5.5 + 8.0 * more),
            (NGINX, 160e3, 15.0 + more),
            (flask, 1.9e3, 83.0 + 4.0 * more),
        ]
        .map(|(server, rate, mib)| measured(server, condition, Load::Warm, rate, mib))
    });
    Figures {
        machine: Machine::example(),
        rounds: 5,
        seconds: 4,
        measured: rates.into_iter().chain(memory).collect(),
    }
}

/// Three samples around these.
pub fn measured(server: Server, condition: Condition, load: Load, rate: f64, mib: f64) -> Measured {
    let name = match server {
        Server::Postern { .. } => "postern",
        Server::Other(other) => other.name(),
    };
    Measured {
        name: name.to_owned(),
        server,
        condition,
        load,
        samples: [0.95, 1.05, 1.0]
            .map(|part| sample(part * rate, part * mib))
            .to_vec(),
    }
}

pub fn sample(rate: f64, mib: f64) -> Sample {
    Sample {
        per_second: rate,
        p50_ms: 0.1,
        p99_ms: 0.3,
        cpu: 0.005,
        load_cpu: 0.005,
        resident: mib * MIB,
        bytes: 600.0,
        others: 0.01,
    }
}
