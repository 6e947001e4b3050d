//! The settings of TLS, and the renewal of the certificate, as the log tells.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;

use crate::service::Manager;
use crate::support::certificates::{ServerFiles, keys, set_mode};
use crate::support::contract::{PUBLIC, PUBLIC_BODY};
use crate::support::https::secured;
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::Tenant;
use crate::support::{TempDir, wait_until_within};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A tenant, and a server's files.
struct House {
    tenant: Tenant,
    files: ServerFiles,
    dir: TempDir,
}

impl House {
    fn new() -> House {
        let dir = TempDir::new();
        House {
            tenant: Tenant::start(),
            files: ServerFiles::new(dir.path()),
            dir,
        }
    }

    /// A server with both settings.
    fn builder(&self) -> Builder {
        secured(Postern::builder(&self.tenant), &self.files)
    }

    fn certificate_is(&self) -> String {
        format!(
            "TLS_CERTIFICATE_FILE is \"{}\": ",
            self.files.certificate.display()
        )
    }

    fn key_is(&self) -> String {
        format!("TLS_KEY_FILE is \"{}\": ", self.files.key.display())
    }

    /// Checks that the start ends with 78 and these lines, each from its beginning.
    #[track_caller]
    fn assert_refused(&self, expected: &[&str]) {
        assert_refused(self.builder(), expected);
    }

    /// The same with this certificate file, and one line about it.
    #[track_caller]
    fn assert_certificate_refused(&self, content: &str, expected: &str) {
        fs::write(&self.files.certificate, content).unwrap();
        self.assert_refused(&[&(self.certificate_is() + expected)]);
    }

    /// The same with this key file, and one line about it.
    #[track_caller]
    fn assert_key_refused(&self, content: &str, expected: &str) {
        fs::write(&self.files.key, content).unwrap();
        self.assert_refused(&[&(self.key_is() + expected)]);
    }
}

#[track_caller]
fn assert_refused(builder: Builder, expected: &[&str]) {
    let mut postern = builder.launch();
    let code = postern.wait_exit().code();
    let lines = postern.logs();
    assert_eq!(code, Some(78), "{lines:?}");
    assert_eq!(lines.len(), expected.len(), "{expected:?}: {lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        let is_expected = line.starts_with(&format!("postern: {expected}"));
        assert!(is_expected, "{expected:?}: {line}");
        assert!(line.contains("write ") || line.contains("make "), "{line}");
    }
}

/// So many days from now, and half a day, so that a test does not see their number change.
fn in_days(days: u32) -> SystemTime {
    SystemTime::now() + days * DAY + DAY / 2
}

#[test]
fn each_fault_of_a_key_is_one_line() {
    let house = House::new();
    let key = fs::read_to_string(&house.files.key).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let certificate = house.files.certificate.display();
    let cases = [
        ("", "it is empty; write"),
        ("text", "it has no key between -----BEGIN PRIVATE KEY-----"),
        (
            &key[..key.len() - 10],
            "its key is broken (it has no -----END line)",
        ),
        (keys::ENCRYPTED, "its key is encrypted, "),
        (keys::ENCRYPTED_PKCS1, "its key is encrypted, "),
        (
            keys::RSA_1024,
            "its RSA key has fewer than 2048 bits; supported are RSA",
        ),
        (
            keys::RSA_5120,
            "its RSA key has more than 4096 bits; supported are RSA",
        ),
        (
            keys::P521,
            "its key is broken, or of a kind that is not supported; supported are RSA",
        ),
        (
            &other,
            &format!("its key does not belong to the first certificate in \"{certificate}\"; "),
        ),
    ];
    for (content, expected) in cases {
        house.assert_key_refused(content, expected);
    }
    fs::remove_file(&house.files.key).unwrap();
    house.assert_refused(&[&(house.key_is() + "it cannot be read (No such file")]);
    fs::create_dir(&house.files.key).unwrap();
    house.assert_refused(&[&(house.key_is() + "it is a folder")]);
}

