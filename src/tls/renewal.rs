//! The certificate in force, and the thread that renews it.
//!
//! The thread reads both files again when it is asked to, and when one of them has changed. It
//! notices that within 30 s. A pair that is broken, incomplete or does not match changes nothing:
//! the certificate in force stays, and the log says why. The next try follows the next change, so
//! a certificate and its key may be replaced one after the other.
//!
//! Connections get the certificate that is in force when their handshake begins, and keep it.

use std::io;
use std::mem::{discriminant, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use log::{Level, error, log};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Pair, Stamps};
use super::validity::{Standing, Timestamp};

/// The pause between two looks at the files.
const PERIOD: Duration = Duration::from_secs(30);
/// The time between two warnings of one kind, in seconds.
const REMINDER: i64 = 24 * 3600;
/// Address space for the thread's stack.
const STACK_SIZE: usize = 256 * 1024;

/// The certificate in force, with its key.
#[derive(Debug)]
pub struct Certificate {
    in_force: RwLock<Arc<CertifiedKey>>,
    /// Its end, in seconds since 1970.
    not_after: AtomicI64,
    /// Whether the files are to be read again now.
    is_wanted: Mutex<bool>,
    wanted: Condvar,
}

impl Certificate {
    /// Puts a certificate in force and starts the thread that renews it. `report` is given the
    /// warning that the certificate deserves, again when that changes, and an empty text when there
    /// is none any more.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(pair: Pair, report: fn(&str)) -> io::Result<Arc<Certificate>> {
        let (keeper, lines) = Keeper::new(pair, report, Timestamp::now());
        write(lines);
        let certificate = Arc::clone(&keeper.certificate);
        thread::Builder::new()
            .name("certificate".into())
            .stack_size(STACK_SIZE)
            .spawn(move || keeper.run())?;
        Ok(certificate)
    }

    /// Makes the thread read the files again now. Returns at once.
    pub fn reload(&self) {
        // Nothing panics under this lock, nor under the other.
        *self
            .is_wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.wanted.notify_one();
    }

    /// Waits until it is time for the next look. Returns whether it was [asked
    /// for](Certificate::reload).
    fn wait(&self) -> bool {
        let is_wanted = self.is_wanted.lock();
        let is_wanted = is_wanted.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .wanted
            .wait_timeout_while(is_wanted, PERIOD, |is_wanted| !*is_wanted);
        take(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// The end of the certificate in force.
    pub fn not_after(&self) -> Timestamp {
        Timestamp(self.not_after.load(Ordering::Relaxed))
    }

    fn in_force(&self) -> Arc<CertifiedKey> {
        let in_force = self.in_force.read();
        Arc::clone(&in_force.unwrap_or_else(PoisonError::into_inner))
    }

    fn put_in_force(&self, pair: &Pair) {
        let in_force = self.in_force.write();
        *in_force.unwrap_or_else(PoisonError::into_inner) = Arc::clone(&pair.certified);
        let not_after = pair.validity.not_after.0;
        self.not_after.store(not_after, Ordering::Relaxed);
    }
}

impl ResolvesServerCert for Certificate {
    /// There is one certificate, whatever name the client asks for.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.in_force())
    }
}

/// The state of the thread.
struct Keeper {
    certificate: Arc<Certificate>,
    /// The pair in force.
    pair: Pair,
    /// The files at the latest try.
    tried: Stamps,
    /// The latest warning about the certificate in force: of what, and when.
    warned: Option<(Standing, Timestamp)>,
    report: fn(&str),
    /// The latest text that was reported.
    reported: String,
}

impl Keeper {
    fn new(pair: Pair, report: fn(&str), now: Timestamp) -> (Keeper, Vec<Line>) {
        let certificate = Certificate {
            in_force: RwLock::new(Arc::clone(&pair.certified)),
            not_after: AtomicI64::new(pair.validity.not_after.0),
            is_wanted: Mutex::default(),
            wanted: Condvar::new(),
        };
        let mut keeper = Keeper {
            certificate: Arc::new(certificate),
            tried: pair.stamps,
            pair,
            warned: None,
            report,
            reported: String::new(),
        };
        let mut lines = vec![keeper.validity("the TLS certificate is valid")];
        lines.extend(keeper.exposure());
        keeper.warn(now, &mut lines);
        (keeper, lines)
    }

