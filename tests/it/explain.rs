//! `postern explain`: what becomes of a token, and why.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::contract::{ADMIN, ADMIN_BODY, PROTECTED, PROTECTED_BODY, PUBLIC, PUBLIC_BODY};
use crate::support::key::Key;
use crate::support::postern::{Builder, Ended, Postern, binary};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::{AUDIENCE, Token, now};
use crate::support::{TempDir, wait_until};

const DAY: u64 = 86_400;

/// What is said of the message of each route.
const BAD: &str = "401 Bad credentials";
const UNABLE: &str = "503 Unable to verify credentials";

/// What an explanation has printed.
struct Explained {
    code: i32,
    stdout: String,
}

impl Explained {
    /// Its signature must not be printed, nor the token.
    fn of(ended: Ended, token: &str) -> Explained {
        let (code, stdout) = ended.printed();
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!stdout.contains(part), "{part} in {stdout}");
        }
        Explained { code, stdout }
    }

    fn run(builder: &Builder, arguments: &[&str], token: &str) -> Explained {
        let arguments = [&["explain"], arguments].concat();
        Explained::of(builder.run(&arguments, token.as_bytes()), token)
    }

    /// The rules with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let rules = self.stdout.lines().filter_map(|line| line.split_once(' '));
        let rules = rules.filter(|(found, _)| *found == verdict);
        let name = |rest: &'_ str| rest.trim_start().find(": ").unwrap_or(rest.len());
        rules
            .map(|(_, rest)| {
                let rest = rest.trim_start();
                &rest[..name(rest).min(rest.len())]
            })
            .collect()
    }

    /// Asserts the exit code, the rules that are broken, and the last lines.
    #[track_caller]
    fn assert_ends(&self, code: i32, broken: &[&str], last: &[&str]) {
        assert_eq!(self.with("REFUSED"), broken, "{}", self.stdout);
        let lines: Vec<_> = self.stdout.lines().collect();
        let end = lines.iter().rposition(|line| line.is_empty()).unwrap() + 1;
        let is_last = lines[end..].len() == last.len()
            && lines[end..]
                .iter()
                .zip(last)
                .all(|(line, last)| line.contains(last));
        assert!(is_last, "{last:#?}: {}", self.stdout);
        assert_eq!(self.code, code, "{}", self.stdout);
    }

    #[track_caller]
    fn assert_says(&self, text: &str) {
        assert!(self.stdout.contains(text), "{text:?}: {}", self.stdout);
    }

    /// Asserts what the two routes that need a token answer.
    #[track_caller]
    fn assert_answers(&self, protected: &str, admin: &str) {
        self.assert_says(&format!("GET {PROTECTED}  {protected}\n"));
        self.assert_says(&format!("GET {ADMIN}      {admin}\n"));
    }
}

/// The message of a body.
fn message(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    format!("200 {}", body["message"].as_str().unwrap())
}

fn explain(tenant: &Tenant, token: &str) -> Explained {
    Explained::run(&Postern::builder(tenant), &[], token)
}

#[test]
fn an_accepted_token_is_told_in_full() {
    let tenant = Tenant::start();
    let exp = now() + 3 * DAY;
    let token = Token::user(&tenant).admin().claim("exp", json!(exp));
    let explained = explain(&tenant, &token.sign());
    let (issuer, kid, next) = (tenant.issuer(), tenant.key(), tenant.next_key());
    let (kid, next) = (kid.kid(), next.kid());
    let exp = explained
        .stdout
        .lines()
        .find(|line| line.starts_with("exp"));
    let exp = exp.unwrap();
    let expected = format!(
        r#"header       {{"alg":"RS256","kid":"{kid}","typ":"JWT"}}
iss          {issuer}
aud          {AUDIENCE}, {issuer}userinfo
sub          auth0|5f7c8ec7c33c6c004bbafe82
{exp}
keys         2 keys ({kid}, {next}) from the tenant

ok       three parts
ok       alg
ok       typ
ok       kid: {kid}, one of the keys
ok       crit
ok       jwk, jku, x5u, x5c: ignored
ok       iss
ok       aud
ok       exp
ok       nbf
ok       permissions: read:admin-messages
ok       JSON
ok       base64url
ok       signature

GET {PUBLIC}     {}
GET {PROTECTED}  {}
GET {ADMIN}      {}

accepted
"#,
        message(PUBLIC_BODY),
        message(PROTECTED_BODY),
        message(ADMIN_BODY)
    );
    assert_eq!(explained.stdout, expected);
    assert_eq!(explained.code, 0);
    assert!(
        exp.contains("Z, in 2591") || exp.contains("Z, in 2592"),
        "{exp}"
    );
    let no_admin = explain(&tenant, &Token::user(&tenant).sign());
    no_admin.assert_ends(0, &[], &["accepted"]);
    no_admin.assert_answers(&message(PROTECTED_BODY), "403 Permission denied");
    no_admin.assert_says("ok       permissions: none\n");
}

