//! What the page does: each token at each route, and each thing that can go wrong.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::Scenario;
use crate::house::Demo;
use crate::support::wait_until;
use crate::visit::Visit;

pub const SCENARIOS: &[Scenario] = &[
    ("one small file that names no other", is_small),
    ("each token at each route", matrix),
    ("the claim that decided is marked", marks),
    ("request and answer as they were on the wire", wire),
    ("the curl line can be copied and run", curl),
    ("the log of the request", log),
    ("the tenant goes down and comes back", outage),
    ("the key is rotated and revoked", rotation),
    ("the clock goes wrong and right again", clock),
    ("over TLS", tls),
    ("the demo has ended", ended),
];

const PUBLIC: &str = "/api/messages/public";
const PROTECTED: &str = "/api/messages/protected";
const ADMIN: &str = "/api/messages/admin";

fn is_small() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/page.html");
    let page = fs::read_to_string(path).expect("the page");
    assert!(page.len() < 40_000, "{} bytes", page.len());
    let namespace = "http://www.w3.org/2000/svg";
    let others = page.replace(namespace, "");
    for text in [
        "http://",
        "https://",
        "//www",
        "@import",
        "url(",
        "<script src",
    ] {
        assert!(!others.contains(text), "{text}");
    }
}

fn matrix() {
    let visit = Visit::start();
    const OK: &str = "200 The API successfully validated your access token.";
    const GRANTED: &str = "200 The API successfully recognized you as an admin.";
    const BAD: &str = "401 Bad credentials";
    for (caller, protected, admin) in [
        (
            "none",
            "401 Requires authentication",
            "401 Requires authentication",
        ),
        ("user", OK, "403 Permission denied"),
        ("admin", OK, GRANTED),
        ("expired", BAD, BAD),
        ("other", BAD, BAD),
        ("tampered", BAD, BAD),
        ("opaque", BAD, BAD),
    ] {
        let public = "200 The API doesn't require an access token to share this message.";
        for (path, expected) in [(PUBLIC, public), (PROTECTED, protected), (ADMIN, admin)] {
            visit.choose(caller, path);
            assert_eq!(visit.send(), expected, "{caller} at {path}");
            let asked = visit.text_of("#verdict .asked");
            assert!(
                asked.starts_with(&format!("GET {path}, answered in ")),
                "{asked}"
            );
            assert_ne!(visit.text_of("#verdict .why"), "");
        }
    }
    visit.end();
}

fn marks() {
    let visit = Visit::start();
    let all = ["alg", "kid", "aud", "exp", "iss"];
    let marked = visit.texts_of("#token mark");
    assert_eq!(marked.len(), all.len() + 1, "{marked:?}");
    for name in all {
        let is_it = |text: &String| text.contains(&format!("\"{name}\":")) && text.contains('✓');
        assert!(marked.iter().any(is_it), "{name}: {marked:?}");
    }
    for (caller, path, mark, note) in [
        (
            "user",
            ADMIN,
            "\"permissions\": []",
            "✗ does not grant read:admin-messages",
        ),
        (
            "admin",
            ADMIN,
            "\"permissions\": [\"read:admin-messages\"]",
            "✓ grants",
        ),
        ("expired", PROTECTED, "\"exp\": ", "✗ has passed"),
        (
            "other",
            PROTECTED,
            "\"aud\": \"https://another-api.example.com\"",
            "✗ names another API",
        ),
        (
            "tampered",
            ADMIN,
            "… (256 bytes)",
            "✗ is not for this header and payload",
        ),
        ("opaque", PROTECTED, "", "✗ is not a JWT"),
    ] {
        visit.choose(caller, path);
        visit.send();
        let marked = visit.texts_of("#token mark");
        let (first, last) = mark.split_once('…').unwrap_or((mark, ""));
        let [only] = marked.as_slice() else {
            panic!("{caller}: {marked:?}");
        };
        assert!(
            only.contains(first) && only.contains(last),
            "{caller}: {only}"
        );
        assert!(only.contains(note), "{caller}: {only}");
    }
    // Nothing of a token decides where nobody looks at it.
    for (caller, path) in [("expired", PUBLIC), ("none", PROTECTED)] {
        visit.choose(caller, path);
        visit.send();
        assert_eq!(visit.texts_of("#token mark").len(), 0);
    }
    visit.end();
}

