//! What is around postern: the stand-in tenant, its keys and tokens, and the clock. All of it can
//! go wrong.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::support::key::Key;
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::wall_clock::WallClock;

const DAY: i64 = 24 * 60 * 60;

/// The tenant and the clock.
pub struct World {
    pub tenant: Tenant,
    is_up: bool,
    /// The key before the current one, if it is still in the key set.
    previous: Option<Key>,
    current: Key,
    /// In the key set already, as at Auth0.
    next: Key,
    /// Or why postern's clock cannot be set.
    clock: Result<WallClock, String>,
    time: Time,
}

/// What postern's clock shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Time {
    Right,
    /// Two days ahead.
    Ahead,
    /// A little after the beginning of 1970, as on a device whose battery is empty.
    Unset,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Caller {
    Nobody,
    User,
    Admin,
    Expired,
    /// With a token for another API.
    Other,
    /// With a token to which a permission was added after it had been signed.
    Tampered,
    /// With a token that is no JWT. Auth0 issues one to a client that asks for no audience.
    Opaque,
}

impl Caller {
    pub const ALL: [Caller; 7] = [
        Caller::Nobody,
        Caller::User,
        Caller::Admin,
        Caller::Expired,
        Caller::Other,
        Caller::Tampered,
        Caller::Opaque,
    ];

    /// The name of the caller's token for the page.
    pub fn name(self) -> &'static str {
        match self {
            Caller::Nobody => "none",
            Caller::User => "user",
            Caller::Admin => "admin",
            Caller::Expired => "expired",
            Caller::Other => "other",
            Caller::Tampered => "tampered",
            Caller::Opaque => "opaque",
        }
    }
}

impl World {
    /// With a tenant that has just been started.
    pub fn new(tenant: Tenant) -> World {
        World {
            is_up: true,
            previous: None,
            current: tenant.key(),
            next: tenant.next_key(),
            tenant,
            clock: Err("it was not asked for".to_owned()),
            time: Time::Right,
        }
    }

    /// Makes a clock for postern that can be set wrong, if that is possible here. A C compiler is
    /// there: this program needed one.
    pub fn make_clock(&mut self) {
        let program = env::current_exe().map_err(|error| error.to_string());
        self.clock = program.and_then(|program| {
            let clock = WallClock::of(&program)?;
            clock.ok_or_else(|| "the demo is a static program, or one for musl".to_owned())
        });
    }

    /// The environment that gives postern this clock.
    pub fn clock_variables(&self) -> Vec<(String, String)> {
        let variables = self.clock.iter().flat_map(WallClock::variables);
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// A token issued now; none for [`Caller::Nobody`].
    pub fn token(&self, caller: Caller) -> Option<String> {
        let user = Token::user(&self.tenant).header("kid", json!(self.current.kid()));
        let token = match caller {
            Caller::Nobody => return None,
            Caller::Opaque => return Some(opaque()),
            Caller::User | Caller::Tampered => user,
            Caller::Admin => user.admin(),
            Caller::Expired => user.expired(),
            Caller::Other => user.claim("aud", json!("https://another-api.example.com")),
        };
        let signed = token.sign_with(&self.current);
        match caller {
            Caller::Tampered => Some(with_permission(&signed, &token)),
            _ => Some(signed),
        }
    }

    /// All tokens, issued now. `None` while the tenant is down.
    pub fn tokens(&self) -> Option<Value> {
        let issue = |caller: Caller| (caller.name().to_owned(), json!(self.token(caller)));
        self.is_up
            .then(|| Caller::ALL.into_iter().map(issue).collect())
    }

    /// The tenant is up, or down.
    pub fn set_up(&mut self, is_up: bool) {
        match (self.is_up, is_up) {
            (true, false) => self.tenant.stop(),
            (false, true) => self.tenant.resume(),
            _ => {}
        }
        self.is_up = is_up;
    }

    /// The next key becomes the current one. Tokens that the old one signed stay valid.
    pub fn rotate(&mut self) {
        // Not one of the pool: this key was never served.
        let fresh = Key::with_bits(2048);
        let current = std::mem::replace(&mut self.next, fresh);
        self.previous = Some(std::mem::replace(&mut self.current, current));
        self.publish();
    }

    /// The key before the current one is no longer in the set.
    pub fn revoke(&mut self) {
        self.previous = None;
        self.publish();
    }

    fn publish(&self) {
        let keys = self.keys().map(|(_, key)| key.jwk());
        self.tenant.set_keys(keys.collect());
    }

    fn keys(&self) -> impl Iterator<Item = (&'static str, &Key)> {
        let previous = self.previous.as_ref().map(|key| ("previous", key));
        let others = [("current", &self.current), ("next", &self.next)];
        previous.into_iter().chain(others)
    }

    /// Sets postern's clock, if that is possible.
    pub fn set_time(&mut self, time: Time) {
        let Ok(clock) = &self.clock else { return };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let since_1970 = since_1970.unwrap_or_default().as_secs();
        clock.jump(match time {
            Time::Right => 0,
            Time::Ahead => 2 * DAY,
            Time::Unset => -i64::try_from(since_1970).unwrap_or(0),
        });
        self.time = time;
    }

    /// All this for the page.
    pub fn describe(&self) -> Value {
        let keys = self.keys();
        let keys = keys.map(|(role, key)| json!({"role": role, "kid": key.kid()}));
        json!({
            "up": self.is_up,
            "keys": keys.collect::<Value>(),
            "time": match self.time {
                Time::Right => "right",
                Time::Ahead => "ahead",
                Time::Unset => "unset",
            },
            "noClock": self.clock.as_ref().err(),
        })
    }
}

/// The same token with a payload that grants a permission. The signature is for the old one.
fn with_permission(signed: &str, token: &Token) -> String {
    let mut parts: Vec<String> = signed.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(token.clone().admin().payload_text());
    parts.join(".")
}

/// 32 characters that mean nothing outside of the tenant.
fn opaque() -> String {
    let mut bytes = [0; 24];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}