#[test]
fn what_stands_before_a_token_does_no_harm() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let builder = Postern::builder(&tenant);
    for begin in [
        "Bearer ",
        "Authorization: Bearer ",
        "\n bearer\t",
        "authorization:",
    ] {
        let input = format!("{begin}{token}\r\n");
        let ended = builder.run(&["explain"], input.as_bytes());
        Explained::of(ended, &token).assert_ends(0, &[], &["accepted"]);
    }
}

#[test]
fn each_broken_rule_is_named_and_the_others_are_not() {
    let tenant = Tenant::start();
    let user = || Token::user(&tenant);
    let other = Key::shared(7);
    let cases = [
        (
            user().header("alg", json!("HS256")).sign(),
            "alg",
            "signing algorithm at Auth0 to RS256",
        ),
        (
            user().header("typ", json!("dpop+jwt")).sign(),
            "typ",
            "Send the access token",
        ),
        (
            user().without_header("kid").sign(),
            "kid",
            "it is from elsewhere",
        ),
        (
            user().header("kid", json!("unknown")).sign(),
            "kid",
            "its key was revoked",
        ),
        (
            user().header("crit", json!([])).sign(),
            "crit",
            "it is from elsewhere",
        ),
        (
            user()
                .claim("iss", json!("https://other.auth0.com/"))
                .sign(),
            "iss",
            "It is from another tenant: AUTH0_DOMAIN must be the domain",
        ),
        (
            user()
                .claim("aud", json!("https://other.example.com"))
                .sign(),
            "aud",
            "AUTH0_AUDIENCE must equal the API's identifier",
        ),
        (
            user().expired().sign(),
            "exp",
            "Get a new token. If it is new, set this host's clock",
        ),
        (
            user().without_claim("exp").sign(),
            "exp",
            "it is from elsewhere",
        ),
        (
            user().claim("nbf", json!(now() + DAY)).sign(),
            "nbf",
            "CLOCK_LEEWAY_SECONDS bridges",
        ),
        (
            user().raw_payload("[]").sign(),
            "JSON",
            "It was changed or cut on its way",
        ),
        (
            user().sign().replacen('.', "=.", 1),
            "base64url",
            "It was changed or cut on its way",
        ),
        (
            user().sign_with(&other),
            "signature",
            "It was changed or cut on its way",
        ),
    ];
    for (token, rule, advice) in cases {
        let explained = explain(&tenant, &token);
        explained.assert_ends(1, &[rule], &["refused: The ", advice]);
        explained.assert_answers(BAD, BAD);
        let reason = explained
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("refused: "));
        // The server says the same to a client.
        explained.assert_says(&format!("REFUSED  {rule}: {}", reason.unwrap()));
    }
}

#[test]
fn the_reasons_are_those_of_the_server() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    for token in [
        Token::user(&tenant).expired().sign(),
        Token::user(&tenant)
            .claim("aud", json!(["x\n", "y"]))
            .sign(),
        "opaque".to_owned(),
    ] {
        let body = postern.get_protected(&token).json();
        let description = body["error_description"].as_str().unwrap();
        let description = description.replace('\n', "\\n");
        let begin = description.split(" ago").next().unwrap();
        // A second may have passed.
        let begin = begin.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ' || c == 's');
        explain(&tenant, &token).assert_says(&format!("refused: {begin}"));
    }
}

#[test]
fn tokens_that_are_no_access_tokens_are_told_apart() {
    let tenant = Tenant::start();
    let opaque = explain(&tenant, "my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy");
    let audience = format!("the client must send audience={AUDIENCE} when it asks");
    let three = "refused: The access token is not a signed JWT of three parts";
    opaque.assert_ends(1, &["three parts"], &[three, &audience]);
    // {"alg":"RSA-OAEP-256","enc":"A256GCM"}
    let header = "eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2R0NNIn0";
    let encrypted = format!("{header}.encrypted-key.vector.ciphertext.authentication-tag");
    let encrypted = explain(&tenant, &encrypted);
    let advice = "It is an encrypted token (JWE): switch off token encryption";
    encrypted.assert_ends(1, &["three parts"], &[three, advice]);
    let id_token = Token::user(&tenant)
        .claim("aud", json!("my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy"))
        .claim("nonce", json!("n"))
        .without_claim("permissions");
    let id_token = explain(&tenant, &id_token.sign());
    let advice = format!("the access token that the client gets for audience={AUDIENCE}.");
    id_token.assert_ends(1, &["aud"], &["refused: The token's audience is", &advice]);
    id_token.assert_says("ok       signature\n");
}

