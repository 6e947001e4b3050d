//! `postern check`: each broken state of the tenant and of this host is named by its step, and by
//! no other.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::TempDir;
use crate::support::certificates::{ServerFiles, set_mode};
use crate::support::contract::PUBLIC;
use crate::support::https::{Https, secured};
use crate::support::key::Key;
use crate::support::postern::{Builder, Ended, Postern};
use crate::support::tenant::{Behaviour, Certificate, Tenant, http_date};

const DAY: Duration = Duration::from_secs(86_400);

/// All steps, in their order.
const STEPS: [&str; 9] = [
    "settings",
    "listening address",
    "state folder",
    "name resolution",
    "connection",
    "TLS",
    "key set",
    "clock",
    "certificate",
];

/// What a check has printed.
struct Checked {
    code: i32,
    stdout: String,
    /// Verdict, step, and the rest of the line.
    lines: Vec<(String, String, String)>,
}

impl Checked {
    fn of(ended: Ended) -> Checked {
        let (code, stdout) = ended.printed();
        let is_step = |line: &&str| !line.starts_with(' ');
        let lines = stdout.lines().filter(is_step).map(|line| {
            let (verdict, rest) = line.split_once(' ').expect("a verdict and a step");
            let (step, text) = rest.trim_start().split_once(": ").expect("a step");
            (verdict.to_owned(), step.to_owned(), text.to_owned())
        });
        let lines: Vec<_> = lines.collect();
        let steps: Vec<_> = lines.iter().map(|(_, step, _)| step).collect();
        assert_eq!(steps, STEPS, "{stdout}");
        Checked {
            code,
            stdout,
            lines,
        }
    }

    fn run(builder: &Builder) -> Checked {
        Checked::of(builder.run(&["check"], b""))
    }

    /// The steps with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(found, ..)| found == verdict);
        lines.map(|(_, step, _)| step.as_str()).collect()
    }

    fn text(&self, step: &str) -> &str {
        let line = self.lines.iter().find(|(_, found, _)| found == step);
        &line.expect("each step has a line").2
    }

    /// Asserts that this step alone has failed, what it says, and what stands below.
    #[track_caller]
    fn assert_fails(&self, step: &str, says: &str, advice: &str) {
        assert_eq!(self.with("FAILED"), [step], "{}", self.stdout);
        assert_eq!(self.code, 1, "{}", self.stdout);
        assert!(self.text(step).contains(says), "{}", self.stdout);
        self.assert_below(step, advice);
    }

    /// Asserts that a step warns, and that none has failed.
    #[track_caller]
    fn assert_warns(&self, step: &str, says: &str, advice: &str) {
        assert_eq!(self.with("warning"), [step], "{}", self.stdout);
        assert_eq!((self.with("FAILED").len(), self.code), (0, 0));
        assert!(self.text(step).contains(says), "{}", self.stdout);
        self.assert_below(step, advice);
    }

    #[track_caller]
    fn assert_below(&self, step: &str, advice: &str) {
        let mut lines = self.stdout.lines();
        let begin = format!("{step}: ");
        lines.find(|line| line.get(9..).is_some_and(|line| line.starts_with(&begin)));
        let below: Vec<_> = lines.take_while(|line| line.starts_with(' ')).collect();
        let is_there = below.iter().any(|line| line.contains(advice));
        assert!(is_there, "{advice:?} below {step}: {}", self.stdout);
    }
}

/// What is left out below a step of the network that has failed.
fn after(step: &str) -> Vec<&'static str> {
    let at = STEPS.iter().position(|other| *other == step).unwrap();
    STEPS[at + 1..7].to_vec()
}