    /// Never returns. A panic ends one look only.
    fn run(mut self) {
        loop {
            let is_wanted = self.certificate.wait();
            let look = || write(self.look(is_wanted, Timestamp::now()));
            if catch_unwind(AssertUnwindSafe(look)).is_err() {
                // Logging itself may be what panics.
                let _ = catch_unwind(|| error!("the thread that renews the certificate panicked"));
            }
        }
    }

    /// Reads the files again, if that is wanted or one of them has changed. Returns what to log.
    fn look(&mut self, is_wanted: bool, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        let stamps = Stamps::of(&self.pair.files);
        if is_wanted || stamps != self.tried {
            self.tried = stamps;
            match self.pair.files.load() {
                Ok(pair) => self.renew(pair, is_wanted, &mut lines),
                Err(faults) => lines.extend(faults.iter().map(|fault| {
                    Line::warn(format!("the TLS certificate in force stays: {fault}"))
                })),
            }
        }
        self.warn(now, &mut lines);
        lines
    }

    /// Puts a new pair in force.
    fn renew(&mut self, pair: Pair, is_wanted: bool, lines: &mut Vec<Line>) {
        let is_new = pair.certified.cert != self.pair.certified.cert;
        let was_exposed = self.pair.exposed;
        self.certificate.put_in_force(&pair);
        self.pair = pair;
        if is_new {
            self.warned = None;
            lines.push(self.validity("a new TLS certificate is in force, valid"));
        } else {
            let mut line = self.validity("the TLS certificate is unchanged, valid");
            // Other programs may touch the files often.
            line.level = if is_wanted { Level::Info } else { Level::Debug };
            lines.push(line);
        }
        if is_new || self.pair.exposed != was_exposed {
            lines.extend(self.exposure());
        }
    }

    /// A line that ends in the certificate's end.
    fn validity(&self, begin: &str) -> Line {
        let end = self.pair.validity.not_after;
        Line {
            level: Level::Info,
            text: format!("{begin} until {end}"),
        }
    }

    /// A warning if others have access to the key.
    fn exposure(&self) -> Option<Line> {
        self.pair
            .exposure()
            .map(|fault| Line::warn(fault.to_string()))
    }

    /// Warns of a certificate that is not valid, or not for long: at once, then once a day.
    fn warn(&mut self, now: Timestamp, lines: &mut Vec<Line>) {
        let standing = self.pair.validity.standing(now);
        let text = self.pair.warning(standing);
        let is_valid = text.is_empty();
        if text != self.reported {
            (self.report)(&text);
            self.reported.clone_from(&text);
        }
        if is_valid {
            // The clock has been set.
            if self.warned.take().is_some() {
                lines.push(self.validity("the TLS certificate is valid"));
            }
            return;
        }
        // The wall clock can go back, too.
        let is_recent = |at: Timestamp| (0..REMINDER).contains(&now.0.saturating_sub(at.0));
        let is_known = self.warned.is_some_and(|(before, at)| {
            discriminant(&before) == discriminant(&standing) && is_recent(at)
        });
        if !is_known {
            self.warned = Some((standing, now));
            let fault = self.pair.concern(standing);
            lines.extend(fault.map(|fault| Line::warn(fault.to_string())));
        }
    }
}

/// A line for the log.
#[derive(Debug)]
struct Line {
    level: Level,
    text: String,
}

impl Line {
    fn warn(text: String) -> Line {
        let level = Level::Warn;
        Line { level, text }
    }
}

fn write(lines: Vec<Line>) {
    for Line { level, text } in lines {
        log!(level, "{text}");
    }
}

#[cfg(test)]
mod tests;