fn wire() {
    let visit = Visit::start();
    visit.choose("user", ADMIN);
    assert_eq!(visit.send(), "403 Permission denied");
    let messages = visit.texts_of("#wire .sheet .lines");
    // The preflight is the first pair.
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].starts_with("OPTIONS /api/messages/admin HTTP/1.1"));
    assert!(messages[0].contains("Access-Control-Request-Headers: authorization"));
    let allowed = format!("Access-Control-Allow-Origin: {}", visit.demo.page);
    assert!(messages[1].contains(&allowed), "{}", messages[1]);
    assert!(messages[1].contains("Access-Control-Allow-Headers: Authorization"));
    assert!(messages[2].starts_with("GET /api/messages/admin HTTP/1.1"));
    assert!(messages[2].contains(&format!("Origin: {}", visit.demo.page)));
    assert!(messages[3].starts_with("HTTP/1.1 403 Forbidden"));
    assert!(messages[3].contains("WWW-Authenticate: Bearer realm=\"api\", error=\"insufficient_"));
    assert!(messages[3].ends_with("\"error_description\":\"Requires read:admin-messages\"}"));
    // A script may read these of the answer, and no others: they are safelisted by CORS.
    let read = visit.texts_of("#wire > .pair > .pair .sheet:last-child .lines > div:not(.unread)");
    for name in ["Cache-Control: ", "Content-Type: ", "Content-Length: "] {
        assert!(read.iter().any(|line| line.starts_with(name)), "{read:?}");
    }
    let unread = visit.texts_of("#wire .unread");
    for name in ["WWW-Authenticate: ", "Date: ", "Server: "] {
        assert!(
            unread.iter().any(|line| line.starts_with(name)),
            "{unread:?}"
        );
    }
    // The whole token appears when it is asked for.
    assert!(!messages[2].contains(&token(&visit, "user")));
    visit.browser.click("#wire button.more");
    let whole = &visit.texts_of("#wire .sheet .lines")[2];
    assert!(whole.contains(&format!("Authorization: Bearer {}", token(&visit, "user"))));
    visit.browser.click("#wire summary");
    visit
        .browser
        .wait("document.querySelector('#wire details').open");
    // The browser remembers the preflight.
    visit.send();
    assert_eq!(visit.texts_of("#wire .sheet .lines").len(), 2);
    assert!(
        visit
            .text_of("#readable")
            .contains("remembers the preflight")
    );
    let in_script =
        "return fetch(state.api + '/api/messages/admin').then(it => [...it.headers.keys()]);";
    let names = visit.browser.script(in_script);
    let names = names.as_array().expect("names");
    assert!(!names.contains(&json!("www-authenticate")), "{names:?}");
    visit.end();
}

fn token(visit: &Visit, caller: &str) -> String {
    visit.browser.text(&format!("return tokens.{caller};"))
}

fn curl() {
    let visit = Visit::start();
    visit.choose("user", ADMIN);
    visit.send();
    let permissions = json!({
        "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
        "origin": visit.demo.page,
    });
    visit
        .browser
        .devtools("Browser.grantPermissions", permissions);
    visit.browser.click("#copy");
    visit
        .browser
        .wait("document.getElementById('copied').textContent === 'Copied.'");
    let copied = visit.browser.text("return navigator.clipboard.readText();");
    assert_eq!(copied, visit.text_of("#curl"));
    assert!(
        copied.starts_with(&format!("curl -i {}{ADMIN} -H ", visit.demo.postern)),
        "{copied}"
    );
    assert!(copied.contains(&token(&visit, "user")));
    let ran = std::process::Command::new("sh")
        .args(["-c", &copied])
        .output();
    let ran = ran.expect("there is a shell");
    let answer = String::from_utf8_lossy(&ran.stdout);
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden"), "{ran:?}");
    // Without a permission of the browser, the line is selected instead.
    let denied = "navigator.clipboard.writeText = () => Promise.reject(new Error('denied'));";
    visit.browser.script(denied);
    visit.browser.click("#copy");
    visit
        .browser
        .wait("document.getElementById('copied').textContent.includes('selected')");
    assert_eq!(visit.browser.text("return String(getSelection());"), copied);
    visit.end();
}

fn log() {
    let visit = Visit::start();
    visit.choose("expired", PROTECTED);
    visit.send();
    let lines = visit.texts_of("#log > div");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(" GET /api/messages/protected 401 "),
        "{lines:?}"
    );
    assert!(lines[0].contains(" expired 864"), "{lines:?}");
    // It is the line that went to standard error.
    assert!(visit.demo.lines().contains(&lines[0]));
    assert!(!lines[0].contains(&token(&visit, "expired")));
    visit.end();
}