#[test]
fn all_is_well() {
    let tenant = Tenant::start();
    let state = TempDir::new();
    let checked = Checked::run(&Postern::builder(&tenant).state(state.path()));
    let (domain, folder) = (tenant.domain(), state.path().display());
    let (first, second) = (tenant.key(), tenant.next_key());
    let expected = format!(
        "ok       settings: access tokens from https://{domain}/ for https://hello-world.example.com
ok       listening address: 127.0.0.1:0, any free port is taken
ok       state folder: {folder} can be written, and holds no keys yet
ok       name resolution: localhost is ADDRESSES
ok       connection: to {domain}
ok       TLS: version 1.3, a certificate issued by CN=postern stand-in CA that ends on END
ok       key set: 2 usable keys
         key {}: RS256, 2048 bits
         key {}: RS256, 2048 bits
ok       clock: as the tenant's
ok       certificate: none, plain HTTP
",
        first.kid(),
        second.kid()
    );
    let addresses = checked.text("name resolution").rsplit(" is ").next();
    let end = checked.text("TLS").rsplit(" on ").next();
    let expected = expected.replace("ADDRESSES", addresses.unwrap());
    assert_eq!(checked.stdout, expected.replace("END", end.unwrap()));
    assert!(addresses.unwrap().contains("127.0.0.1"));
    assert_eq!(checked.code, 0);
    let request = tenant.last_request();
    assert!(request.contains("cache-control: no-cache"), "{request}");
    assert_eq!((tenant.fetches(), tenant.connections()), (1, 1));
    // It changes nothing.
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn each_failure_of_the_tenant_has_its_step() {
    let other = "Check AUTH0_DOMAIN: what answers there is no tenant";
    let keys = |count: usize| {
        json!({"keys": vec![json!({}); count]})
            .to_string()
            .into_bytes()
    };
    let large = vec![b' '; 600 * 1024];
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec();
    let cases = [
        (Behaviour::Close, "TLS", "", "Try again."),
        (
            Behaviour::Status(404),
            "key set",
            "HTTP 404",
            "it is not the tenant's host",
        ),
        (Behaviour::Status(403), "key set", "HTTP 403", other),
        (
            Behaviour::Status(500),
            "key set",
            "HTTP 500",
            "postern tries again by itself",
        ),
        (
            Behaviour::Status(429),
            "key set",
            "HTTP 429",
            "postern tries again by itself",
        ),
        (
            Behaviour::Redirect("https://localhost/".into()),
            "key set",
            "HTTP 302, and redirects are not followed",
            "it is not the tenant's host",
        ),
        (
            Behaviour::Body(b"<html>".to_vec()),
            "key set",
            "is not a JSON object",
            other,
        ),
        (
            Behaviour::Body(b"{}".to_vec()),
            "key set",
            "missing field `keys`",
            other,
        ),
        (
            Behaviour::Body(large),
            "key set",
            "more than 512 KiB",
            other,
        ),
        (
            Behaviour::Body(keys(101)),
            "key set",
            "more than 100 keys",
            other,
        ),
        (
            Behaviour::Body(keys(0)),
            "key set",
            "0 usable keys",
            "rotate its keys",
        ),
        (
            Behaviour::Body(keys(1)),
            "key set",
            "0 usable keys",
            "a key without kid is skipped",
        ),
        (
            Behaviour::Raw(b"SSH-2.0-x\r\n".to_vec()),
            "key set",
            "not HTTP as expected",
            other,
        ),
        (Behaviour::Raw(cut), "key set", "", ""),
    ];
    let tenant = Tenant::start();
    for (behaviour, step, says, advice) in cases {
        tenant.answer(behaviour);
        let checked = Checked::run(&Postern::builder(&tenant));
        checked.assert_fails(step, says, advice);
        // That of the tenant is trusted, if it was shown.
        assert!(!checked.stdout.contains("Shown was"), "{}", checked.stdout);
        let skipped = checked.with("skipped");
        let clock = skipped.strip_suffix(&["clock"]).unwrap_or(&skipped);
        assert_eq!(clock, after(step), "{}", checked.stdout);
    }
}

#[test]
fn a_tenant_that_does_not_answer_is_waited_for_5_s() {
    for (behaviour, step) in [
        (Behaviour::StallAccept, "TLS"),
        (Behaviour::Stall, "key set"),
    ] {
        let tenant = Tenant::start();
        tenant.answer(behaviour);
        let checked = Checked::run(&Postern::builder(&tenant));
        checked.assert_fails(step, "no complete answer within 5 s", "Try again.");
    }
}

#[test]
fn a_tenant_that_is_not_there_fails_at_the_connection() {
    let mut tenant = Tenant::start();
    tenant.stop();
    let checked = Checked::run(&Postern::builder(&tenant));
    let advice = "Check AUTH0_DOMAIN and the firewall; behind a proxy, set HTTPS_PROXY.";
    checked.assert_fails(
        "connection",
        "connecting failed: Connection refused",
        advice,
    );
    assert_eq!(checked.with("skipped"), ["TLS", "key set", "clock"]);
    assert_eq!(checked.text("TLS"), "needs connection");
}

#[test]
fn certificates_that_are_not_trusted_fail_at_tls_and_are_shown() {
    let issuer = "Shown was a certificate issued by CN=postern stand-in CA that ends on ";
    for (certificate, says, advice) in [
        (
            Certificate::UnknownCa,
            "UnknownIssuer",
            "name that in SSL_CERT_FILE",
        ),
        (Certificate::Expired, "xpired", "Set this host's clock"),
        (Certificate::WrongName, "", "a certificate for other names"),
    ] {
        let tenant = Tenant::with_certificate(certificate);
        let checked = Checked::run(&Postern::builder(&tenant));
        checked.assert_fails("TLS", says, advice);
        checked.assert_below("TLS", issuer);
        assert_eq!(checked.with("skipped"), ["key set", "clock"]);
    }
    let checked = Checked::run(&Postern::builder(&Tenant::without_tls()));
    checked.assert_fails("TLS", "TLS failed", "may not be the tenant");
}

#[test]
fn a_name_that_is_not_found_fails_at_its_resolution() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = TempDir::new();
    let mut script = String::from("set -e");
    for (name, content) in [
        ("hosts", "127.0.0.1 somebody.else\n"),
        // An address that does not answer.
        (
            "resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        ),
        ("nsswitch.conf", "hosts: files dns\n"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let file = file.display();
        script += &format!("; [ ! -e /etc/{name} ] || mount --bind '{file}' /etc/{name}");
    }
    script += "; exec \"$0\" \"$@\"";
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant);
    let builder = builder.prefix(&["unshare", "--mount", "sh", "-c", &script]);
    let checked = Checked::run(&builder);
    let advice = "Check AUTH0_DOMAIN, then the network and the DNS of this host.";
    checked.assert_fails("name resolution", "name resolution failed: ", advice);
    let skipped = ["connection", "TLS", "key set", "clock"];
    assert_eq!(checked.with("skipped"), skipped);
}

#[test]
fn a_proxy_is_asked_as_the_server_does() {
    let tenant = Tenant::start();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = nobody.local_addr().unwrap();
    drop(nobody);
    let url = format!("http://user:secret@{proxy}");
    let checked = Checked::run(&Postern::builder(&tenant).env("HTTPS_PROXY", url));
    checked.assert_fails(
        "connection",
        "connecting through the proxy failed",
        "HTTPS_PROXY",
    );
    assert_eq!(
        checked.text("name resolution"),
        "the proxy 127.0.0.1 is 127.0.0.1"
    );
    assert!(!checked.stdout.contains("secret"));
    assert_eq!(tenant.connections(), 0);
}

#[test]
fn keys_that_are_left_out_are_a_warning_with_their_reasons() {
    let tenant = Tenant::start();
    let mut encrypting = tenant.next_key().jwk();
    encrypting["use"] = json!("enc");
    encrypting["kid"] = json!("a\r\nok       forged\x1b[31m");
    let long = Key::with_bits(3072).jwk();
    tenant.set_keys(vec![tenant.key().jwk(), encrypting, long, Value::Null]);
    let checked = Checked::run(&Postern::builder(&tenant));
    checked.assert_warns("key set", "2 usable keys", ": RS256, 3072 bits");
    checked.assert_below(
        "key set",
        r"key a\r\nok       forged\x1b[31m is skipped: its use is not",
    );
    checked.assert_below("key set", "a key without kid is skipped: not an object");
}

#[test]
fn clocks_that_differ_are_told() {
    let tenant = Tenant::start();
    let at = |time| tenant.set_headers(vec![("Date", &http_date(time))]);
    let check = || Checked::run(&Postern::builder(&tenant));
    let now = SystemTime::now;
    let set = "Set this host's clock: is time synchronisation running?";
    at(now() + 2 * DAY);
    check().assert_fails("clock", " s behind the tenant's, nobody is let in", set);
    at(now() - 2 * DAY);
    check().assert_fails(
        "clock",
        " s ahead of the tenant's, tokens count as expired",
        set,
    );
    at(now() - DAY / 2);
    check().assert_warns("clock", " s ahead of the tenant's", set);
    check().assert_below("clock", "That is more than CLOCK_LEEWAY_SECONDS, 5.");
    tenant.set_headers(vec![("Date", "")]);
    check().assert_warns(
        "clock",
        "the tenant's answer has no Date",
        "date of this program",
    );
    // A tenant that fails tells the time all the same.
    at(now() + 2 * DAY);
    tenant.answer(Behaviour::Status(500));
    assert_eq!(check().with("FAILED"), ["key set", "clock"]);
    // From a cache, where it has been for some time.
    tenant.answer(Behaviour::Keys);
    let date = http_date(now() - Duration::from_secs(3600));
    tenant.set_headers(vec![("Date", &date), ("Age", "3600")]);
    assert_eq!(check().with("ok").len(), STEPS.len());
}

#[test]
fn a_state_folder_that_cannot_be_used_fails_alone() {
    let tenant = Tenant::start();
    let folder = TempDir::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for state in [folder.path().join("nowhere"), file] {
        let checked = Checked::run(&Postern::builder(&tenant).state(&state));
        let says = format!("{} cannot be written (", state.display());
        checked.assert_fails("state folder", &says, "Make the folder");
    }
}

#[test]
fn the_copy_of_the_keys_is_looked_at() {
    let tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    let builder = Postern::builder(&tenant).state(state.path());
    let checked = Checked::run(&builder);
    assert_eq!(checked.with("ok").len(), STEPS.len(), "{}", checked.stdout);
    let text = checked.text("state folder");
    assert!(
        text.contains("and holds 2 keys (") && text.ends_with(" s ago"),
        "{text}"
    );
    let file = state.path().join("jwks.json");
    let before = fs::read(&file).unwrap();
    fs::write(&file, &before[..before.len() / 2]).unwrap();
    let checked = Checked::run(&builder);
    checked.assert_warns("state folder", "can be written", "postern passes over ");
    let files = fs::read_dir(state.path()).unwrap();
    assert_eq!(files.count(), 1, "nothing is left behind");
}

#[test]
fn a_port_that_another_program_has_fails_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant).env("PORT", port.to_string());
    // One that says nothing, and one that says something else.
    let silent = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        (listener, stream)
    });
    let says = format!("127.0.0.1:{port} cannot be listened on (Address ");
    let advice = format!("PORT is {port}, which another program on this host listens on: write");
    Checked::run(&builder).assert_fails("listening address", &says, &advice);
    let (listener, _stream) = silent.join().unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        use std::io::Write as _;
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nServer: postern\r\n\r\n");
        let _ = TcpStream::shutdown(&stream, std::net::Shutdown::Write);
        (listener, stream)
    });
    Checked::run(&builder).assert_fails("listening address", &says, &advice);
    drop(other.join());
    let free = Checked::run(&builder);
    assert_eq!(
        free.text("listening address"),
        format!("127.0.0.1:{port} is free")
    );
}

