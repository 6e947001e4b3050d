//! The steps on this host: the listening address, the state folder, the server's certificate.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use super::{how_far, skip};
use crate::auth::disk::DiskCopy;
use crate::commands::output::{Output, Verdict};
use crate::config::Survey;
use crate::http::listener;
use crate::server::{StartError, StartFault};
use crate::systemd::reachable;
use crate::tls::Pair;
use crate::tls::validity::{Standing, Timestamp};

/// The time for whoever listens at the address already to answer.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// The most that is read of the answer, in bytes: postern's headers have fewer.
const MAX_ANSWER: usize = 4096;

/// Whether postern can listen, or listens already.
pub(super) fn listening_address(survey: &Survey, output: &Output) {
    const STEP: &str = "listening address";
    let Some(address) = survey.listen else {
        return skip(STEP, output);
    };
    let Err(error) = listener::try_bind(address) else {
        let free = match address.port() {
            0 => ", any free port is taken",
            _ => " is free",
        };
        return output.verdict(Verdict::Ok, format_args!("{STEP}: {address}{free}"));
    };
    output.wait(
        &how_far(1),
        format_args!("{STEP}: asking who listens on {address}"),
    );
    // It also may be another user who may not listen there, such as on the port of a socket unit.
    let wants_tls = !matches!(&survey.certificate, Some(Ok(None)) | None);
    let Some(speaks_tls) = postern_at(address) else {
        output.verdict(
            Verdict::Failed,
            format_args!("{STEP}: {address} cannot be listened on ({error})"),
        );
        let error = StartError(StartFault::Bind(address, error));
        return output.more(format_args!("{error}"));
    };
    let (verdict, how) = match (speaks_tls == wants_tls, speaks_tls) {
        (true, _) => (Verdict::Ok, ""),
        (false, true) => (Verdict::Warning, ", for TLS"),
        (false, false) => (Verdict::Warning, ", for plain HTTP"),
    };
    output.verdict(
        verdict,
        format_args!("{STEP}: a postern listens on {address} already{how}"),
    );
    if verdict == Verdict::Warning {
        output.more(format_args!(
            "The settings are for the other. Restart it to put them in force."
        ));
    }
}

/// Whether a postern answers at this address, and if so, whether it speaks TLS there.
fn postern_at(address: SocketAddr) -> Option<bool> {
    let answer = ask(reachable(address)).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let mut lines = answer.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    // No other path is asked for, so that 400 is its answer to plain HTTP where it speaks TLS.
    let speaks_tls = status.starts_with("400 ");
    lines
        .take_while(|line| !line.is_empty())
        .any(|line| line.eq_ignore_ascii_case("Server: postern"))
        .then_some(speaks_tls)
}

/// The beginning of the answer to a request in plain HTTP.
fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PROBE_TIME;
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIME)?;
    stream.set_write_timeout(Some(PROBE_TIME))?;
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while answer.len() < MAX_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero is refused.
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            // What has come may do.
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(answer)
}

/// Whether the keys can be kept over a restart.
pub(super) fn state_folder(survey: &Survey, output: &Output) {
    const STEP: &str = "state folder";
    let Some(folder) = &survey.state_directory else {
        return skip(STEP, output);
    };
    let Some(folder) = folder else {
        return output.verdict(
            Verdict::Ok,
            format_args!("{STEP}: none, the keys are kept in memory only"),
        );
    };
    let path = folder.display();
    let issuer = survey.tenant.as_ref().map(|tenant| tenant.issuer());
    let has_issuer = issuer.is_some();
    let copy = DiskCopy::new(folder.clone(), issuer.unwrap_or_default());
    if let Err(error) = copy.try_write() {
        output.verdict(
            Verdict::Failed,
            format_args!("{STEP}: {path} cannot be written ({error})"),
        );
        return output.more(format_args!("{}", write_advice(error.kind())));
    }
    // Without the tenant, it is unknown whose copy it should be.
    let read = if has_issuer { copy.read() } else { Ok(None) };
    match read {
        Ok(Some((keys, stored))) => {
            let age = SystemTime::now().duration_since(stored.fetched);
            let age = age.unwrap_or_default().as_secs();
            output.verdict(
                Verdict::Ok,
                format_args!(
                    "{STEP}: {path} can be written, and holds {keys}, fetched {age} s ago"
                ),
            );
        }
        Ok(None) => {
            let none = if has_issuer {
                ", and holds no keys yet"
            } else {
                ""
            };
            output.verdict(
                Verdict::Ok,
                format_args!("{STEP}: {path} can be written{none}"),
            );
        }
        Err(why) => {
            output.verdict(
                Verdict::Warning,
                format_args!("{STEP}: {path} can be written"),
            );
            output.more(format_args!(
                "postern passes over {}: {why}. The next keys it fetches replace it.",
                copy.path().display()
            ));
        }
    }
}

/// What to do about a folder that cannot be written.
fn write_advice(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "Make the folder, owned by the user that postern runs as, with mode 0700; under \
             systemd, StateDirectory= does."
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room on that disk.",
        _ => {
            "Only the user that postern runs as needs to write there: run this check as that user \
             (systemd/postern-run does), or give the folder to it."
        }
    }
}

/// The server's own certificate.
pub(super) fn certificate(survey: &Survey, output: &Output) {
    const STEP: &str = "certificate";
    match &survey.certificate {
        None => skip(STEP, output),
        Some(Ok(None)) => output.verdict(Verdict::Ok, format_args!("{STEP}: none, plain HTTP")),
        Some(Ok(Some(pair))) => pair_of_files(STEP, pair, output),
        Some(Err(faults)) => {
            output.verdict(
                Verdict::Failed,
                format_args!("{STEP}: cannot be used; postern would not start"),
            );
            for fault in faults {
                output.more(format_args!("{fault}"));
            }
        }
    }
}

/// Files that a start takes: what it warns of.
fn pair_of_files(step: &str, pair: &Pair, output: &Output) {
    let standing = pair.validity().standing(Timestamp::now());
    let faults = [pair.concern(standing), pair.exposure()];
    let verdict = match standing {
        // postern serves, but no client trusts it.
        Standing::NotYet | Standing::Over => Verdict::Failed,
        _ if faults.iter().all(Option::is_none) => Verdict::Ok,
        _ => Verdict::Warning,
    };
    let end = pair.validity().not_after;
    output.verdict(
        verdict,
        format_args!("{step}: the key and the chain match, valid until {end}"),
    );
    for fault in faults.iter().flatten() {
        output.more(format_args!("{fault}"));
    }
}