#[test]
fn a_token_of_another_tenant_is_refused_for_its_issuer() {
    let (tenant, other) = (Tenant::start(), Tenant::start());
    let token = Token::user(&other)
        .header("kid", json!("of the other"))
        .sign();
    let explained = explain(&tenant, &token);
    let advice = "It is from another tenant: AUTH0_DOMAIN";
    let reason = format!("refused: The token's issuer is {}", other.issuer());
    explained.assert_ends(1, &["kid", "iss"], &[&reason, advice]);
    assert_eq!(explained.with("skipped"), ["signature"]);
}

#[test]
fn tokens_that_are_no_header_are_answered_as_the_server_does() {
    let tenant = Tenant::start();
    // Valid in all else.
    let long = json!(vec!["p"; 5000]);
    let long = Token::user(&tenant).claim("permissions", long).sign();
    let explained = explain(&tenant, &long);
    let too_large = "431 Request Header Fields Too Large";
    explained.assert_answers(too_large, too_large);
    let last = [
        "refused: the request head is longer than",
        "fewer permissions",
    ];
    explained.assert_ends(1, &[], &last);
    let spaced = explain(&tenant, "eyJh bGci OiJS");
    spaced.assert_answers("400 Requires authentication", "400 Requires authentication");
    let last = [
        "refused: the Authorization header is not Bearer and one token",
        "",
    ];
    spaced.assert_ends(1, &["three parts"], &last);
    let control = explain(&tenant, "a\x1b[31m.b.c");
    control.assert_answers("400 Bad Request", "400 Bad Request");
    let last = [
        "refused: the request is malformed: ",
        "characters in it that no token has",
    ];
    control.assert_ends(1, &["base64url"], &last);
}

#[test]
fn claims_are_escaped_and_cut() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant)
        .claim("sub", json!("a\r\naccepted\x1b[31m"))
        .claim("iss", json!("i".repeat(5000)))
        .claim("permissions", json!(["p\n", "q".repeat(5000)]))
        .header("x", json!("h".repeat(5000)));
    let explained = explain(&tenant, &token.sign());
    explained.assert_says("sub          a\\r\\naccepted\\x1b[31m\n");
    assert!(explained.stdout.len() < 5000, "{}", explained.stdout.len());
    assert_eq!(explained.code, 1);
}

/// A server that keeps its keys in `state`.
fn with_state(tenant: &Tenant, state: &Path) -> Builder {
    Postern::builder(tenant).state(state)
}

#[test]
fn keys_on_disk_are_used_if_they_are_fresh_and_have_the_key() {
    let tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    let token = Token::user(&tenant).sign();
    let builder = with_state(&tenant, state.path());
    let fetches = tenant.fetches();
    let file = state.path().join("jwks.json");
    let copy = fs::read(&file).unwrap();
    for arguments in [&[][..], &["--offline"]] {
        let explained = Explained::run(&builder, arguments, &token);
        explained.assert_ends(0, &[], &["accepted"]);
        explained.assert_says(&format!(" from {}, fetched ", file.display()));
    }
    assert_eq!(tenant.fetches(), fetches, "nothing was fetched");
    let unknown = Token::user(&tenant).header("kid", json!("unknown")).sign();
    let explained = Explained::run(&builder, &[], &unknown);
    explained.assert_ends(1, &["kid"], &["refused: ", "its key was revoked"]);
    assert_eq!(tenant.fetches(), fetches + 1, "the key was looked for");
    // Offline, nobody knows whether the tenant has it.
    let explained = Explained::run(&builder, &["--offline"], &unknown);
    explained.assert_ends(75, &[], &["not known: there are no signing keys"]);
    explained.assert_answers(UNABLE, UNABLE);
    assert_eq!(explained.with("skipped"), ["kid", "signature"]);
    assert_eq!(fs::read(&file).unwrap(), copy, "the copy is the server's");
}