#[test]
fn a_postern_that_runs_is_known_and_not_disturbed() {
    let tenant = Tenant::start();
    let state = TempDir::new();
    let postern = Postern::builder(&tenant).state(state.path()).start();
    postern.wait_for_keys();
    let addr = postern.addr();
    let builder = Postern::builder(&tenant).env("PORT", addr.port().to_string());
    let builder = builder.state(state.path());
    let checked = Checked::run(&builder);
    let text = format!("a postern listens on {addr} already");
    assert_eq!(checked.text("listening address"), text);
    assert_eq!((checked.code, checked.with("ok").len()), (0, STEPS.len()));
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    // It was started without TLS.
    let folder = TempDir::new();
    let files = ServerFiles::new(folder.path());
    let checked = Checked::run(&secured(builder, &files));
    let says = "already, for plain HTTP";
    checked.assert_warns(
        "listening address",
        says,
        "Restart it to put them in force.",
    );
}

#[test]
fn a_postern_that_runs_over_tls_is_known() {
    let https = Https::start();
    let port = https.postern.addr().port().to_string();
    let builder = Postern::builder(&https.tenant).env("PORT", port);
    let checked = Checked::run(&secured(builder, &https.files));
    let text = checked.text("listening address");
    assert!(
        text.starts_with("a postern listens on") && text.ends_with("already"),
        "{text}"
    );
    assert_eq!(checked.with("ok").len(), STEPS.len(), "{}", checked.stdout);
    let builder = Postern::builder(&https.tenant);
    let builder = builder.env("PORT", https.postern.addr().port().to_string());
    Checked::run(&builder).assert_warns("listening address", "already, for TLS", "Restart it");
}

