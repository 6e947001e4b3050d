//! The values of labels, each set of them fixed.

/// An enum whose variants have texts.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[$name] = &[$($name::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = $name::ALL.len();

            /// The value of the label.
            pub const fn text(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

labels! {
    /// Why a request was refused by the checks of access.
    Reason {
        /// It has no bearer token.
        NoToken = "no_token",
        /// Its `Authorization` is not `Bearer <token>`.
        BadHeader = "bad_header",
        /// The token does not have three parts.
        NotCompact = "not_compact",
        /// A part of the token is malformed.
        Malformed = "malformed",
        /// The token's algorithm is not supported, or not that of its key.
        Algorithm = "algorithm",
        /// The token is not an access token.
        Type = "type",
        /// The token uses an extension.
        Critical = "critical",
        /// The token does not name its key.
        NoKeyId = "no_key_id",
        /// The tenant has no key of that name.
        UnknownKey = "unknown_key",
        /// The token's signature is not valid.
        Signature = "signature",
        /// The token is from another issuer.
        Issuer = "issuer",
        /// The token is for another audience.
        Audience = "audience",
        /// A time claim is missing or not a number.
        Time = "time",
        /// The token has expired.
        Expired = "expired",
        /// The token is not valid yet.
        NotYetValid = "not_yet_valid",
        /// The token does not grant the permission.
        Permission = "permission",
        /// There are no keys to verify a token with.
        NoKeys = "no_keys",
        /// The clock of this host has not been set.
        Clock = "clock",
    }
}

labels! {
    /// How a TLS handshake ended.
    Handshake {
        /// A new session was made.
        Full = "full",
        /// A session was resumed.
        Resumed = "resumed",
        /// It failed: no common version or suite, an alert, the peer is gone.
        Failed = "failed",
        /// It was not done in time.
        Late = "late",
        /// The peer speaks plain HTTP.
        PlainHttp = "plain_http",
    }
}

labels! {
    /// How a fetch of the keys ended.
    Fetch {
        /// It brought a key set.
        New = "new",
        /// The tenant answered that its keys have not changed.
        Unchanged = "unchanged",
        /// The tenant's host name could not be resolved.
        Resolve = "resolve",
        /// No connection could be made.
        Connect = "connect",
        /// The proxy could not be reached, or made no connection.
        Proxy = "proxy",
        /// The connection ended before the answer was complete.
        Broken = "broken",
        /// No trustworthy TLS session could be made.
        Tls = "tls",
        /// The answer was not complete in time.
        Timeout = "timeout",
        /// The answer's status is not 200.
        Status = "status",
        /// The answer is not HTTP as expected.
        Http = "http",
        /// The answer is too large.
        TooLarge = "too_large",
        /// The answer is not a key set.
        KeySet = "key_set",
        /// The fetch panicked.
        Panicked = "panicked",
    }
}