#[test]
fn without_keys_nothing_is_known_but_what_is_wrong_anyway() {
    let mut tenant = Tenant::start();
    tenant.stop();
    let token = Token::user(&tenant).sign();
    let explained = explain(&tenant, &token);
    explained.assert_ends(
        75,
        &[],
        &["not known: there are no signing keys to verify a token with"],
    );
    explained.assert_answers(UNABLE, UNABLE);
    explained.assert_says("keys         no keys; the latest fetch failed: connecting failed: ");
    let expired = explain(&tenant, &Token::user(&tenant).expired().sign());
    expired.assert_ends(
        1,
        &["exp"],
        &["refused: The access token expired", "Get a new token"],
    );
    let builder = Postern::builder(&tenant);
    let offline = Explained::run(&builder, &["--offline"], &token);
    offline.assert_ends(75, &[], &["not known"]);
    offline.assert_says("keys         none: STATE_DIRECTORY is not set\n");
    let state = TempDir::new();
    let offline = Explained::run(&with_state(&tenant, state.path()), &["--offline"], &token);
    offline.assert_ends(75, &[], &["not known"]);
    offline.assert_says(&format!(
        "none in {}",
        state.path().join("jwks.json").display()
    ));
    tenant.resume();
    tenant.answer(Behaviour::Body(br#"{"keys":[]}"#.to_vec()));
    let unusable = explain(&tenant, &token);
    unusable.assert_ends(75, &[], &["not known"]);
    unusable.assert_says("keys         nobody is let in: no usable key");
}

#[test]
fn keys_on_disk_serve_when_the_tenant_does_not_answer_as_long_as_they_may() {
    let mut tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    let file = state.path().join("jwks.json");
    let age = |seconds: u64| {
        let mut copy: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        copy["fetched"] = json!(now() - seconds);
        fs::write(&file, copy.to_string()).unwrap();
    };
    tenant.stop();
    let token = Token::user(&tenant).sign();
    let builder = with_state(&tenant, state.path());
    age(DAY / 2);
    let explained = Explained::run(&builder, &[], &token);
    explained.assert_ends(0, &[], &["accepted"]);
    explained.assert_says("keys         stale keys: 2 keys (");
    age(3 * DAY);
    for arguments in [&[][..], &["--offline"]] {
        let explained = Explained::run(&builder, arguments, &token);
        explained.assert_ends(75, &[], &["not known"]);
    }
    fs::write(&file, "{").unwrap();
    let explained = Explained::run(&builder, &["--offline"], &token);
    explained.assert_says(&format!("passing over {}: it is not ", file.display()));
    assert_eq!(explained.code, 75);
}

#[test]
fn a_token_in_the_arguments_is_refused_and_not_repeated() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let builder = Postern::builder(&tenant);
    let (option, value) = (format!("--{token}"), format!("--offline={token}"));
    for arguments in [
        &["explain", &token][..],
        &["explain", "--offline", &token],
        &["explain", "opaque-secret"],
        &["explain", "--offline=opaque-secret"],
        &["explain", &value],
        &["explain", &option],
        &["explain", "Bearer", &token],
        &[&token],
        &["check", &token],
        &["help", &token],
    ] {
        let ended = builder.run(arguments, b"");
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(64), ""),
            "{arguments:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let why = "a token is read from standard input, not from the arguments, where other users";
        assert!(
            ended.stderr.contains(why),
            "{arguments:?}: {}",
            ended.stderr
        );
        for secret in ["eyJ", "secret"] {
            assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
        }
    }
    assert_eq!(tenant.connections(), 0);
}

#[test]
fn without_a_token_or_settings_nothing_is_explained() {
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant);
    for (input, says) in [
        (&b""[..], "there is no token on standard input"),
        (b" \n", "there is no token on standard input"),
        (
            b"Authorization: Bearer\n",
            "there is no token on standard input",
        ),
        (&[b'a'; 70_000], "standard input has more than 64 KiB"),
    ] {
        let ended = builder.run(&["explain"], input);
        assert_eq!((ended.code, &*ended.stdout), (Some(64), ""));
        assert!(
            ended.stderr.starts_with(&format!("postern: {says}")),
            "{}",
            ended.stderr
        );
    }
    let builder = builder
        .env("AUTH0_DOMAIN", "a b")
        .without_env("AUTH0_AUDIENCE");
    let ended = builder.run(&["explain"], b"a.b.c");
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""));
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
    // What has no part in it may be wrong.
    let builder = Postern::builder(&tenant)
        .env("PORT", "x")
        .env("TLS_KEY_FILE", "/none");
    let token = Token::user(&tenant).sign();
    Explained::run(&builder, &[], &token).assert_ends(0, &[], &["accepted"]);
}