/// A check with a server's certificate.
fn check_certificate(tenant: &Tenant, files: &ServerFiles) -> Checked {
    Checked::run(&secured(Postern::builder(tenant), files))
}

#[test]
fn the_servers_own_certificate_is_checked_as_at_a_start() {
    let tenant = Tenant::start();
    let folder = TempDir::new();
    let files = ServerFiles::new(folder.path());
    let certificate = files.certificate.display();
    let check = || check_certificate(&tenant, &files);
    let text = check().text("certificate").to_owned();
    assert!(
        text.starts_with("the key and the chain match, valid until "),
        "{text}"
    );
    let now = SystemTime::now();
    let is = format!("TLS_CERTIFICATE_FILE is \"{certificate}\": the TLS certificate ");
    files.renew(Some((now - 2 * DAY, now - DAY)));
    check().assert_fails(
        "certificate",
        "valid until",
        &format!("{is}has expired on "),
    );
    files.renew(Some((now + DAY, now + 99 * DAY)));
    check().assert_fails(
        "certificate",
        "valid until",
        &format!("{is}is not valid before "),
    );
    files.renew(Some((now - DAY, now + 2 * DAY)));
    check().assert_warns("certificate", "valid until", &format!("{is}expires in "));
    files.renew(None);
    set_mode(&files.key, 0o604);
    let advice = "other users of this host have access to it (mode 0604)";
    check().assert_warns("certificate", "valid until", advice);
    files.write_key(&rcgen::KeyPair::generate().unwrap().serialize_pem());
    let advice = "its key does not belong to the first certificate";
    check().assert_fails(
        "certificate",
        "cannot be used; postern would not start",
        advice,
    );
    fs::write(
        &files.certificate,
        files.root.pem().to_owned() + files.intermediate.pem(),
    )
    .unwrap();
    check().assert_fails(
        "certificate",
        "",
        "is not the one that issued certificate 1",
    );
    let alone = Postern::builder(&tenant).env("TLS_KEY_FILE", "/none");
    let advice = "it needs TLS_CERTIFICATE_FILE, which is not set";
    Checked::run(&alone).assert_fails("certificate", "", advice);
}

