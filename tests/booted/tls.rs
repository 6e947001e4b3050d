//! The scenarios with TLS.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::host::{Host, Tls};
use crate::machine::wait_for;
use crate::support::certificates::{ServerFiles, keys};
use crate::support::client::{self, Client};
use crate::support::contract::{PROTECTED, PUBLIC, PUBLIC_BODY};
use crate::{SETTINGS, assert_exposure, stopped};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where docs/operating.md has the files of the service.
const KEY: &str = "/etc/postern/key.pem";
/// Where certbot keeps them.
const LINEAGE: &str = "/etc/letsencrypt/live/api.example.com";
const HOOK: &str = "/etc/letsencrypt/renewal-hooks/deploy/postern";

pub fn install(host: &mut Host) {
    host.desk.edit(
        "systemd/postern.socket",
        "ListenStream=",
        "ListenStream=443",
    );
    host.desk.edit("systemd/postern.socket", "SocketMode=", "");
    host.desk.follow_manual("To change where it listens");
    host.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    host.wait_until_served();

    let tls = Tls::new(&host.desk);
    set_files(host, "/etc/postern");
    host.desk.follow_manual("Let a group read the key");
    host.tls = Some(tls);
    host.wait_until_served();
    let response = host.connect().expect("TLS").request("GET", PUBLIC, &[]);
    assert_eq!(response.text(), PUBLIC_BODY);
    assert_eq!(
        response.header("Strict-Transport-Security"),
        Some("max-age=31536000")
    );
    let response = client::get(host.address, PUBLIC, &[]);
    assert_eq!(response.status, 400, "{}", response.text());

    let mode = host.machine().run(&format!("stat -c '%a %U:%G' {KEY}"));
    assert_eq!(mode.trim(), "640 root:postern-tls");
    assert_exposure(
        &host
            .machine()
            .run("systemd-analyze security --no-pager postern"),
    );
    let lines = host.lines_of_last_start();
    assert!(
        lines.iter().all(|(priority, _)| *priority > 4),
        "no warning: {lines:?}"
    );
}

/// Writes the two settings.
fn set_files(host: &Host, folder: &str) {
    for (setting, name) in [
        ("TLS_CERTIFICATE_FILE=", "chain.pem"),
        ("TLS_KEY_FILE=", "key.pem"),
    ] {
        host.desk
            .edit(SETTINGS, setting, &format!("{setting}{folder}/{name}"));
    }
}

pub fn watchdog(host: &mut Host) {
    host.desk.edit(SETTINGS, "RUST_LOG=", "RUST_LOG=debug");
    host.desk.follow_manual("**Change settings**");
    // Nobody else asks now.
    wait_for("the watchdog has made a handshake", || {
        let lines = host.lines_of_last_start();
        lines
            .iter()
            .any(|(_, line)| line.contains("TLS handshake: TLSv1_3, Full"))
    });
    host.desk.edit(SETTINGS, "RUST_LOG=", "#RUST_LOG=info");
    host.desk.follow_manual("**Change settings**");
    host.wait_until_served();
    stopped(host);
    let journal = host.machine().journal();
    assert!(!journal.contains("probe got no answer"), "{journal}");
}

pub fn renewals_under_load(host: &mut Host) {
    let machine = host.machine();
    machine.run(&format!(
        "mkdir -m 700 /etc/letsencrypt && mkdir -p {LINEAGE}"
    ));
    let renew = || {
        files(host).renew(None);
        for (from, to) in [
            (&files(host).certificate, "fullchain.pem"),
            (&files(host).key, "privkey.pem"),
        ] {
            fs::copy(from, machine.path(&format!("{LINEAGE}/{to}"))).expect("a file for certbot");
        }
    };
    renew();
    host.desk.follow_manual("**certbot**");
    wait_until_in_force(host, "the hook's certificate");

    let mut kept = host.connect().expect("TLS");
    let first = in_force(host);
    host.ten_times_under_load(|| {
        renew();
        machine.run(HOOK);
        wait_until_in_force(host, "a renewed certificate");
        assert_eq!(kept.request("GET", PUBLIC, &[]).status, 200);
    });
    assert_ne!(in_force(host), first);
}

pub fn expiring(host: &mut Host) {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    files(host).renew(Some((now - DAY, now + 5 * DAY + hour)));
    host.desk.follow_manual("**Renew by hand**");
    wait_for("the status warns", || {
        let status = host.machine().show("StatusText");
        status.starts_with("2 keys (") && status.contains("; the TLS certificate expires in 5 days")
    });
    wait_for_warning(host, "the TLS certificate expires in 5 days");
    files(host).renew(None);
    host.desk.follow_manual("**Renew by hand**");
    wait_for("the status does not warn any more", || {
        !host.machine().show("StatusText").contains("certificate")
    });
}

