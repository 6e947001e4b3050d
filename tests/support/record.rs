//! A client that sends requests repeatedly, and its results.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Response, bearer};
use super::contract::{PROTECTED, PROTECTED_BODY};

/// The results of one client.
pub struct Record {
    name: &'static str,
    times: Vec<Duration>,
    failures: Vec<String>,
    reconnected: usize,
}

impl Record {
    /// For a client that has sent no request yet.
    pub fn new(name: &'static str) -> Record {
        Record {
            name,
            times: Vec::new(),
            failures: Vec::new(),
            reconnected: 0,
        }
    }

    /// Sends a request at these intervals, or as soon as the last answer is received. `ask` counts
    /// how often it had to reconnect.
    pub fn each(
        &mut self,
        interval: Duration,
        end: Instant,
        mut ask: impl FnMut(&mut usize) -> io::Result<()>,
    ) {
        let mut next = Instant::now();
        while Instant::now() < end {
            let started = Instant::now();
            let answer = ask(&mut self.reconnected).map(|()| started.elapsed());
            self.add(answer);
            next += interval;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.times.sort();
    }

    /// Sends `count` requests at this interval, one after the other. The time of each counts from
    /// when it was due, so a slow answer also counts against those that it delays.
    pub fn on_time(
        &mut self,
        interval: Duration,
        count: u32,
        mut ask: impl FnMut() -> io::Result<()>,
    ) {
        let started = Instant::now();
        for number in 0..count {
            let due = started + number * interval;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = ask().map(|()| due.elapsed());
            self.add(answer);
        }
        self.times.sort();
    }

    /// Sends a request at these intervals, each on a thread of its own, so that a slow answer does
    /// not delay later ones.
    pub fn every(
        &mut self,
        interval: Duration,
        end: Instant,
        ask: impl Fn() -> io::Result<()> + Sync,
    ) {
        let timed = || {
            let started = Instant::now();
            ask().map(|()| started.elapsed())
        };
        let mut next = Instant::now();
        let answers: Vec<io::Result<Duration>> = thread::scope(|scope| {
            let mut asking = Vec::new();
            while Instant::now() < end {
                asking.push(scope.spawn(timed));
                next += interval;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            let answers = asking.into_iter().map(|thread| thread.join());
            answers
                .map(|answer| answer.expect("`ask` does not panic"))
                .collect()
        });
        for answer in answers {
            self.add(answer);
        }
        self.times.sort();
    }

    /// Adds the result of one request.
    fn add(&mut self, answer: io::Result<Duration>) {
        match answer {
            Ok(time) => self.times.push(time),
            Err(error) => {
                eprintln!("{}: {error}", self.name);
                self.failures.push(error.to_string());
            }
        }
    }

    /// How many requests were answered correctly.
    pub fn answered(&self) -> usize {
        self.times.len()
    }

    /// How many requests were not answered correctly.
    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    /// The time within which this part of the answers was received, if there are any.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        let at = self.times.len() * percent / 100;
        self.times.get(at.min(last)).copied()
    }

    /// Prints a row of a table.
    pub fn print(&self) {
        let answered = self.answered();
        let asked = answered + self.failed();
        let [p50, p99, p100] = [50, 99, 100].map(|percent| match self.percentile(percent) {
            Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            None => "none".to_owned(),
        });
        println!(
            "| {} | {answered} of {asked} | {} | {p50} | {p99} | {p100} |",
            self.name, self.reconnected
        );
    }
}

/// Requests the protected message on a new connection.
pub fn ask_anew(from: IpAddr, addr: SocketAddr, token: &str) -> io::Result<()> {
    check(ask(&mut Client::try_connect_from(from, addr)?, token)?)
}

/// Requests it on the existing connection. If that was closed between two requests, repeats the
/// request once on a new one, as HTTP clients do (RFC 9112 §9.3.1).
pub fn ask_again(
    connection: &mut Option<Client>,
    from: IpAddr,
    addr: SocketAddr,
    token: &str,
    reconnected: &mut usize,
) -> io::Result<()> {
    if let Some(client) = connection {
        match ask(client, token) {
            Ok(response) => return check(response),
            Err(error) if was_closed(&error) => *reconnected += 1,
            Err(error) => {
                *connection = None;
                return Err(error);
            }
        }
    }
    let client = connection.insert(Client::try_connect_from(from, addr)?);
    let response = ask(client, token);
    if response.is_err() {
        *connection = None;
    }
    check(response?)
}

fn ask(client: &mut Client, token: &str) -> io::Result<Response> {
    client.try_request("GET", PROTECTED, &[("Authorization", &bearer(token))])
}

fn check(response: Response) -> io::Result<()> {
    if response.status == 200 && response.text() == PROTECTED_BODY {
        return Ok(());
    }
    let (status, text) = (response.status, response.text());
    Err(io::Error::other(format!("{status} {text}")))
}

fn was_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
