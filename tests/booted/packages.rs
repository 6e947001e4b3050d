//! postern as a Debian package: installed, upgraded, downgraded, removed.

use std::fs;

use crate::Scenario;
use crate::host::{ADDRESS, Host};
use crate::machine::wait_for;
use crate::support::client::{self, Client};
use crate::support::contract::{ADMIN, PUBLIC, PUBLIC_BODY};
use crate::support::token::{AUDIENCE, Token};

/// In this order, each on what the one before has left.
pub const SCENARIOS: [Scenario; 9] = [
    (
        "installed, it is enabled, waits for its settings, and says so",
        install,
    ),
    ("once they are filled in, it is started and answers", start),
    ("the package's commands and manual are there", commands),
    (
        "ten upgrades and downgrades with the socket unit fail no request",
        upgrades_under_load,
    ),
    (
        "an upgrade keeps the settings, and does not start what was stopped",
        upgrade_of_a_stopped_one,
    ),
    ("a removal ends it, and keeps settings and state", remove),
    ("installed again, it serves", install_again),
    ("files without a package are told of", hidden),
    ("nothing is left when it is purged", purge),
];

const SETTINGS: &str = "/etc/postern/postern.env";
/// The packages, as `tests/booted/run` puts them.
const OLD: &str = "/root/old.deb";
const NEW: &str = "/root/new.deb";
/// The list of files before anything was installed.
const BEFORE: &str = "/root/before";
/// A file of the administrator's.
const AUTHORITY: &str = "/etc/private-ca.pem";

/// apt installs a file like a package from elsewhere, and keeps the settings without asking.
fn apt_install(host: &Host, package: &str) -> String {
    let said = host.machine().run(&format!(
        "DEBIAN_FRONTEND=noninteractive apt-get -q -y --allow-downgrades \
         -o Dpkg::Options::=--force-confold install {package} 2>&1"
    ));
    // apt gives dpkg a terminal.
    said.replace("\r\n", "\n")
}

/// All files but those that apt, dpkg and the system write at any time.
fn list_files(host: &Host, file: &str) {
    host.machine().run(&format!(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root \
         -o -path /var/log -o -path /var/cache/apt -o -path /var/lib/apt \
         -o -path /var/tmp \\) -prune -o -print | sort >{file}"
    ));
}

fn version(host: &Host) -> String {
    let command = "dpkg-query -W -f '${Version}' postern";
    host.machine().run(command)
}

fn install(host: &mut Host) {
    fs::copy(host.tenant.ca_file(), host.machine().path(AUTHORITY)).expect("a file of root");
    list_files(host, BEFORE);
    let said = apt_install(host, OLD);
    let next = format!(
        "postern: fill in AUTH0_DOMAIN and AUTH0_AUDIENCE in {SETTINGS}, then: systemctl start \
         postern\n"
    );
    assert!(said.contains(&next), "{said}");
    let machine = host.machine();
    assert_eq!(machine.run("systemctl is-enabled postern"), "enabled\n");
    assert_eq!(machine.show("ActiveState"), "inactive");
    assert_eq!(machine.show("InvocationID"), "", "it was never started");
    let is_socket_enabled = machine.output("systemctl is-enabled postern.socket");
    assert_eq!(is_socket_enabled.stdout, b"disabled\n");
    let mode = machine.run(&format!("stat -c '%a %U %G' {SETTINGS}"));
    assert_eq!(mode, "640 root root\n");
}

fn start(host: &mut Host) {
    host.machine().run(&format!(
        "sed -i -e 's|^AUTH0_DOMAIN=$|&{}|' -e 's|^AUTH0_AUDIENCE=$|&{AUDIENCE}|' \
         -e 's|^#SSL_CERT_FILE=.*|SSL_CERT_FILE={AUTHORITY}|' {SETTINGS} && \
         systemctl start postern",
        host.tenant.domain()
    ));
    assert_eq!(client::get(ADDRESS, PUBLIC, &[]).text(), PUBLIC_BODY);
    host.wait_until_served();
    let admin = Token::user(&host.tenant).admin().sign();
    assert_eq!(host.status(ADMIN, &admin), 200);
    assert_eq!(host.status(ADMIN, &host.user), 403);
}

