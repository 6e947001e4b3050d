//! The grammar of hosts, origins and the tenant's domain.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::values::tidy;
use super::variable::shown;

/// The host of a tenant, in lower case.
pub(super) fn domain(value: &str) -> Result<String, String> {
    tidy(value)?;
    let domain = value.to_ascii_lowercase();
    match domain_fault(&domain) {
        None => Ok(domain),
        Some(fault) => Err(match bare_host(&domain) {
            Some(host) => format!("{fault}; write {host}"),
            None => format!("{fault}; write a host such as tenant.eu.auth0.com"),
        }),
    }
}

fn domain_fault(domain: &str) -> Option<String> {
    if domain.contains("://") {
        return Some("it must be the bare host, without a scheme".to_owned());
    }
    if domain.contains(['/', '?', '#', '\\']) {
        return Some("it must be the bare host, without a slash or a path".to_owned());
    }
    if domain.contains('@') {
        return Some("it must be the bare host, without a user name".to_owned());
    }
    match authority(domain, HostRules::Tenant) {
        Err(fault) => Some(fault),
        // An issuer does not name the default port: with it, every token would be refused.
        Ok(Some(443)) => Some("the default port is left out".to_owned()),
        Ok(_) => None,
    }
}

/// The valid host within a URL or the like: what to write instead.
fn bare_host(domain: &str) -> Option<&str> {
    let rest = domain.split_once("://").map_or(domain, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.trim_matches('.');
    let host = host.strip_suffix(":443").unwrap_or(host);
    domain_fault(host).is_none().then_some(host)
}

/// Origins as browsers write them, without duplicates.
pub(super) fn origins(value: &str) -> Result<Vec<String>, String> {
    let mut origins = Vec::new();
    for written in value
        .split(',')
        .map(|written| written.trim_matches([' ', '\t']))
    {
        if written.is_empty() {
            continue;
        }
        let origin = match origin(written) {
            Ok(origin) => origin,
            Err(advice) if written == value => return Err(advice),
            Err(advice) => return Err(format!("in it, \"{}\": {advice}", shown(written))),
        };
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    if origins.is_empty() {
        return Err("write an origin such as http://localhost:4040".to_owned());
    }
    Ok(origins)
}

fn origin(written: &str) -> Result<String, String> {
    tidy(written)?;
    let lower = written.to_ascii_lowercase();
    let example = "write an origin such as http://localhost:4040";
    if lower == "*" || lower == "null" {
        return Err(format!("origins are allowed one by one; {example}"));
    }
    let Some((scheme, rest)) = lower.split_once("://") else {
        return Err(match authority(&lower, HostRules::Origin) {
            Ok(_) => format!("it has no scheme; write http://{lower} or https://{lower}"),
            Err(_) => format!("it has no scheme; {example}"),
        });
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(format!("its scheme is neither http nor https; {example}")),
    };
    if rest.contains([' ', '\t', ';']) {
        return Err("separate origins with commas".to_owned());
    }
    // What to write instead, if nothing else is wrong.
    let bare = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let host = bare.rsplit('@').next().unwrap_or(bare);
    let instead = match authority(host, HostRules::Origin) {
        Ok(_) => format!("write {scheme}://{host}"),
        Err(_) => example.to_owned(),
    };
    if bare != rest {
        let fault = "it must end after the host and port, without a slash or a path";
        return Err(format!("{fault}; {instead}"));
    }
    if host != bare {
        return Err(format!("an origin has no user name; {instead}"));
    }
    match authority(host, HostRules::Origin) {
        Err(fault) => Err(format!("{fault}; {example}")),
        // Browsers leave the default port out of `Origin`.
        Ok(Some(port)) if port == default_port => {
            let (host, _) = host.rsplit_once(':').unwrap_or((host, ""));
            Ok(format!("{scheme}://{host}"))
        }
        Ok(_) => Ok(lower),
    }
}

/// What differs between the hosts of a tenant and of an origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HostRules {
    /// No certificate is issued for a name with an underscore.
    Tenant,
    /// Browsers accept an underscore.
    Origin,
}

/// Checks a `host` or `host:port`; returns the port, or what is wrong.
pub(super) fn authority(text: &str, rules: HostRules) -> Result<Option<u16>, String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| "what its brackets hold is not an IPv6 address")?;
        return match after.strip_prefix(':') {
            Some(port) => authority_port(port).map(Some),
            None if after.is_empty() => Ok(None),
            None => Err("only a port may follow the bracket".to_owned()),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets, [{text}]"));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    check_host(host, rules)?;
    port.map(authority_port).transpose()
}

fn authority_port(port: &str) -> Result<u16, String> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    digits
        .then(|| port.parse().ok())
        .flatten()
        .ok_or_else(|| "its port is not a number from 1 to 65535".to_owned())
}

/// Refuses what is neither an IPv4 address nor a host name (RFC 1123 §2.1, RFC 1035 §2.3.4).
fn check_host(host: &str, rules: HostRules) -> Result<(), String> {
    if host.is_empty() {
        return Err("its host is missing".to_owned());
    }
    if !host.is_ascii() {
        return Err(
            "its host must be in ASCII, as xn--… when the name has other letters".to_owned(),
        );
    }
    if host.len() > 253 {
        return Err("its host is longer than 253 characters".to_owned());
    }
    if host.ends_with('.') {
        return Err("its host must not end in a dot".to_owned());
    }
    let underscore = rules == HostRules::Origin;
    for label in host.split('.') {
        check_label(label, underscore)?;
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err("it is neither an IPv4 address nor a host name".to_owned());
    }
    Ok(())
}

fn check_label(label: &str, underscore: bool) -> Result<(), String> {
    if label.is_empty() {
        return Err("its host has nothing before, or between, two dots".to_owned());
    }
    if label.len() > 63 {
        return Err("a part of its host is longer than 63 characters".to_owned());
    }
    let foreign = label
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || c == '-' || (underscore && c == '_')));
    if let Some(foreign) = foreign {
        let foreign = match foreign {
            ' ' => "a space".to_owned(),
            other => shown(&other.to_string()),
        };
        return Err(format!("a host cannot hold {foreign}"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("no part of a host starts or ends with a hyphen".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