#[test]
fn wrong_settings_stop_only_the_steps_that_need_them() {
    let tenant = Tenant::start();
    let builder = || Postern::builder(&tenant);
    let checked = Checked::run(&builder().env("PORT", "x"));
    checked.assert_fails(
        "settings",
        "one is wrong",
        "PORT is \"x\": write a whole number",
    );
    assert_eq!(checked.with("skipped"), ["listening address"]);
    let checked = Checked::run(&builder().without_env("AUTH0_AUDIENCE"));
    checked.assert_fails(
        "settings",
        "one is wrong",
        "AUTH0_AUDIENCE is not set: write the",
    );
    assert_eq!(
        checked.with("ok").len(),
        STEPS.len() - 1,
        "{}",
        checked.stdout
    );
    let checked = Checked::run(
        &builder()
            .env("AUTH0_DOMAIN", "a b")
            .env("HOST", "localhost"),
    );
    checked.assert_fails("settings", "two are wrong", "AUTH0_DOMAIN is \"a b\"");
    let skipped = ["name resolution", "connection", "TLS", "key set", "clock"];
    assert_eq!(checked.with("skipped")[1..], skipped);
    assert_eq!(checked.text("clock"), "needs a setting that is wrong");
    assert_eq!(tenant.connections(), 2);
}