fn commands(host: &mut Host) {
    apt_install(host, NEW);
    host.wait_until_served();
    let machine = host.machine();
    let checked = machine.run("postern-run check");
    assert!(
        checked.contains("ok       listening address: a postern listens on 127.0.0.1:6060 already"),
        "{checked}"
    );
    let told = machine.run("postern --version");
    let packaged = version(host);
    let upstream = packaged.strip_suffix("-1").expect("a revision");
    assert!(told.starts_with(&format!("postern {upstream} (")), "{told}");
    let units = machine.run(
        "systemd-analyze verify /usr/lib/systemd/system/postern.service \
         /usr/lib/systemd/system/postern.socket 2>&1",
    );
    assert_eq!(units, "");
    for file in ["man8/postern.8.gz", "man8/postern-run.8.gz"] {
        let text = machine.run(&format!("zcat /usr/share/man/{file}"));
        assert!(text.contains(".Dt POSTERN 8"), "{file}: {text}");
    }
}

fn upgrades_under_load(host: &mut Host) {
    host.machine().run(
        "systemctl stop postern && systemctl enable --now postern.socket && \
         systemctl start postern",
    );
    host.wait_until_served();
    let mut packages = [OLD, NEW].into_iter().cycle();
    host.ten_times_under_load(|| {
        let (pid, before) = (host.main_pid(), version(host));
        let package = packages.next().expect("it has no end");
        apt_install(host, package);
        assert_ne!(version(host), before);
        wait_for("it is another process", || {
            ![&pid, "0"].contains(&host.main_pid().as_str())
        });
    });
    host.wait_until_served();
}

fn upgrade_of_a_stopped_one(host: &mut Host) {
    let machine = host.machine();
    let settings = machine.run(&format!("cat {SETTINGS}"));
    machine.run("systemctl disable --now postern.socket postern");
    for package in [OLD, NEW] {
        apt_install(host, package);
        assert_eq!(machine.show("ActiveState"), "inactive");
        let is_enabled = machine.output("systemctl is-enabled postern");
        assert_eq!(is_enabled.stdout, b"disabled\n");
    }
    assert_eq!(machine.run(&format!("cat {SETTINGS}")), settings);
    machine.run("systemctl enable --now postern.socket postern");
    host.wait_until_served();
}

fn remove(host: &mut Host) {
    let machine = host.machine();
    machine.run("apt-get -q -y remove postern");
    assert_eq!(machine.show("ActiveState"), "inactive");
    assert_eq!(machine.show("LoadState"), "not-found");
    assert!(Client::try_connect(ADDRESS).is_err(), "somebody listens");
    let kept = "test -s /etc/postern/postern.env && ls /var/lib/private/postern";
    assert!(machine.run(kept).contains("jwks"), "the keys are kept");
}

fn install_again(host: &mut Host) {
    let said = apt_install(host, NEW);
    assert!(!said.contains("fill in"), "{said}");
    host.wait_until_served();
}

fn hidden(host: &mut Host) {
    let file = "/etc/systemd/system/postern.service";
    let machine = host.machine();
    machine.run(&format!(
        "cp /usr/lib/systemd/system/postern.service {file}"
    ));
    let said = apt_install(host, &format!("--reinstall {NEW}"));
    let warning = format!("postern: {file} hides the file of this package. Remove it, then: ");
    assert!(said.contains(&warning), "{said}");
    machine.run(&format!("rm {file} && systemctl daemon-reload"));
    host.wait_until_served();
}

fn purge(host: &mut Host) {
    let machine = host.machine();
    machine.run("systemctl disable postern.socket; apt-get -q -y purge postern");
    assert_eq!(machine.show("LoadState"), "not-found");
    assert!(Client::try_connect(ADDRESS).is_err(), "somebody listens");
    list_files(host, "/root/after");
    let changed = machine.output(&format!("diff {BEFORE} /root/after"));
    assert_eq!(String::from_utf8_lossy(&changed.stdout), "");
    let running = machine.output("pgrep -a postern");
    assert_eq!(String::from_utf8_lossy(&running.stdout), "");
}
