//! A WebDriver session with headless Chromium (<https://www.w3.org/TR/webdriver2/>).

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{TempDir, wait_until};

/// A browser with one tab, with a new profile. It ends on drop.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    _profile: TempDir,
}

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

thread_local! {
    /// Between two visits: a start takes seconds.
    static KEPT: Cell<Option<Browser>> = const { Cell::new(None) };
}

/// Ends the browser that is kept.
pub fn end() {
    KEPT.take();
}

impl Browser {
    /// One that is kept, or a new one.
    pub fn take() -> Browser {
        KEPT.take().unwrap_or_else(Browser::start)
    }

    /// Keeps it for the next visit.
    pub fn keep(self) {
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        self.devtools("Emulation.setEmulatedMedia", json!({"features": []}));
        self.devtools("Browser.resetPermissions", json!({}));
        self.open("about:blank");
        KEPT.set(Some(self));
    }

    fn start() -> Browser {
        // It takes a port of IPv4 that is free, and ends if that one of IPv6 is not.
        let started = (0..5).find_map(|_| start_driver());
        let (driver, port) = started.expect("chromedriver tells its port");
        let profile = TempDir::new();
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None);
        let mut browser = Browser {
            driver,
            agent: config.build().into(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let session = browser.post(
            "",
            json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": flags},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }}}),
        );
        let id = session["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    pub fn open(&self, url: &str) {
        self.post("/url", json!({"url": url}));
    }

    /// The value that this body of a function returns.
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    pub fn text(&self, script: &str) -> String {
        let value = self.script(script);
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("{script}: {value}"))
    }

    /// Waits until this expression is true.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let script = format!("return !!({expression});");
        wait_until(expression, || self.script(&script) == true);
    }

    /// Clicks where the element is, as a mouse does.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let find = json!({"using": "css selector", "value": selector});
        let found = self.post("/element", find);
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("no {selector}: {found}"));
        let clicked = self.post(&format!("/element/{id}/click"), json!({}));
        assert!(clicked.is_null(), "{selector}: {clicked}");
    }

    /// Presses and releases a key: a character, or one of [`keys`].
    pub fn press(&self, key: &str) {
        self.press_with(None, key);
    }

    /// While another key is down.
    pub fn press_with(&self, held: Option<&str>, key: &str) {
        let event = |kind: &str, key: &str| json!({"type": kind, "value": key});
        let mut actions = vec![event("keyDown", key), event("keyUp", key)];
        if let Some(held) = held {
            actions.insert(0, event("keyDown", held));
            actions.push(event("keyUp", held));
        }
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        let pressed = self.post("/actions", json!({"actions": [keyboard]}));
        assert!(pressed.is_null(), "{pressed}");
    }

    /// The entries of a log, `browser` or `performance`, since the last call.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        match self.post("/se/log", json!({"type": kind})) {
            Value::Array(entries) => entries,
            other => panic!("{other}"),
        }
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, params: Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            json!({"cmd": command, "params": params}),
        )
    }

    /// What the window looks like, as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let params = json!({"format": "png", "captureBeyondViewport": false});
        let shot = self.devtools("Page.captureScreenshot", params);
        let data = shot["data"].as_str().expect("a picture");
        STANDARD.decode(data).expect("base64")
    }

    /// The size of the window, and the scheme of colours, `light` or `dark`.
    pub fn view(&self, width: u32, height: u32, scheme: &str) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// The `value` of the answer.
    fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.agent.post(&url).content_type("application/json");
        let sent = request.send(body.to_string());
        let mut answer = sent.unwrap_or_else(|error| panic!("{url}: {error}"));
        let text = answer.body_mut().with_config().limit(64 << 20);
        let text = text.read_to_string().expect("a whole answer");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }
}

/// The process and its port; `None` if it has ended at once.
fn start_driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver is installed");
    let stdout = BufReader::new(driver.stdout.take().expect("a pipe"));
    let port = stdout.lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    if port.is_none() {
        let _ = driver.wait();
    }
    Some((driver, port?))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser. Both fail only if they have ended by themselves.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Keys that are no characters.
pub mod keys {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const SHIFT: &str = "\u{e008}";
    pub const SPACE: &str = " ";
    pub const DOWN: &str = "\u{e015}";
}
