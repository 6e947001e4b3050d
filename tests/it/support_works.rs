//! The stand-in tenant and the token mint themselves, against a client and a verifier that are not
//! postern's: what they get wrong, every other test would.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::support::PATIENCE;
use crate::support::client::{self, Client};
use crate::support::tenant::{Behaviour, Certificate, JWKS_PATH, Tenant, http_date};
use crate::support::token::Token;

type Fetched = Result<Response<ureq::Body>, ureq::Error>;

/// Fetches the key set over TLS, trusting nothing but the tenant's CA file.
fn fetch(tenant: &Tenant, headers: &[(&str, &str)]) -> Fetched {
    let pem = fs::read(tenant.ca_file()).unwrap();
    let ca = ureq::tls::Certificate::from_pem(&pem).unwrap();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(vec![ca])))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    let url = format!("https://{}{JWKS_PATH}", tenant.domain());
    let mut request = config.new_agent().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.call()
}

fn keys(fetched: Fetched) -> Vec<Value> {
    let body = fetched.unwrap().body_mut().read_to_string().unwrap();
    let mut set: Value = serde_json::from_str(&body).unwrap();
    set["keys"].as_array_mut().map(std::mem::take).unwrap()
}

/// Whether `jwk` verifies the RS256 signature of `token`.
fn verifies(jwk: &Value, token: &str) -> bool {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (n, e) = (part("n"), part("e"));
    RsaPublicKeyComponents { n, e }
        .verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
        .is_ok()
}

fn decoded(token: &str, part: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap());
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn a_token_verifies_with_the_key_that_is_served() {
    let tenant = Tenant::start();
    let served = keys(fetch(&tenant, &[("Accept", "application/json")]));
    assert_eq!(
        (served.len(), tenant.fetches(), tenant.connections()),
        (2, 1, 1)
    );
    assert!(tenant.last_request().contains("application/json"));
    let token = Token::user(&tenant).admin().sign();
    assert_eq!(decoded(&token, 0)["kid"], served[0]["kid"]);
    assert_eq!(decoded(&token, 1)["iss"], tenant.issuer());
    assert_eq!(
        decoded(&token, 1)["permissions"],
        json!(["read:admin-messages"])
    );
    assert!(verifies(&served[0], &token));
    assert!(!verifies(&served[1], &token));
    let forged = Token::user(&tenant).sign_with(&tenant.next_key());
    assert_eq!(decoded(&forged, 0)["kid"], served[0]["kid"]);
    assert!(!verifies(&served[0], &forged));
}

#[test]
fn raw_parts_are_signed_as_they_are() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).raw_payload(*b"\xff{").sign();
    let payload = token.split('.').nth(1).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(payload).unwrap(), b"\xff{");
    assert!(verifies(&tenant.key().jwk(), &token));
}

#[test]
fn rotation_revokes_the_current_key() {
    let tenant = Tenant::start();
    let (old, next) = (tenant.key(), tenant.next_key());
    tenant.rotate();
    assert_eq!(tenant.key().kid(), next.kid());
    let served = keys(fetch(&tenant, &[]));
    assert_eq!(served, [next.jwk(), tenant.next_key().jwk()]);
    assert!(!served.contains(&old.jwk()));
}

#[test]
fn only_the_good_certificate_is_trusted() {
    for certificate in [
        Certificate::WrongName,
        Certificate::Expired,
        Certificate::UnknownCa,
    ] {
        let tenant = Tenant::with_certificate(certificate);
        let error = fetch(&tenant, &[]).expect_err("no trust").to_string();
        assert!(error.contains("certificate"), "{certificate:?}: {error}");
        assert_eq!((tenant.connections(), tenant.fetches()), (1, 0));
    }
    let tenant = Tenant::without_tls();
    fetch(&tenant, &[]).expect_err("no TLS there");
    assert_eq!(client::get(tenant.addr(), JWKS_PATH, &[]).status, 200);
}

#[test]
fn every_behaviour_reaches_the_client() {
    let tenant = Tenant::start();
    tenant.set_headers(vec![("Retry-After", "7"), ("date", "")]);
    tenant.answer(Behaviour::Status(503));
    let response = fetch(&tenant, &[]).unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["Retry-After"], "7");
    assert!(!response.headers().contains_key("Date"));

    tenant.set_headers(vec![("ETag", "\"1\"")]);
    tenant.answer(Behaviour::Keys);
    assert!(fetch(&tenant, &[]).unwrap().headers().contains_key("Date"));
    let response = fetch(&tenant, &[("If-None-Match", "\"1\"")]).unwrap();
    assert_eq!(response.status(), 304);

    tenant.answer(Behaviour::Redirect("https://example.com/".into()));
    let response = fetch(&tenant, &[]).unwrap();
    assert_eq!(response.headers()["Location"], "https://example.com/");

    tenant.answer(Behaviour::Body(b"<html>".to_vec()));
    let body = fetch(&tenant, &[]).unwrap().body_mut().read_to_string();
    assert_eq!(body.unwrap(), "<html>");

    tenant.answer(Behaviour::Raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec(),
    ));
    fetch(&tenant, &[])
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap_err();

    tenant.answer(Behaviour::Close);
    fetch(&tenant, &[]).expect_err("closed");
}

#[test]
fn a_stalled_request_is_answered_when_the_behaviour_changes() {
    for stall in [Behaviour::Stall, Behaviour::StallAccept] {
        let tenant = Tenant::start();
        let in_handshake = matches!(stall, Behaviour::StallAccept);
        tenant.answer(stall);
        thread::scope(|scope| {
            let fetcher = scope.spawn(|| fetch(&tenant, &[]));
            tenant.wait_for_connections(1);
            if !in_handshake {
                tenant.wait_for_fetches(1);
            }
            assert!(!fetcher.is_finished());
            tenant.answer(Behaviour::Keys);
            assert_eq!(keys(fetcher.join().unwrap()).len(), 2);
        });
    }
}

#[test]
fn a_stopped_tenant_refuses_and_comes_back_on_the_same_port() {
    let mut tenant = Tenant::start();
    tenant.answer(Behaviour::Stall);
    let domain = tenant.domain();
    let mut waiting = Client::connect(tenant.addr());
    tenant.wait_for_connections(1);
    tenant.stop();
    waiting.assert_closed();
    let refused = Client::try_connect(tenant.addr()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    tenant.resume();
    tenant.answer(Behaviour::Keys);
    assert_eq!(keys(fetch(&tenant, &[])).len(), 2);
    assert_eq!((tenant.domain(), tenant.connections()), (domain, 2));
}

#[test]
fn dates_are_those_of_the_calendar() {
    let date = |seconds| http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
}