pub fn broken_pairs(host: &mut Host) {
    let good = fs::read_to_string(&files(host).key).expect("our key");
    let in_force_before = in_force(host);
    let stays = |host: &Host, fault: &str| {
        wait_for_warning(host, fault);
        assert_eq!(in_force(host), in_force_before);
        assert_eq!(host.status(PROTECTED, &host.user), 200);
    };

    files(host).write_key(keys::P256);
    host.desk.follow_manual("**Renew by hand**");
    stays(host, "its key does not belong to the first certificate");

    files(host).write_key(&good[..good.len() / 2]);
    host.desk.follow_manual("**Renew by hand**");
    stays(host, "its key is broken");

    files(host).write_key(&good);
    let key = KeyPair::generate().expect("ring makes P-256 keys");
    host.machine().run(&format!("chmod 600 {KEY}"));
    files(host).write_certificate(None, &key);
    files(host).write_key(&key.serialize_pem());
    host.desk.follow_manual("**Renew by hand**");
    stays(host, "it cannot be read (Permission denied");

    // The files are right. Only access is missing, and nobody asks for a reload.
    let allowed = Instant::now();
    host.machine().run(&format!("chmod 640 {KEY}"));
    wait_until_in_force(host, "what can be read now");
    assert!(allowed.elapsed() <= Duration::from_secs(60));
    // And so it is after a restart.
    host.restart();
    wait_until_in_force(host, "the same certificate");
}

pub fn credentials(host: &mut Host) {
    let drop_in = "systemd/tls.conf";
    host.desk.edit(drop_in, "SupplementaryGroups=", "");
    for name in ["chain.pem", "key.pem"] {
        let start = format!("LoadCredential={name}:");
        host.desk
            .edit(drop_in, &start, &format!("{start}/etc/postern/{name}"));
    }
    set_files(host, "/run/credentials/postern.service");
    host.desk.follow_manual("as credentials");
    wait_until_in_force(host, "the credential");
    assert_eq!(host.machine().show("SupplementaryGroups"), "");

    // systemd does not make new copies.
    files(host).renew(None);
    let before = in_force(host);
    host.desk.follow_manual("**Renew by hand**");
    wait_for("it has been read again", || {
        let lines = host.lines_of_last_start();
        lines
            .iter()
            .any(|(_, line)| line.contains("the TLS certificate is unchanged"))
    });
    assert_eq!(in_force(host), before);

    host.ten_times_under_load(|| {
        files(host).renew(None);
        host.desk.follow_manual("a restart renews");
        wait_until_in_force(host, "a renewed certificate");
    });
}

/// What no restart can fix: the service stays down.
pub fn unprepared(host: &mut Host) {
    let stays_down = |prepare: &str, status: &str, restore: &str| {
        let machine = host.machine();
        machine.run(&format!("{prepare} && systemctl daemon-reload"));
        assert!(!machine.output("systemctl restart postern").status.success());
        // What would be a loop: it is started again two seconds after it ended.
        thread::sleep(Duration::from_secs(5));
        assert_eq!(machine.show("ExecMainStatus"), status);
        assert_eq!(machine.show("ActiveState"), "failed");
        assert_eq!(host.restarts(), 0);
        machine.run(&format!(
            "{restore} && systemctl daemon-reload && systemctl restart postern"
        ));
        host.wait_until_served();
    };
    stays_down(
        &format!("mv {KEY} {KEY}.away"),
        "243",
        &format!("mv {KEY}.away {KEY}"),
    );
    let drop_in = "/etc/systemd/system/postern.service.d/group.conf";
    stays_down(
        &format!("printf '[Service]\\nSupplementaryGroups=nobodys\\n' > {drop_in}"),
        "216",
        &format!("rm {drop_in}"),
    );
}

fn files(host: &Host) -> &ServerFiles {
    &host.tls.as_ref().expect("TLS is set up").files
}

/// The certificate that a new connection gets.
#[track_caller]
fn in_force(host: &Host) -> CertificateDer<'static> {
    certificate(&mut host.connect().expect("a handshake"))
}

/// The server's certificate.
fn certificate(client: &mut Client) -> CertificateDer<'static> {
    let chain = client.session().peer_certificates();
    chain.expect("a full handshake")[0].clone()
}

/// Waits until new connections get the certificate on the desk.
#[track_caller]
fn wait_until_in_force(host: &Host, what: &str) {
    let wanted = CertificateDer::from_pem_file(&files(host).certificate).expect("our certificate");
    wait_for(what, || {
        // It may be starting.
        host.connect()
            .is_ok_and(|mut client| certificate(&mut client) == wanted)
    });
}

/// Waits until the latest start of the service has warned so.
#[track_caller]
fn wait_for_warning(host: &Host, text: &str) {
    wait_for(text, || {
        let lines = host.lines_of_last_start();
        lines
            .iter()
            .any(|(priority, line)| *priority == 4 && line.contains(text))
    });
}