fn outage() {
    let visit = Visit::start();
    assert!(visit.act("input[value=down]").contains("is down"));
    // Known keys last.
    assert!(visit.send().starts_with("200 "));
    assert!(visit.act("#renew").contains("issues no tokens"));
    visit.act("#reload");
    wait_until("the fetch fails", || {
        visit
            .demo
            .lines()
            .iter()
            .any(|line| line.contains("WARN ") && line.contains("fetch"))
    });
    assert!(visit.texts_of("#log > div").len() > 1);
    assert!(visit.send().starts_with("200 "));
    assert!(visit.act("input[value=up]").contains("answers again"));
    assert!(visit.act("#renew").contains("new tokens"));
    assert!(visit.send().starts_with("200 "));
    visit.end();
}

fn rotation() {
    let visit = Visit::start();
    let keys = || {
        visit
            .browser
            .script("return state.world.keys.map(it => it.role);")
    };
    let is_disabled = || {
        visit
            .browser
            .script("return document.getElementById('revoke').disabled;")
    };
    assert_eq!(keys(), json!(["current", "next"]));
    assert_eq!(is_disabled(), true);
    let old = token(&visit, "user");
    visit.act("#rotate");
    assert_eq!(keys(), json!(["previous", "current", "next"]));
    assert_eq!(is_disabled(), false);
    // The page still has the old token, whose key still counts.
    assert!(visit.send().starts_with("200 "));
    visit.act("#reload");
    assert!(visit.text_of("#log").contains("fetched 3 keys"));
    assert!(visit.send().starts_with("200 "));
    visit.act("#revoke");
    assert_eq!(keys(), json!(["current", "next"]));
    assert_eq!(is_disabled(), true);
    visit.act("#reload");
    assert_eq!(token(&visit, "user"), old);
    assert_eq!(visit.send(), "401 Bad credentials");
    assert!(
        visit
            .text_of("#token mark")
            .contains("✗ is not among the keys of the tenant")
    );
    visit.act("#renew");
    assert_ne!(token(&visit, "user"), old);
    assert!(visit.send().starts_with("200 "));
    // Two keys further, postern has to ask a tenant that is down.
    visit.act("#rotate");
    visit.act("#rotate");
    visit.act("#renew");
    visit.act("input[value=down]");
    // It has not heard of that yet, and its keys are fresh.
    visit.act("#reload");
    assert_eq!(visit.send(), "503 Unable to verify credentials");
    assert!(
        visit
            .text_of("#token mark")
            .contains("? postern cannot get this key now")
    );
    visit.end();
}

fn clock() {
    let visit = Visit::start();
    let date = || {
        let lines = visit.texts_of("#wire .unread");
        let date = lines.into_iter().find(|line| line.starts_with("Date: "));
        date.expect("an answer has a Date")
    };
    let today = date();
    assert!(visit.act("input[value=ahead]").contains("two days ahead"));
    assert_eq!(visit.send(), "401 Bad credentials");
    assert!(
        visit
            .text_of("#token mark")
            .contains("✗ has passed, by the clock of postern")
    );
    assert_ne!(date()[..17], today[..17]);
    assert!(visit.act("input[value=unset]").contains("1970"));
    assert_eq!(visit.send(), "503 Unable to verify credentials");
    assert!(
        visit
            .text_of("#token mark")
            .contains("? postern does not know the time")
    );
    assert!(date().contains(" 1970 "), "{}", date());
    assert!(visit.text_of("#log").contains("1970-01-01T"));
    assert!(visit.act("input[value=right]").contains("right again"));
    assert!(visit.send().starts_with("200 "));
    assert_eq!(date()[..22], today[..22]);
    visit.end();
}

fn tls() {
    let visit = Visit::to(Demo::start_with(&["--tls"]));
    assert!(visit.demo.postern.starts_with("https://127.0.0.1:"));
    assert!(visit.text_of("#server").starts_with("https://127.0.0.1:"));
    assert!(visit.text_of("#how").contains("It speaks TLS to postern"));
    visit.choose("user", ADMIN);
    assert_eq!(visit.send(), "403 Permission denied");
    // Only over TLS.
    let headers = visit.texts_of("#wire .unread");
    let strict = |line: &String| line.starts_with("Strict-Transport-Security: ");
    assert!(headers.iter().any(strict), "{headers:?}");
    let ran = std::process::Command::new("sh")
        .args(["-c", &visit.text_of("#curl")])
        .output();
    let ran = ran.expect("there is a shell");
    assert!(ran.stdout.starts_with(b"HTTP/1.1 403 "), "{ran:?}");
    visit.end();
}

fn ended() {
    let mut visit = Visit::start();
    visit.demo.end("INT");
    visit.forget();
    visit.browser.click("#send");
    assert_eq!(visit.verdict(), "The demo does not answer. Has it ended?");
    assert_eq!(
        visit.act("#rotate"),
        "The demo does not answer. Has it ended?"
    );
}
