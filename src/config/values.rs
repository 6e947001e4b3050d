//! Checks of single values. Each returns the value, or what to write instead.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::variable::shown;

/// The largest file that a setting may name, and the largest `.env`, in MiB.
pub(super) const MAX_FILE_MIB: u64 = 1;
pub(super) const QUOTES: &[char] = &['"', '\'', '`', '“', '”', '‘', '’'];

/// Refuses what is in a value by mistake: quotes or spaces around it, control characters.
pub(super) fn tidy(value: &str) -> Result<(), String> {
    let bare = value.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c));
    if bare != value {
        let instead = match bare {
            "" => String::new(),
            bare => format!(": {}", shown(bare)),
        };
        let around = match value.trim() == value {
            true => "quotes",
            false => "spaces",
        };
        return Err(format!("write it without {around} around it{instead}"));
    }
    if bare.chars().any(char::is_control) {
        return Err("write it without control characters".to_owned());
    }
    Ok(())
}

/// An API identifier: any text, compared byte by byte with a token's `aud`.
pub(super) fn audience(value: &str) -> Result<String, String> {
    tidy(value)?;
    Ok(value.to_owned())
}

pub(super) fn port(value: &str) -> Result<u16, String> {
    tidy(value)?;
    whole(value, &(0..=65535))
        .map_err(|_| "write a whole number from 1 to 65535, or 0 for any free port".to_owned())
}

pub(super) fn host(value: &str) -> Result<IpAddr, String> {
    tidy(value)?;
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    if let Ok(both) = value.parse::<SocketAddr>() {
        let (host, port) = (both.ip(), both.port());
        return Err(format!("write {host} here and {port} in PORT"));
    }
    let inner = value
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    Err(if let Some(address) = inner {
        format!("write it without brackets: {address}")
    } else if value.eq_ignore_ascii_case("localhost") {
        "it must be an IP address; write 127.0.0.1".to_owned()
    } else if value == "*" {
        "it must be an IP address; write 0.0.0.0, or :: for IPv6 too".to_owned()
    } else {
        "write an IP address: 127.0.0.1 for this machine only, 0.0.0.0 for all".to_owned()
    })
}

/// Hosts that need no proxy. The list is shared with other programs, so entries that are not hosts
/// are allowed.
pub(super) fn no_proxy(value: &str) -> Result<String, String> {
    tidy(value)?;
    Ok(value.to_owned())
}

/// systemd sets it; of several folders, separated by colons, the first counts. Whether it can be
/// written is not checked: a folder that cannot be is no reason to stop.
pub(super) fn state_directory(value: &str) -> Result<Option<PathBuf>, String> {
    let folder = Path::new(value.split(':').next().unwrap_or_default());
    match folder.is_absolute() {
        true => Ok(Some(folder.to_owned())),
        false => Err("write an absolute path, such as /var/lib/postern".to_owned()),
    }
}

/// The path of a file. What is in it, is checked with other settings.
pub(super) fn path(value: &str) -> Result<Option<PathBuf>, String> {
    tidy(value)?;
    Ok(Some(PathBuf::from(value)))
}

/// Makes a check of a number within `range`.
pub(super) fn count(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, String> {
    move |value| {
        tidy(value)?;
        whole(value, &range)
    }
}

/// Makes a check of a number of seconds within `range`.
pub(super) fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    move |value| {
        tidy(value)?;
        whole(value, &range).map(Duration::from_secs)
    }
}

/// A number written in digits only.
fn whole<T: TryFrom<u64>>(value: &str, range: &RangeInclusive<u64>) -> Result<T, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|number| digits && range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("write a whole number from {least} to {most}")
        })
}

pub(super) fn log_level(value: &str) -> Result<LevelFilter, String> {
    tidy(value)?;
    let level = |text: &str| {
        let level: log::Level = text.parse().ok()?;
        Some(level.to_level_filter())
    };
    level(value).ok_or_else(|| {
        let directive = value.rsplit_once('=').and_then(|(_, text)| level(text));
        match directive {
            Some(level) => {
                let level = level.as_str().to_ascii_lowercase();
                format!("it is one level for everything, without targets; write {level}")
            }
            None => "write one of error, warn, info, debug, trace".to_owned(),
        }
    })
}

#[cfg(test)]
mod tests;
