//! The example of an API of one's own, as the process that it is.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::support::TempDir;
use crate::support::client::{Client, Response, bearer};
use crate::support::contract::assert_headers;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::{SUBJECT, Token};

const TEMPERATURE: &str = "/api/temperature";
const HEATER: &str = "/api/heater";

/// The example. `cargo test` has built it, but `cargo test --test it` has not.
fn program() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples/own_api");
    assert!(program.exists(), "missing: cargo build --example own_api");
    program
}

struct Device {
    tenant: Tenant,
    postern: Postern,
    folder: TempDir,
}

impl Device {
    fn start() -> Device {
        let tenant = Tenant::start();
        let folder = TempDir::new();
        fs::write(folder.path().join("sensor"), "21500\n").unwrap();
        let file = |name| folder.path().join(name).display().to_string();
        let postern = Postern::builder(&tenant)
            .program(program())
            .env("CLIENT_ORIGIN_URL", "https://app.example.com")
            .env("SENSOR_FILE", file("sensor"))
            .env("HEATER_FILE", file("heater"))
            .start();
        postern.wait_for_keys();
        Device {
            tenant,
            postern,
            folder,
        }
    }

    fn token(&self, permission: &str) -> String {
        let permissions = serde_json::json!([permission]);
        Token::user(&self.tenant)
            .claim("permissions", permissions)
            .sign()
    }

    fn ask(&self, method: &str, path: &str, token: &str, lines: &str, body: &str) -> Response {
        let mut client = Client::connect(self.postern.addr());
        let (bearer, length) = (bearer(token), body.len());
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n\
             Content-Length: {length}\r\n{lines}\r\n{body}"
        ));
        client.response()
    }

    fn switch(&self, body: &str) -> Response {
        let token = self.token("switch:heater");
        self.ask("POST", HEATER, &token, "", body)
    }

    fn heater(&self) -> Option<String> {
        fs::read_to_string(self.folder.path().join("heater")).ok()
    }
}

#[test]
fn it_reads_the_sensor_for_those_who_may() {
    let device = Device::start();
    let reader = device.token("read:temperature");
    let response = device.ask("GET", TEMPERATURE, &reader, "", "");
    assert_headers(&response, TEMPERATURE);
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), r#"{"celsius":21.5}"#);
    let line = device.postern.wait_for_log("GET /api/temperature 200");
    assert!(line.ends_with(&format!(" sub={SUBJECT}")), "{line}");

    let other = device.token("switch:heater");
    let response = device.ask("GET", TEMPERATURE, &other, "", "");
    assert_eq!(response.status, 403);
    let challenge = response.header("WWW-Authenticate").unwrap();
    assert!(challenge.contains("scope=\"read:temperature\""));
    let response = device.ask("GET", TEMPERATURE, "a.b.c", "", "");
    assert_eq!(response.status, 401);

    fs::write(device.folder.path().join("sensor"), "hot").unwrap();
    let response = device.ask("GET", TEMPERATURE, &reader, "", "");
    assert_eq!(response.status, 500);
    assert_eq!(response.message(), "Internal Server Error");
    device
        .postern
        .wait_for_log("a handler failed: invalid float");
}

#[test]
fn it_switches_the_heater_for_those_who_may() {
    let device = Device::start();
    let response = device.switch(r#"{"on":true}"#);
    assert_eq!((response.status, response.text()), (204, ""));
    assert_eq!(response.header("Content-Length"), None);
    assert_eq!(device.heater().unwrap(), "1");
    assert_eq!(device.switch(r#"{"on":false}"#).status, 204);
    assert_eq!(device.heater().unwrap(), "0");

    let response = device.switch(r#"{"on":"yes"}"#);
    assert_eq!(response.status, 400);
    assert_eq!(response.json()["error"], "invalid_body");
    assert!(response.text().contains("expected a boolean"));
    assert_eq!(device.switch(&" ".repeat(1025)).status, 413);
    assert_eq!(device.heater().unwrap(), "0");

    // Nobody's body is asked for who is not let in.
    let other = device.token("read:temperature");
    let mut client = Client::connect(device.postern.addr());
    let head = |token: &str| {
        format!(
            "POST {HEATER} HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\nContent-Length: 11\r\n\
             Expect: 100-continue\r\n\r\n",
            bearer(token)
        )
    };
    client.send(head(&other));
    let response = client.response();
    assert_eq!(response.status, 403);
    assert_eq!(response.header("Connection"), Some("close"));
    let mut client = Client::connect(device.postern.addr());
    client.send(head(&device.token("switch:heater")));
    assert_eq!(client.response().status, 100);
    client.send(r#"{"on":true}"#);
    assert_eq!(client.response().status, 204);
    assert_eq!(device.heater().unwrap(), "1");
    assert_eq!(client.request("GET", "/", &[]).status, 404, "it is kept");
}

#[test]
fn it_says_which_methods_there_are() {
    let device = Device::start();
    for (path, allow, methods) in [
        (TEMPERATURE, "GET, HEAD, OPTIONS", "GET"),
        (HEATER, "POST, OPTIONS", "POST"),
    ] {
        let response = device.ask("PATCH", path, "a", "", "");
        assert_eq!(response.status, 405);
        assert_eq!(response.header("Allow"), Some(allow));
        let preflight =
            "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n";
        let response = device.ask("OPTIONS", path, "a", preflight, "");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Allow"), Some(allow));
        let allowed = response.header("Access-Control-Allow-Methods");
        assert_eq!(allowed, Some(methods));
    }
}

#[test]
fn readme_shows_the_example() {
    let example = include_str!("../../examples/own_api.rs");
    let code = &example[example.find("use std").unwrap()..];
    assert!(include_str!("../../docs/library.md").contains(code));
}