#[test]
fn each_fault_of_a_certificate_is_one_line() {
    let house = House::new();
    let chain = fs::read_to_string(&house.files.certificate).unwrap();
    let issuer = house.files.intermediate.pem();
    let leaf = chain.strip_suffix(issuer).unwrap();
    let order = "its certificate 2 is not the one that issued certificate 1; write";
    let cases = [
        ("", "it is empty; write"),
        (
            keys::P256,
            "it has no certificate between -----BEGIN CERTIFICATE-----",
        ),
        (
            &chain[..chain.len() - 10],
            "its certificate 2 is broken (it has no -----END line)",
        ),
        (&format!("{issuer}{leaf}"), order),
        (&format!("{leaf}{}", house.files.root.pem()), order),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "its certificate 1 is not a certificate of X.509",
        ),
    ];
    for (content, expected) in cases {
        house.assert_certificate_refused(content, expected);
    }
    fs::remove_file(&house.files.certificate).unwrap();
    house.assert_refused(&[&(house.certificate_is() + "it cannot be read (No such file")]);
}

#[test]
fn one_setting_needs_the_other() {
    let house = House::new();
    let needs = |name: &str| format!("it needs {name}, which is not set; write");
    assert_refused(
        house.builder().without_env("TLS_KEY_FILE"),
        &[&(house.certificate_is() + &needs("TLS_KEY_FILE"))],
    );
    assert_refused(
        house.builder().env("TLS_CERTIFICATE_FILE", ""),
        &[&(house.key_is() + &needs("TLS_CERTIFICATE_FILE"))],
    );
    // One that cannot be read is not said to be missing.
    let not_utf8 = "TLS_KEY_FILE=$(printf '/\\377') exec \"$0\"";
    assert_refused(
        house.builder().prefix(&["sh", "-c", not_utf8]),
        &["TLS_KEY_FILE is \"/\u{fffd}\", which is not UTF-8: write"],
    );
}

#[test]
fn all_faults_are_reported_at_once() {
    let house = House::new();
    fs::write(&house.files.certificate, "").unwrap();
    fs::write(&house.files.key, keys::ENCRYPTED).unwrap();
    let certificate = house.certificate_is() + "it is empty";
    let key = house.key_is() + "its key is encrypted";
    let builder = house.builder().env("PORT", "x");
    assert_refused(builder, &["PORT is \"x\": ", &certificate, &key]);
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let house = House::new();
    let year = UNIX_EPOCH + 18_262 * DAY;
    house.files.renew(Some((year, year + 365 * DAY)));
    let manager = Manager::new();
    let postern = manager.supervise(house.builder()).start();
    let warning = postern.wait_for_log("has expired on 2020-12-31 00:00:00 UTC: clients refuse it");
    assert!(warning.contains(&house.certificate_is()), "{warning}");
    assert!(warning.contains("WARN"), "{warning}");
    // The keys' part of the line comes first, whichever is known first.
    let status = manager.wait_for("STATUS=2 keys (");
    assert!(
        status.contains("; the TLS certificate has expired on 2020-12-31"),
        "{status}"
    );
    house.files.renew(None);
    postern.signal("HUP");
    postern.wait_for_log("a new TLS certificate is in force, valid until 4096-01-01");
    loop {
        let status = manager.wait_for("STATUS=");
        if !status.contains("certificate") {
            assert!(status.starts_with("STATUS=2 keys ("), "{status}");
            return;
        }
    }
}

#[test]
fn the_end_of_a_certificate_and_its_beginning_are_warned_of() {
    let house = House::new();
    house.files.renew(Some((UNIX_EPOCH, in_days(10))));
    let manager = Manager::new();
    let postern = manager.supervise(house.builder()).start();
    let warning = postern.wait_for_log("the TLS certificate expires in 10 days, on ");
    assert!(
        warning.contains("WARN") && warning.ends_with(": renew it"),
        "{warning}"
    );
    manager.wait_for("the TLS certificate expires in 10 days, on ");
    house.files.renew(Some((in_days(1), in_days(90))));
    postern.signal("HUP");
    let warning = postern.wait_for_log("the TLS certificate is not valid before ");
    assert!(
        warning.ends_with(": is this host's clock right?"),
        "{warning}"
    );
    manager.wait_for("the TLS certificate is not valid before ");
}

