use std::cell::RefCell;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;

use super::super::Files;
use super::super::testing::Folder;
use super::super::testing::certificates::{ServerFiles, set_mode};
use super::*;

const DAY: i64 = 24 * 3600;
/// The certificates below are valid from here on, for 90 days.
const BEGIN: i64 = 1_800_000_000;
const END: i64 = BEGIN + 90 * DAY;

thread_local! {
    /// The texts reported by a keeper that this thread runs.
    static REPORTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn report(text: &str) {
    REPORTED.with_borrow_mut(|reported| reported.push(text.to_owned()));
}

fn reported() -> Vec<String> {
    REPORTED.take()
}

fn validity(begin: i64) -> Option<(SystemTime, SystemTime)> {
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds as u64);
    Some((at(begin), at(begin + 90 * DAY)))
}

/// A keeper of files in a folder, without its thread.
struct House {
    server: ServerFiles,
    keeper: Keeper,
    begun: Vec<String>,
    _folder: Folder,
}

impl House {
    /// At this time.
    fn new(now: i64) -> House {
        House::with_key_mode(now, 0o600)
    }

    fn with_key_mode(now: i64, mode: u32) -> House {
        reported();
        let folder = Folder::new();
        let server = ServerFiles::new(folder.path());
        server.renew(validity(BEGIN));
        set_mode(&server.key, mode);
        let pair = Files::from(&server).load().unwrap();
        let (keeper, lines) = Keeper::new(pair, report, Timestamp(now));
        House {
            server,
            keeper,
            begun: texts(lines),
            _folder: folder,
        }
    }

    fn look(&mut self, now: i64) -> Vec<String> {
        texts(self.keeper.look(false, Timestamp(now)))
    }

    fn reload(&mut self, now: i64) -> Vec<String> {
        texts(self.keeper.look(true, Timestamp(now)))
    }

    /// The server's certificate in force.
    fn in_force(&self) -> Vec<u8> {
        self.keeper.certificate.in_force().cert[0].to_vec()
    }
}

fn texts(lines: Vec<Line>) -> Vec<String> {
    let text = |line: Line| format!("{} {}", line.level, line.text);
    lines.into_iter().map(text).collect()
}

#[track_caller]
fn assert_lines(lines: &[String], expected: &[&str]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected:?}: {line}");
    }
}

#[test]
fn a_valid_certificate_is_told_once() {
    let mut house = House::new(BEGIN);
    assert_eq!(
        house.begun,
        ["INFO the TLS certificate is valid until 2027-04-15 08:00:00 UTC"]
    );
    for day in 0..=76 {
        assert_lines(&house.look(BEGIN + day * DAY), &[]);
    }
    assert!(reported().is_empty());
}

#[test]
fn a_new_pair_is_put_in_force() {
    let mut house = House::new(BEGIN);
    let old = house.in_force();
    house.server.renew(validity(BEGIN + 60 * DAY));
    let lines = house.look(BEGIN + 60 * DAY);
    assert_eq!(
        lines,
        ["INFO a new TLS certificate is in force, valid until 2027-06-14 08:00:00 UTC"]
    );
    assert_ne!(house.in_force(), old);
    assert_lines(&house.look(BEGIN + 60 * DAY), &[]);
}

#[test]
fn a_pair_replaced_one_file_after_the_other_is_taken_when_it_matches() {
    for certificate_first in [true, false] {
        let mut house = House::new(BEGIN);
        let old = house.in_force();
        let key = KeyPair::generate().unwrap();
        let write = |certificate: bool, server: &ServerFiles| match certificate {
            true => server.write_certificate(validity(BEGIN), &key),
            false => server.write_key(&key.serialize_pem()),
        };
        write(certificate_first, &house.server);
        let lines = house.look(BEGIN);
        assert_lines(
            &lines,
            &["WARN the TLS certificate in force stays: TLS_KEY_FILE is \""],
        );
        assert!(
            lines[0].contains("its key does not belong to the first"),
            "{lines:?}"
        );
        // Nothing has changed since.
        assert_lines(&house.look(BEGIN + 30), &[]);
        assert_eq!(house.in_force(), old);
        write(!certificate_first, &house.server);
        assert_lines(
            &house.look(BEGIN + 60),
            &["INFO a new TLS certificate is in force"],
        );
        assert_ne!(house.in_force(), old);
    }
}

#[test]
fn a_broken_pair_is_logged_at_each_try() {
    let mut house = House::new(BEGIN);
    let old = house.in_force();
    let key = fs::read_to_string(&house.server.key).unwrap();
    let stays = "WARN the TLS certificate in force stays: ";
    // Half of it is written.
    fs::write(&house.server.key, &key[..key.len() / 2]).unwrap();
    let broken = format!("{stays}TLS_KEY_FILE is \"");
    assert_lines(&house.look(BEGIN), &[&broken]);
    assert_lines(&house.look(BEGIN), &[]);
    assert_lines(&house.reload(BEGIN), &[&broken]);
    assert_lines(&house.reload(BEGIN), &[&broken]);
    fs::remove_file(&house.server.certificate).unwrap();
    let both = [
        &*format!("{stays}TLS_CERTIFICATE_FILE is \""),
        &*format!("{stays}TLS_KEY_FILE is \""),
    ];
    assert_lines(&house.look(BEGIN), &both);
    assert_eq!(house.in_force(), old);
    house.server.renew(validity(BEGIN));
    assert_lines(
        &house.look(BEGIN),
        &["INFO a new TLS certificate is in force"],
    );
}

