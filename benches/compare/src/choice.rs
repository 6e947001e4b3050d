//! What the command line chooses from: servers, and sets of measurements.

use serde::{Deserialize, Serialize};

/// What users would pick instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Other {
    Axum,
    TinyHttp,
    Nginx,
    Flask,
}

impl Other {
    pub const ALL: [Other; 4] = [Other::Axum, Other::TinyHttp, Other::Nginx, Other::Flask];

    pub fn name(self) -> &'static str {
        match self {
            Other::Axum => "axum",
            Other::TinyHttp => "tiny_http",
            Other::Nginx => "nginx",
            Other::Flask => "flask",
        }
    }
}

/// Measurements that are made, or left out, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    Load,
    Connections,
    Close,
    Log,
    Tls,
    /// What the targets need, all of which is in the others, too.
    Targets,
}

impl Set {
    pub const ALL: [Set; 6] = [
        Set::Load,
        Set::Connections,
        Set::Close,
        Set::Log,
        Set::Tls,
        Set::Targets,
    ];
    /// The sets that are measured by default.
    pub const USUAL: [Set; 5] = [Set::Load, Set::Connections, Set::Close, Set::Log, Set::Tls];

    pub fn name(self) -> &'static str {
        match self {
            Set::Load => "load",
            Set::Connections => "connections",
            Set::Close => "close",
            Set::Log => "log",
            Set::Tls => "tls",
            Set::Targets => "targets",
        }
    }
}
