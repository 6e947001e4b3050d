//! Settings for proxies in front: the path of the gate, and whose word about clients counts.

use super::values::tidy;
use super::variable::shown;
use crate::network::{Network, NetworkError, Trusted};

/// The longest path of the gate, in bytes.
const MAX_PATH: usize = 256;

/// A path as requests have it: it is compared byte by byte.
pub(super) fn forward_auth_path(value: &str) -> Result<Option<String>, String> {
    const EXAMPLE: &str = "write a path such as /auth";
    tidy(value)?;
    if value.contains("://") {
        return Err(format!(
            "it must be a path, without scheme and host; {EXAMPLE}"
        ));
    }
    if !value.starts_with('/') {
        return Err(format!("it must begin with a slash; {EXAMPLE}"));
    }
    if value.contains(['?', '#']) {
        return Err(format!(
            "it must be without a query, which only requests have; {EXAMPLE}"
        ));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "it must be printable ASCII without spaces, all else percent-encoded; {EXAMPLE}"
        ));
    }
    if value.len() > MAX_PATH {
        return Err(format!("it must be at most {MAX_PATH} bytes; {EXAMPLE}"));
    }
    Ok(Some(value.to_owned()))
}

/// Addresses and networks of proxies, and the word `unix`.
pub(super) fn trusted_proxies(value: &str) -> Result<Trusted, String> {
    let mut trusted = Trusted::default();
    let entries = value
        .split(',')
        .map(|entry| entry.trim_matches([' ', '\t']));
    for entry in entries.filter(|entry| !entry.is_empty()) {
        if entry == "unix" {
            trusted.unix = true;
            continue;
        }
        match network(entry) {
            Ok(network) if trusted.networks.contains(&network) => {}
            Ok(network) => trusted.networks.push(network),
            Err(advice) if entry == value => return Err(advice),
            Err(advice) => return Err(format!("in it, \"{}\": {advice}", shown(entry))),
        }
    }
    match trusted.is_empty() {
        true => Err(EXAMPLE.to_owned()),
        false => Ok(trusted),
    }
}

const EXAMPLE: &str = "write addresses and networks such as 127.0.0.1, 10.0.0.0/8, fd00::/8, or \
                       unix for Unix sockets, separated by commas";

fn network(entry: &str) -> Result<Network, String> {
    tidy(entry)?;
    Network::parse(entry).map_err(|error| match error {
        NetworkError::Address => EXAMPLE.to_owned(),
        NetworkError::Prefix(most) => {
            format!("write a whole number from 0 to {most} after the slash")
        }
        NetworkError::Host(first, prefix) => {
            format!("its address is not the first of the network; write {first}/{prefix}")
        }
    })
}

#[cfg(test)]
mod tests;