#[test]
fn a_valid_certificate_is_told_without_a_warning() {
    let house = House::new();
    house.files.renew(Some((UNIX_EPOCH, in_days(15))));
    let mut postern = house.builder().start();
    postern.wait_for_log("the TLS certificate is valid until ");
    postern.wait_for_keys();
    postern.signal("TERM");
    assert_eq!(postern.wait_exit().code(), Some(0));
    let logs = postern.logs();
    assert!(!logs.iter().any(|line| line.contains("WARN")), "{logs:#?}");
    // No part of the key is in the log.
    let key = fs::read_to_string(&house.files.key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(
        !logs.iter().any(|line| line.contains(&secret[..20])),
        "{logs:#?}"
    );
}

#[test]
fn a_key_that_others_can_read_is_a_warning() {
    let house = House::new();
    set_mode(&house.files.key, 0o644);
    let postern = house.builder().start();
    let warning = postern.wait_for_log(&house.key_is());
    assert!(warning.contains("WARN"), "{warning}");
    assert!(
        warning.contains("(mode 0644)") && warning.contains("chmod o-rwx"),
        "{warning}"
    );
}

#[test]
fn sighup_reads_the_files_again() {
    let house = House::new();
    let postern = house.builder().start();
    postern.wait_for_keys();
    for year in 2030..2033 {
        let end = format!("{year}-01-01 00:00:00 UTC");
        house.files.renew(Some((UNIX_EPOCH, new_year(year))));
        postern.signal("HUP");
        postern.wait_for_log(&format!(
            "a new TLS certificate is in force, valid until {end}"
        ));
    }
    postern.signal("HUP");
    postern.wait_for_log("the TLS certificate is unchanged, valid until 2032-01-01");
    // It is a refresh of the keys, too.
    house.tenant.wait_for_fetches(2);
}

/// The beginning of a year from 1970 on.
fn new_year(year: u32) -> SystemTime {
    let leap_days = (1970..year).filter(|year| year % 4 == 0).count() as u32;
    UNIX_EPOCH + ((year - 1970) * 365 + leap_days) * DAY
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_old_one_in_force() {
    let house = House::new();
    let postern = house.builder().start();
    let stays = "the TLS certificate in force stays: ";
    let count = |text: &str| {
        let logs = postern.logs();
        logs.iter().filter(|line| line.contains(text)).count()
    };
    let key = fs::read_to_string(&house.files.key).unwrap();
    // Half of the key is written.
    fs::write(&house.files.key, &key[..key.len() / 2]).unwrap();
    let broken = format!("{stays}{}its key is broken", house.key_is());
    for tries in 1..4 {
        postern.signal("HUP");
        let has_tried = || count(&broken) >= tries;
        wait_until_within(Duration::from_secs(25), "a try", has_tried);
    }
    assert!(postern.wait_for_log(&broken).contains("WARN"));
    // The new certificate is there, its key is not yet.
    let new = KeyPair::generate().unwrap();
    house.files.write_key(&key);
    house
        .files
        .write_certificate(Some((UNIX_EPOCH, new_year(2031))), &new);
    postern.signal("HUP");
    postern.wait_for_log(&format!("{stays}{}its key does not belong", house.key_is()));
    assert_eq!(count("a new TLS certificate is in force"), 0);
    house.files.write_key(&new.serialize_pem());
    postern.signal("HUP");
    postern.wait_for_log("a new TLS certificate is in force, valid until 2031-01-01");
}

#[test]
fn a_change_is_noticed_within_a_minute() {
    let house = House::new();
    // As certbot has it: links, which lead elsewhere after a renewal.
    let live = house.dir.path().join("live.pem");
    std::os::unix::fs::symlink(&house.files.certificate, &live).unwrap();
    let path = live.display().to_string();
    let postern = house.builder().env("TLS_CERTIFICATE_FILE", path).start();
    let key = KeyPair::from_pem(&fs::read_to_string(&house.files.key).unwrap()).unwrap();
    house
        .files
        .write_certificate(Some((UNIX_EPOCH, new_year(2033))), &key);
    let renewed = "a new TLS certificate is in force, valid until 2033-01-01";
    let is_renewed = || postern.logs().iter().any(|line| line.contains(renewed));
    wait_until_within(Duration::from_secs(60), "the new certificate", is_renewed);
}

#[test]
fn without_the_settings_there_is_no_tls() {
    let house = House::new();
    let builder = house.builder().env("TLS_CERTIFICATE_FILE", "");
    let postern = builder.env("TLS_KEY_FILE", "").start();
    assert_eq!(postern.get(PUBLIC, &[]).text(), PUBLIC_BODY);
    postern.signal("HUP");
    house.tenant.wait_for_fetches(2);
    let logs = postern.logs();
    assert!(
        !logs.iter().any(|line| line.contains("certificate")),
        "{logs:#?}"
    );
}
