//! The proxy for the fetch of the keys.

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use super::host::{HostRules, authority};
use super::values::QUOTES;
use super::variable::shown;

/// A proxy that speaks plain HTTP and opens tunnels (`CONNECT`, RFC 9110 §9.3.6).
///
/// No advice repeats the value, which may hold a password.
pub(super) fn proxy(value: &str) -> Result<Option<Proxy>, String> {
    let example = "write a URL such as http://proxy.example.com:3128";
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || QUOTES.contains(&c);
    if value.contains(is_odd) {
        let fault = "it holds a space, a quote or a control character";
        return Err(format!("{fault}; {example}"));
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" {
        let fault = match scheme.starts_with("socks") {
            true => "proxies that speak SOCKS are not supported",
            false => "its scheme must be http",
        };
        return Err(format!("{fault}; {example}"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    if host.contains(['/', '?', '#', '\\']) {
        return Err(format!("it must end after the host and port; {example}"));
    }
    authority(host, HostRules::Origin).map_err(|fault| format!("{fault}; {example}"))?;
    let is_encoded = |user: &str| !user.contains(['/', '?', '#', '\\', '@', '[', ']']);
    // Whatever else ureq has against it is in the user name: the host is checked.
    let proxy = Proxy::new(&format!("http://{rest}")).ok();
    let proxy = proxy.filter(|_| user.is_none_or(is_encoded));
    let fault = "its user name and password must be percent-encoded";
    proxy.map(Some).ok_or_else(|| format!("{fault}; {example}"))
}

/// What a report shows of a proxy's URL: neither user name nor password, nor what may be part of
/// one in a URL that is wrong.
pub(super) fn masked(value: &str) -> String {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), value),
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || ":/+-.".contains(c);
    if !scheme.chars().all(is_scheme) {
        return "***".to_owned();
    }
    match rest.rsplit_once('@') {
        Some((_, host)) if is_host(host) => shown(&format!("{scheme}***@{host}")),
        None if is_host(rest) || !rest.contains(':') => shown(&format!("{scheme}{rest}")),
        _ => format!("{scheme}***"),
    }
}

fn is_host(text: &str) -> bool {
    let host = text.strip_suffix('/').unwrap_or(text);
    authority(host, HostRules::Origin).is_ok()
}

/// Whether the tenant at `domain` is one of the hosts in a list, separated by commas, that need no
/// proxy: `host`, `.suffix`, `*.suffix` or `*`.
pub(super) fn needs_none(hosts: &str, domain: &str) -> bool {
    let hosts = hosts.split(',').map(str::trim);
    let rules = hosts.fold(Proxy::builder(ProxyProtocol::Http), |rules, host| {
        rules.no_proxy(host)
    });
    match (rules.build(), format!("https://{domain}/").parse::<Uri>()) {
        (Ok(rules), Ok(url)) => rules.is_no_proxy(&url),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
