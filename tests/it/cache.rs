//! The cache of verified tokens, as clients see it: not at all.

use std::thread;

use serde_json::json;

use crate::support::client::{Client, Response, bearer};
use crate::support::contract::{ADMIN, ADMIN_BODY, PROTECTED, PROTECTED_BODY, assert_headers};
use crate::support::key::Key;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::{SUBJECT, Token, now};
use crate::support::wait_until;

/// `GET` of the protected message with this token.
fn get_protected(postern: &Postern, token: &str) -> Response {
    let response = postern.get_protected(token);
    assert_headers(&response, PROTECTED);
    response
}

#[track_caller]
fn assert_accepted(postern: &Postern, token: &str) {
    let response = get_protected(postern, token);
    assert_eq!((response.status, response.text()), (200, PROTECTED_BODY));
}

/// Asserts 401, and that the header says this.
#[track_caller]
fn assert_refused(postern: &Postern, token: &str, summary: &str) {
    let response = get_protected(postern, token);
    assert_eq!(response.status, 401, "{}", response.text());
    let challenge = response.header("WWW-Authenticate").unwrap();
    assert!(challenge.contains(summary), "{challenge}");
}

const UNKNOWN_KEY: &str = "signed with an unknown key";
const SIGNATURE: &str = "has an invalid signature";

/// Makes the server fetch the keys, and waits until it has logged so with this text.
fn refresh(postern: &Postern, text: &str) {
    let count = || {
        let logs = postern.logs();
        logs.iter().filter(|line| line.contains(text)).count()
    };
    let before = count();
    postern.signal("HUP");
    wait_until(text, || count() > before);
}

#[test]
fn a_cached_token_is_answered_as_at_first() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let (user, admin) = (Token::user(&tenant), Token::user(&tenant).admin());
    let (user, admin) = (bearer(&user.sign()), bearer(&admin.sign()));
    let mut client = Client::connect(postern.addr());
    for _ in 0..3 {
        for (path, token, status, text) in [
            (PROTECTED, &user, 200, PROTECTED_BODY),
            (ADMIN, &user, 403, "insufficient_scope"),
            (PROTECTED, &admin, 200, PROTECTED_BODY),
            (ADMIN, &admin, 200, ADMIN_BODY),
        ] {
            let response = client.request("GET", path, &[("Authorization", token)]);
            assert_headers(&response, path);
            assert_eq!(response.status, status);
            assert!(response.text().contains(text), "{}", response.text());
        }
    }
    let logs = postern.into_logs();
    let subject = format!("sub={SUBJECT}");
    let with_subject = logs.iter().filter(|line| line.ends_with(&subject));
    assert_eq!(with_subject.count(), 12);
}

#[test]
fn a_token_that_expires_in_the_cache_is_refused_in_the_usual_words() {
    let tenant = Tenant::start();
    let start = |size| {
        let postern = Postern::builder(&tenant).env("TOKEN_CACHE_SIZE", size);
        let postern = postern.env("CLOCK_LEEWAY_SECONDS", "0").start();
        postern.wait_for_keys();
        postern
    };
    let (with, without) = (start("10"), start("0"));
    // A run that is too slow tries another token.
    let token = loop {
        let token = Token::user(&tenant).claim("exp", json!(now() + 2)).sign();
        let response = get_protected(&with, &token);
        if response.status == 200 {
            break token;
        }
    };
    wait_until("401", || get_protected(&with, &token).status == 401);
    // The sentence counts the seconds, one of which may end between two requests.
    let answer = |postern| {
        let mut response = get_protected(postern, &token);
        response.headers.retain(|(name, _)| name != "Date");
        response
    };
    wait_until("the same answer", || answer(&with) == answer(&without));
    assert!(answer(&with).text().contains("expired"));
}

#[test]
fn a_token_does_not_outlive_its_key() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let (key, other) = (tenant.key(), tenant.next_key());
    let token = Token::user(&tenant).sign();
    assert_accepted(&postern, &token);

    refresh(&postern, "keys unchanged");
    assert_accepted(&postern, &token);

    tenant.set_keys(vec![other.jwk()]);
    refresh(&postern, "fetched 1 key ");
    assert_refused(&postern, &token, UNKNOWN_KEY);

    tenant.set_keys(vec![key.jwk(), other.jwk()]);
    refresh(&postern, "fetched 2 keys ");
    assert_accepted(&postern, &token);

    let mut impostor = other.jwk();
    impostor["kid"] = json!(key.kid());
    tenant.set_keys(vec![impostor, other.jwk()]);
    refresh(&postern, "fetched 2 keys ");
    assert_refused(&postern, &token, SIGNATURE);
}

#[test]
fn no_byte_of_a_cached_token_can_be_changed() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = Token::user(&tenant).sign();
    assert_accepted(&postern, &token);
    let mut client = Client::connect(postern.addr());
    let mut status = |token: &str| {
        let headers = [("Authorization", &*bearer(token))];
        client.request("GET", PROTECTED, &headers).status
    };
    // A changed `kid` is not known, which is another matter.
    let header = token.find('.').unwrap();
    for at in header..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(status(&changed), 401, "{changed}");
    }
    for changed in [&token[1..], &token[..token.len() - 1], &format!("{token}A")] {
        assert_eq!(status(changed), 401, "{changed}");
    }
    assert_eq!(status(&token), 200);
}

#[test]
fn a_small_cache_shared_by_many_mixes_up_nothing() {
    let tenant = Tenant::start();
    let forger = Key::shared(2);
    let user = |number: usize| Token::user(&tenant).claim("sub", json!(format!("user {number}")));
    let mut tokens = Vec::new();
    for number in 0..8 {
        tokens.push((user(number).admin().sign(), 200));
        tokens.push((user(number).sign(), 403));
        tokens.push((user(number).expired().admin().sign(), 401));
        tokens.push((user(number).admin().sign_with(&forger), 401));
    }
    for size in ["0", "1", "5", "1000000"] {
        let postern = Postern::builder(&tenant).env("TOKEN_CACHE_SIZE", size);
        let postern = postern.start();
        postern.wait_for_keys();
        thread::scope(|scope| {
            for offset in 0..8 {
                let (tokens, postern) = (&tokens, &postern);
                scope.spawn(move || {
                    let mut client = Client::connect(postern.addr());
                    for at in 0..4 * tokens.len() {
                        let (token, status) = &tokens[(at * 5 + offset) % tokens.len()];
                        let headers = [("Authorization", &*bearer(token))];
                        let response = client.request("GET", ADMIN, &headers);
                        assert_eq!(response.status, *status, "{}", response.text());
                    }
                });
            }
        });
    }
}