/// A shell that runs `postern explain` on a terminal of its own, says how it ended, and what the
/// terminal is like then.
struct Terminal {
    child: Child,
    stdin: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(tenant: &Tenant) -> Terminal {
        let explain = r#"sh -c 'echo "pid $$."; exec "$POSTERN" explain'"#;
        let script = format!("trap : INT; {explain}; echo ended: $?; stty -a");
        let mut child = Command::new("script")
            .args(["-qec", &script, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("POSTERN", binary())
            .env("AUTH0_DOMAIN", tenant.domain())
            .env("AUTH0_AUDIENCE", AUDIENCE)
            .env("SSL_CERT_FILE", tenant.ca_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Debian has `script`");
        let shown = Arc::new(Mutex::new(String::new()));
        let mut stdout = child.stdout.take().unwrap();
        let seen = Arc::clone(&shown);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..length]);
                seen.lock().unwrap().push_str(&text);
            }
        });
        let stdin = child.stdin.take().unwrap();
        let terminal = Terminal {
            child,
            stdin,
            shown,
        };
        terminal.wait_for("Paste the token and press Enter");
        terminal
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} is shown"), || {
            self.shown().contains(text)
        });
    }

    fn pid(&self) -> String {
        let shown = self.shown();
        let (_, rest) = shown.split_once("pid ").expect("the shell has said it");
        rest.split('.').next().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Whether what is typed is shown, in lines.
    fn is_as_usual(&self) -> bool {
        let terminal = format!("/proc/{}/fd/0", self.pid());
        let modes = Command::new("stty").args(["-a", "-F", &terminal]).output();
        is_as_usual(&String::from_utf8_lossy(&modes.unwrap().stdout))
    }

    /// All that was shown until the end, and after the command.
    fn end(mut self) -> (String, String) {
        drop(self.stdin);
        wait_until("the shell ends", || {
            self.child.try_wait().unwrap().is_some()
        });
        let shown = || self.shown.lock().unwrap().clone();
        wait_until("all is shown", || shown().contains("-extproc"));
        let shown = shown();
        let (_, end) = shown.split_once("ended: ").expect("the shell has said it");
        (shown.clone(), end.to_owned())
    }
}

fn is_as_usual(modes: &str) -> bool {
    let mut words = modes.split_whitespace();
    words.clone().any(|word| word == "echo") && words.any(|word| word == "icanon")
}

#[test]
fn a_token_typed_at_a_terminal_is_not_shown() {
    let tenant = Tenant::start();
    // Longer than a line of a terminal may be.
    let permissions = vec!["read:admin-messages"; 300];
    let token = Token::user(&tenant).claim("permissions", json!(permissions));
    let token = token.sign();
    assert!(token.len() > 4096 + 2048);
    let mut terminal = Terminal::start(&tenant);
    assert!(!terminal.is_as_usual());
    terminal.stdin.write_all(token.as_bytes()).unwrap();
    terminal.stdin.write_all(b"\n").unwrap();
    terminal.wait_for("ended: ");
    let (shown, end) = terminal.end();
    let accepted = "\r\n\x1b[32maccepted\x1b[m\r\nended: 0\r\n";
    assert!(shown.contains(accepted), "{shown}");
    assert!(is_as_usual(&end), "{end}");
    let parts = token.split('.').filter(|part| shown.contains(part));
    assert_eq!(parts.count(), 0, "{shown}");
}

#[test]
fn a_signal_restores_the_terminal() {
    let tenant = Tenant::start();
    // By the key for it, and from elsewhere.
    let mut terminal = Terminal::start(&tenant);
    terminal.stdin.write_all(b"eyJhbGci\x03").unwrap();
    terminal.wait_for("ended: ");
    let (shown, end) = terminal.end();
    assert!(end.starts_with("130\r\n") && is_as_usual(&end), "{shown}");
    assert!(!shown.contains("eyJ"), "{shown}");
    let terminal = Terminal::start(&tenant);
    terminal.signal("TERM");
    terminal.wait_for("ended: ");
    let (shown, end) = terminal.end();
    assert!(end.starts_with("143\r\n") && is_as_usual(&end), "{shown}");
}

#[test]
fn a_stop_restores_the_terminal_until_it_goes_on() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let mut terminal = Terminal::start(&tenant);
    terminal.signal("TSTP");
    wait_until("the terminal is restored", || terminal.is_as_usual());
    terminal.signal("CONT");
    wait_until("the terminal is silent again", || !terminal.is_as_usual());
    terminal
        .stdin
        .write_all(format!("{token}\n").as_bytes())
        .unwrap();
    terminal.wait_for("ended: ");
    let (shown, end) = terminal.end();
    assert!(end.starts_with("0\r\n") && is_as_usual(&end), "{shown}");
    assert!(!shown.contains(&token), "{shown}");
}