#[test]
fn an_unchanged_pair_is_told_to_who_asks() {
    let mut house = House::new(BEGIN);
    assert_lines(
        &house.reload(BEGIN),
        &["INFO the TLS certificate is unchanged, valid until"],
    );
    let key = fs::read_to_string(&house.server.key).unwrap();
    house.server.write_key(&key);
    assert_lines(
        &house.look(BEGIN),
        &["DEBUG the TLS certificate is unchanged, valid until"],
    );
}

#[test]
fn the_end_is_warned_of_once_a_day_from_14_days_before() {
    let mut house = House::new(BEGIN);
    let begin = END - 14 * DAY + 1;
    let (mut warnings, mut now) = (Vec::new(), begin - 600);
    while now < END + 3 * DAY {
        warnings.extend(house.look(now).into_iter().map(|line| (now, line)));
        now += 30;
    }
    // 14 before the end, one at it, two on days after it.
    assert_eq!(warnings.len(), 17, "{warnings:#?}");
    assert!((begin..begin + 30).contains(&warnings[0].0));
    let path = house.server.certificate.display();
    assert_eq!(
        warnings[0].1,
        format!(
            "WARN TLS_CERTIFICATE_FILE is \"{path}\": the TLS certificate expires in 13 days, on \
             2027-04-15 08:00:00 UTC: renew it"
        )
    );
    assert!(
        warnings[12].1.contains("expires in 1 day, on"),
        "{warnings:#?}"
    );
    assert!(
        warnings[13].1.contains("expires in less than a day, on"),
        "{warnings:#?}"
    );
    assert!(
        warnings[14]
            .1
            .contains("has expired on 2027-04-15 08:00:00 UTC: clients refuse it")
    );
    assert!((END..=END + 30).contains(&warnings[14].0));
    for pair in warnings.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= DAY + 30, "{pair:#?}");
    }
    // Each text once: 13 days to 1 day, less than a day, expired.
    let reported = reported();
    assert_eq!(reported.len(), 15, "{reported:#?}");
    assert!(reported[0].starts_with("the TLS certificate expires in 13 days, on "));
    assert!(reported[14].starts_with("the TLS certificate has expired on "));
}

#[test]
fn a_renewal_ends_the_warnings() {
    let mut house = House::new(END + DAY);
    assert_lines(
        &house.begun,
        &[
            "INFO the TLS certificate is valid until",
            "WARN TLS_CERTIFICATE_FILE is \"",
        ],
    );
    house.server.renew(validity(END));
    assert_lines(
        &house.look(END + DAY),
        &["INFO a new TLS certificate is in force"],
    );
    assert_eq!(reported().last().unwrap(), "");
    // A new one that does not last is warned of at once.
    house.server.renew(validity(BEGIN + 8 * DAY));
    assert_lines(
        &house.look(END + DAY),
        &[
            "INFO a new TLS certificate is in force",
            "expires in 7 days",
        ],
    );
}

#[test]
fn a_clock_that_is_wrong_at_first_is_warned_of() {
    let mut house = House::new(0);
    assert!(house.begun[1].contains("is not valid before 2027-01-15 08:00:00 UTC: is this host's"));
    assert_lines(&house.look(30), &[]);
    assert_lines(&house.look(DAY), &["is not valid before"]);
    // It is set.
    assert_lines(
        &house.look(BEGIN),
        &["INFO the TLS certificate is valid until"],
    );
    assert_eq!(reported().last().unwrap(), "");
    // It goes back.
    assert_lines(&house.look(60), &["is not valid before"]);
    assert_lines(&house.look(30), &["is not valid before"]);
    assert_lines(&house.look(60), &[]);
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let mut house = House::with_key_mode(BEGIN, 0o644);
    let path = house.server.key.display().to_string();
    let warning = format!(
        "WARN TLS_KEY_FILE is \"{path}\": other users of this host have access to it (mode 0644): \
         take it from them with chmod o-rwx"
    );
    assert_eq!(house.begun[1], warning);
    set_mode(&house.server.key, 0o600);
    assert_lines(
        &house.look(BEGIN),
        &["DEBUG the TLS certificate is unchanged"],
    );
    set_mode(&house.server.key, 0o644);
    assert_lines(
        &house.look(BEGIN),
        &["DEBUG the TLS certificate is unchanged", &warning],
    );
    assert_lines(
        &house.reload(BEGIN),
        &["INFO the TLS certificate is unchanged"],
    );
}

#[test]
fn the_thread_reloads_when_it_is_asked_to() {
    let folder = Folder::new();
    let server = ServerFiles::new(folder.path());
    let pair = Files::from(&server).load().unwrap();
    let certificate = Certificate::start(pair, |_| {}).unwrap();
    for _ in 0..3 {
        let old = certificate.in_force();
        server.renew(None);
        certificate.reload();
        // Sooner than it would look by itself.
        let deadline = Instant::now() + PERIOD - Duration::from_secs(5);
        while Arc::ptr_eq(&certificate.in_force(), &old) {
            assert!(Instant::now() < deadline, "no new certificate in time");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
