//! Access tokens: which are accepted, and what is said about each that is not.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::client::{Client, Response, bearer};
use crate::support::contract::{ADMIN, ADMIN_BODY, PROTECTED, PROTECTED_BODY, assert_headers};
use crate::support::key::Key;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, Token, now};
use crate::support::verdict::*;

/// `GET path` with these header lines, which may be any bytes.
fn get(postern: &Postern, path: &str, lines: &[u8]) -> Response {
    let mut client = Client::connect(postern.addr());
    let begin = format!("GET {path} HTTP/1.1\r\nHost: a\r\n");
    client.send([begin.as_bytes(), lines, b"\r\n"].concat());
    let response = client.response();
    assert_headers(&response, &lines.escape_ascii().to_string());
    response
}

/// `GET` of the protected message with this token.
fn get_protected(postern: &Postern, token: &str) -> Response {
    let response = postern.get_settled(PROTECTED, &[("Authorization", &bearer(token))]);
    assert_headers(&response, token);
    response
}

/// Asserts that the token is [`ACCEPTED`], or refused with this sentence; the description in the
/// body comes back.
#[track_caller]
fn assert_verdict(postern: &Postern, what: &str, token: &str, verdict: &str) -> String {
    let response = get_protected(postern, token);
    if verdict == ACCEPTED {
        let found = (response.status, response.text());
        assert_eq!(found, (200, PROTECTED_BODY), "{what}");
        assert_eq!(response.header("WWW-Authenticate"), None, "{what}");
        return String::new();
    }
    assert_invalid_token(&response, what, verdict)
}

#[test]
fn the_authorization_header_is_bearer_and_one_token() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = Token::user(&tenant).admin().sign();
    let with_token = |lines: &str| lines.replace("TOKEN", &token);
    for lines in [
        "Authorization: Bearer TOKEN\r\n",
        "Authorization:Bearer TOKEN\r\n",
        "AUTHORIZATION: bearer TOKEN\r\n",
        "authorization: BEARER TOKEN\r\n",
        "Authorization: bEaReR TOKEN\r\n",
        "Authorization: Bearer    TOKEN\r\n",
        "Authorization: Bearer\tTOKEN\r\n",
        "Authorization: Bearer \t TOKEN\r\n",
        "Authorization: \t Bearer TOKEN \t \r\n",
    ] {
        let response = get(&postern, ADMIN, with_token(lines).as_bytes());
        let found = (response.status, response.text());
        assert_eq!(found, (200, ADMIN_BODY), "{lines}");
    }
    for lines in [
        "",
        "Authorization:\r\n",
        "Authorization: \t \r\n",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n",
        "Authorization: Basic TOKEN\r\n",
        "Authorization: Token TOKEN\r\n",
        "Authorization: DPoP TOKEN\r\n",
        "Authorization: Bearer: TOKEN\r\n",
        "Authorization: Bearers TOKEN\r\n",
        "Authorization: TOKEN Bearer\r\n",
        "Proxy-Authorization: Bearer TOKEN\r\n",
    ] {
        for path in [PROTECTED, ADMIN] {
            let response = get(&postern, path, with_token(lines).as_bytes());
            let found = (response.status, response.text());
            let body = r#"{"message":"Requires authentication"}"#;
            assert_eq!(found, (401, body), "{lines}");
            let challenge = response.header("WWW-Authenticate");
            assert_eq!(challenge, Some(r#"Bearer realm="api""#), "{lines}");
        }
    }
    for lines in [
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: bearer\t\r\n",
        "Authorization: Basic\r\n",
        "Authorization: TOKEN\r\n",
        "Authorization: BearerTOKEN\r\n",
        "Authorization: Bearer TOKEN x\r\n",
        "Authorization: Bearer x TOKEN\r\n",
        "Authorization: Bearer Bearer TOKEN\r\n",
        "Authorization: Basic x TOKEN\r\n",
        "Authorization: Bearer TOKEN,\r\n",
        "Authorization: Bearer TOKEN,TOKEN\r\n",
        "Authorization: Bearer TOKEN, Bearer TOKEN\r\n",
        "Authorization: Bearer TOKEN, Basic dXNlcjpwYXNz\r\n",
        "Authorization: Bearer TOKEN\r\nAuthorization: Bearer TOKEN\r\n",
        "Authorization: Bearer TOKEN\r\nAuthorization: Basic dXNlcjpwYXNz\r\n",
        "Authorization: Bearer TOKEN\r\nA: b\r\nauthorization:\r\n",
        "Authorization:\r\nAuthorization:\r\n",
    ] {
        for path in [PROTECTED, ADMIN] {
            let response = get(&postern, path, with_token(lines).as_bytes());
            assert_invalid_request(&response, lines);
        }
    }
}

#[test]
fn the_header_says_rs256_and_an_access_token() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let user = Token::user(&tenant);
    let long_kid = "k".repeat(201);
    let rows = [
        ("alg", json!("RS256"), ACCEPTED, ""),
        ("alg", json!("none"), ALGORITHM, "none"),
        ("alg", json!("None"), ALGORITHM, "None"),
        ("alg", json!("rs256"), ALGORITHM, "rs256"),
        ("alg", json!("RS256 "), ALGORITHM, "RS256 "),
        ("alg", json!("RS384"), ALGORITHM, "RS384"),
        ("alg", json!("PS256"), ALGORITHM, "PS256"),
        ("alg", json!("ES256"), ALGORITHM, "ES256"),
        ("alg", json!("HS256"), ALGORITHM, "HS256"),
        ("alg", json!(""), ALGORITHM, ""),
        ("alg", json!(256), ALGORITHM, ""),
        ("alg", Value::Null, ALGORITHM, ""),
        ("alg", json!(["RS256"]), ALGORITHM, ""),
        ("alg", json!({"RS256": "RS256"}), ALGORITHM, ""),
        ("typ", json!("JWT"), ACCEPTED, ""),
        ("typ", json!("jwt"), ACCEPTED, ""),
        ("typ", json!("at+jwt"), ACCEPTED, ""),
        ("typ", json!("AT+JWT"), ACCEPTED, ""),
        ("typ", json!("application/at+jwt"), ACCEPTED, ""),
        ("typ", json!("Application/At+Jwt"), ACCEPTED, ""),
        ("typ", json!("application/jwt"), TYPE, "application/jwt"),
        ("typ", json!("id+jwt"), TYPE, "id+jwt"),
        ("typ", json!("dpop+jwt"), TYPE, "dpop+jwt"),
        ("typ", json!("logout+jwt"), TYPE, "logout+jwt"),
        ("typ", json!("JWE"), TYPE, "JWE"),
        ("typ", json!(" JWT"), TYPE, " JWT"),
        ("typ", json!(""), TYPE, ""),
        ("typ", Value::Null, TYPE, ""),
        ("typ", json!(["JWT"]), TYPE, ""),
        ("typ", json!(1), TYPE, ""),
        ("kid", Value::Null, NO_KEY_ID, ""),
        ("kid", json!(1), NO_KEY_ID, ""),
        ("kid", json!([tenant.key().kid()]), NO_KEY_ID, ""),
        ("kid", json!(""), UNKNOWN_KEY, ""),
        ("kid", json!("unknown"), UNKNOWN_KEY, "unknown"),
        ("kid", json!("../../etc/passwd"), UNKNOWN_KEY, "../../etc/"),
        ("kid", json!("' OR 1=1 --"), UNKNOWN_KEY, "' OR 1=1 --"),
        ("kid", json!(long_kid), UNKNOWN_KEY, "kkkkk"),
        (
            "kid",
            json!(tenant.key().kid().to_lowercase()),
            UNKNOWN_KEY,
            "",
        ),
        // A key of the set, but not the one that signed.
        ("kid", json!(tenant.next_key().kid()), SIGNATURE, ""),
        ("crit", json!(["exp"]), CRITICAL, ""),
        ("crit", json!([]), CRITICAL, ""),
        ("crit", Value::Null, CRITICAL, ""),
        ("crit", json!(false), CRITICAL, ""),
        // Not read.
        ("cty", json!("JWT"), ACCEPTED, ""),
        ("b64", json!(false), ACCEPTED, ""),
        ("zip", json!("DEF"), ACCEPTED, ""),
        ("x", Value::Null, ACCEPTED, ""),
    ];
    for (name, value, verdict, named) in rows {
        let what = format!("{name} {value}");
        let token = user.clone().header(name, value).sign();
        let description = assert_verdict(&postern, &what, &token, verdict);
        assert!(description.contains(named), "{what}: {description}");
    }
    for (name, verdict) in [("alg", ALGORITHM), ("typ", ACCEPTED), ("kid", NO_KEY_ID)] {
        let token = user.clone().without_header(name).sign();
        assert_verdict(&postern, name, &token, verdict);
    }
}

#[test]
fn the_claims_are_for_this_api_and_this_time() {
    let tenant = Tenant::start();
    // The greatest leeway there is, so that no machine is too slow for it.
    let postern = Postern::builder(&tenant)
        .env("CLOCK_LEEWAY_SECONDS", "300")
        .start();
    postern.wait_for_keys();
    let user = Token::user(&tenant);
    let issuer = tenant.issuer();
    let bare = issuer.trim_end_matches('/');
    let now = now();
    let no_time = |claim: &str| format!("{claim} is missing or not a number");
    let rows = [
        ("iss", json!(issuer), ACCEPTED, String::new()),
        (
            "iss",
            json!(bare),
            ISSUER,
            format!("is {bare}, this API expects {issuer}."),
        ),
        ("iss", json!(format!("{issuer}/")), ISSUER, String::new()),
        ("iss", json!(format!(" {issuer}")), ISSUER, String::new()),
        ("iss", json!(issuer.to_uppercase()), ISSUER, String::new()),
        (
            "iss",
            json!(issuer.replace("https", "http")),
            ISSUER,
            String::new(),
        ),
        (
            "iss",
            json!("https://evil.eu.auth0.com/"),
            ISSUER,
            "https://evil".into(),
        ),
        ("iss", json!(""), ISSUER, String::new()),
        ("iss", json!([issuer]), ISSUER, String::new()),
        ("iss", json!({"iss": issuer}), ISSUER, String::new()),
        ("iss", Value::Null, ISSUER, String::new()),
        ("aud", json!(AUDIENCE), ACCEPTED, String::new()),
        ("aud", json!([AUDIENCE]), ACCEPTED, String::new()),
        (
            "aud",
            json!(["https://a.example.com", AUDIENCE]),
            ACCEPTED,
            String::new(),
        ),
        ("aud", json!([AUDIENCE, AUDIENCE]), ACCEPTED, String::new()),
        (
            "aud",
            json!("https://a.example.com"),
            WRONG_AUDIENCE,
            format!("is https://a.example.com, this API expects {AUDIENCE}."),
        ),
        (
            "aud",
            json!(["https://a.example.com"]),
            WRONG_AUDIENCE,
            "https://a.".into(),
        ),
        ("aud", json!([]), WRONG_AUDIENCE, String::new()),
        ("aud", json!(""), WRONG_AUDIENCE, String::new()),
        (
            "aud",
            json!(format!("{AUDIENCE}/")),
            WRONG_AUDIENCE,
            String::new(),
        ),
        (
            "aud",
            json!(AUDIENCE.to_uppercase()),
            WRONG_AUDIENCE,
            String::new(),
        ),
        (
            "aud",
            json!(format!("{AUDIENCE} {issuer}")),
            WRONG_AUDIENCE,
            String::new(),
        ),
        // Not an array of strings.
        ("aud", json!([AUDIENCE, 1]), WRONG_AUDIENCE, String::new()),
        (
            "aud",
            json!([AUDIENCE, null]),
            WRONG_AUDIENCE,
            String::new(),
        ),
        (
            "aud",
            json!([null, AUDIENCE]),
            WRONG_AUDIENCE,
            String::new(),
        ),
        ("aud", json!([[AUDIENCE]]), WRONG_AUDIENCE, String::new()),
        (
            "aud",
            json!({"aud": AUDIENCE}),
            WRONG_AUDIENCE,
            String::new(),
        ),
        ("aud", Value::Null, WRONG_AUDIENCE, String::new()),
        ("exp", json!(now + 60), ACCEPTED, String::new()),
        ("exp", json!(now - 200), ACCEPTED, String::new()),
        ("exp", json!(now as f64 + 60.5), ACCEPTED, String::new()),
        ("exp", json!(1e300), ACCEPTED, String::new()),
        ("exp", json!(u64::MAX), ACCEPTED, String::new()),
        ("exp", json!(now - 301), EXPIRED, "expired 3".into()),
        (
            "exp",
            json!(now as f64 - 301.5),
            EXPIRED,
            "expired 3".into(),
        ),
        ("exp", json!(0), EXPIRED, String::new()),
        ("exp", json!(-1), EXPIRED, String::new()),
        ("exp", json!(-1e300), EXPIRED, String::new()),
        ("exp", json!(format!("{}", now + 60)), TIME, no_time("exp")),
        ("exp", json!([now + 60]), TIME, no_time("exp")),
        ("exp", json!(true), TIME, no_time("exp")),
        ("exp", Value::Null, TIME, no_time("exp")),
        ("nbf", json!(now), ACCEPTED, String::new()),
        ("nbf", json!(0), ACCEPTED, String::new()),
        ("nbf", json!(-1e300), ACCEPTED, String::new()),
        ("nbf", json!(now + 299), ACCEPTED, String::new()),
        ("nbf", json!(now as f64 + 299.5), ACCEPTED, String::new()),
        (
            "nbf",
            json!(now + 3600),
            NOT_YET,
            "not valid for another 3".into(),
        ),
        ("nbf", json!(u64::MAX), NOT_YET, String::new()),
        ("nbf", json!(1e300), NOT_YET, String::new()),
        ("nbf", json!("0"), TIME, no_time("nbf")),
        ("nbf", json!([]), TIME, no_time("nbf")),
        ("nbf", Value::Null, TIME, no_time("nbf")),
        // Not read.
        ("iat", json!(now + 3600), ACCEPTED, String::new()),
        ("iat", Value::Null, ACCEPTED, String::new()),
        ("jti", json!([1]), ACCEPTED, String::new()),
        ("sub", Value::Null, ACCEPTED, String::new()),
        ("sub", json!(1), ACCEPTED, String::new()),
        ("azp", Value::Null, ACCEPTED, String::new()),
    ];
    for (name, value, verdict, named) in rows {
        let what = format!("{name} {value}");
        let token = user.clone().claim(name, value).sign();
        let description = assert_verdict(&postern, &what, &token, verdict);
        assert!(description.contains(&named), "{what}: {description}");
    }
    for (name, verdict) in [
        ("iss", ISSUER),
        ("aud", WRONG_AUDIENCE),
        ("exp", TIME),
        ("nbf", ACCEPTED),
        ("iat", ACCEPTED),
        ("sub", ACCEPTED),
        ("permissions", ACCEPTED),
    ] {
        let token = user.clone().without_claim(name).sign();
        assert_verdict(&postern, name, &token, verdict);
    }
}

#[test]
fn the_leeway_is_five_seconds_unless_set() {
    let tenant = Tenant::start();
    let user = Token::user(&tenant);
    let expired = user.clone().claim("exp", json!(now() - 6)).sign();
    let early = user.clone().claim("nbf", json!(now() + 3600)).sign();
    let postern = Postern::start(&tenant);
    assert_verdict(&postern, "expired", &expired, EXPIRED);
    assert_verdict(&postern, "early", &early, NOT_YET);
    // A second or two late is within it; on a slow machine it may be more.
    let made = now();
    let late = user.claim("exp", json!(made - 1)).sign();
    let response = get_protected(&postern, &late);
    assert!(
        response.status == 200 || now() > made + 3,
        "{}",
        response.text()
    );

    let strict = Postern::builder(&tenant)
        .env("CLOCK_LEEWAY_SECONDS", "0")
        .start();
    strict.wait_for_keys();
    assert_verdict(&strict, "no leeway", &late, EXPIRED);
}

/// JSON text of `[` and `]`, this many levels deep.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn json_is_read_strictly_and_without_harm() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let user = Token::user(&tenant);
    let (header, payload) = (user.header_text(), user.payload_text());
    // With one more member, or something else behind it.
    let header_with = |member: &str| format!("{{{member},{}", &header[1..]);
    let payload_with = |member: &str| format!("{{{member},{}", &payload[1..]);
    let headers: Vec<(Vec<u8>, &str)> = vec![
        (header.clone().into(), ACCEPTED),
        (format!(" \t\r\n{header} \n").into(), ACCEPTED),
        (header_with(r#""\u0061":"\ud83d\ude00""#).into(), ACCEPTED),
        (header_with(r#""a":1,"a":2"#).into(), ACCEPTED),
        (
            header_with(&format!(r#""a":{}"#, nested(5000))).into(),
            ACCEPTED,
        ),
        (b"".into(), MALFORMED),
        (b"{".into(), MALFORMED),
        (b"null".into(), MALFORMED),
        (b"\"RS256\"".into(), MALFORMED),
        (b"[]".into(), MALFORMED),
        (format!("[{header}]").into(), MALFORMED),
        // The order of the members is not known to anyone but this program.
        (
            format!(r#"["RS256","JWT","{}"]"#, tenant.key().kid()).into(),
            MALFORMED,
        ),
        (format!("{header}{header}").into(), MALFORMED),
        (format!("{header}x").into(), MALFORMED),
        (format!("{header}\0").into(), MALFORMED),
        (format!("\u{feff}{header}").into(), MALFORMED),
        (format!("{header}//").into(), MALFORMED),
        (header.replace('"', "'").into(), MALFORMED),
        (header.replace('}', ",}").into(), MALFORMED),
        (header[..header.len() - 1].into(), MALFORMED),
        (header_with(r#""alg":"RS256""#).into(), MALFORMED),
        (header_with(r#""alg":"none""#).into(), MALFORMED),
        (header_with(r#""\u0061lg":"RS256""#).into(), MALFORMED),
        (header_with(r#""kid":"a""#).into(), MALFORMED),
        (header_with(r#""typ":"JWT""#).into(), MALFORMED),
        (header_with(r#""crit":[],"crit":[]"#).into(), MALFORMED),
        (header_with(r#""a":"\ud83d""#).into(), ACCEPTED),
        (header.replace("JWT", r"\ud83d").into(), MALFORMED),
        (header_with("\"a\":\"\n\"").into(), MALFORMED),
        (header_with(r#""a":01"#).into(), MALFORMED),
        (
            [header_with(r#""a":""#).as_bytes(), b"\xff\""].concat(),
            MALFORMED,
        ),
        (
            header
                .clone()
                .into_bytes()
                .into_iter()
                .chain([0xff])
                .collect(),
            MALFORMED,
        ),
        // As deep as a head has room for, closed or not, read or not.
        (nested(5500).into(), MALFORMED),
        ("[".repeat(11_000).into(), MALFORMED),
        (r#"{"a":"#.repeat(2200).into(), MALFORMED),
        (
            header_with(&format!(r#""a":{}"#, "[".repeat(10_000))).into(),
            MALFORMED,
        ),
        (
            header_with(&format!(r#""crit":{}"#, nested(5000))).into(),
            CRITICAL,
        ),
        (header.replace("\"JWT\"", &nested(5000)).into(), TYPE),
        (header.replace("\"RS256\"", &nested(5000)).into(), ALGORITHM),
    ];
    for (bytes, verdict) in headers {
        let what = format!("header {:.200}", bytes.escape_ascii());
        let token = user.clone().raw_header(bytes).sign();
        let description = assert_verdict(&postern, &what, &token, verdict);
        if verdict == MALFORMED {
            let begin = "The access token's header is not ";
            assert!(description.starts_with(begin), "{what}: {description}");
        }
    }
    let payloads: Vec<(Vec<u8>, &str)> = vec![
        (payload.clone().into(), ACCEPTED),
        (format!("\n{payload}\t").into(), ACCEPTED),
        (payload_with(r#""a":1,"a":2"#).into(), ACCEPTED),
        (payload_with(r#""a":1e9999999"#).into(), ACCEPTED),
        (
            payload_with(&format!(r#""a":{}"#, nested(4000))).into(),
            ACCEPTED,
        ),
        (
            payload
                .replace(
                    r#""permissions":[]"#,
                    &format!(r#""permissions":{}"#, nested(4000)),
                )
                .into(),
            ACCEPTED,
        ),
        (b"".into(), MALFORMED),
        (b"{}{}".into(), MALFORMED),
        (b"null".into(), MALFORMED),
        (format!("[{payload}]").into(), MALFORMED),
        (
            format!(
                r#"["{}","{AUDIENCE}","sub",{},0,[]]"#,
                tenant.issuer(),
                now() + 60
            )
            .into(),
            MALFORMED,
        ),
        (format!("{payload}}}").into(), MALFORMED),
        (format!("{payload},").into(), MALFORMED),
        (payload_with(r#""iss":"a""#).into(), MALFORMED),
        (payload_with(r#""aud":[]"#).into(), MALFORMED),
        (payload_with(r#""exp":9999999999"#).into(), MALFORMED),
        (payload_with(r#""nbf":0,"nbf":0"#).into(), MALFORMED),
        (payload_with(r#""sub":"a""#).into(), MALFORMED),
        (
            payload_with(r#""permissions":["read:admin-messages"]"#).into(),
            MALFORMED,
        ),
        (payload_with(r#""permissio\u006es":[]"#).into(), MALFORMED),
        (payload_with(r#""nbf":1e9999999"#).into(), MALFORMED),
        (payload_with(r#""nbf":NaN"#).into(), MALFORMED),
        (payload_with(r#""nbf":+1"#).into(), MALFORMED),
        (
            [payload_with(r#""a":""#).as_bytes(), b"\xc3\""].concat(),
            MALFORMED,
        ),
        (nested(4000).into(), MALFORMED),
    ];
    for (bytes, verdict) in payloads {
        let what = format!("payload {:.200}", bytes.escape_ascii());
        let token = user.clone().raw_payload(bytes).sign();
        let description = assert_verdict(&postern, &what, &token, verdict);
        if verdict == MALFORMED {
            let begin = "The access token's payload is not ";
            assert!(description.starts_with(begin), "{what}: {description}");
        }
    }
}

/// A token of these two parts, signed as they are.
fn signed(header: &str, payload: &str, key: &Key) -> String {
    let message = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The same bits in base64url, and one more behind them.
fn with_a_trailing_bit(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "there are no trailing bits");
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|byte| last.as_bytes() == [*byte]);
    let altered = char::from(ALPHABET[value.unwrap() | 1]);
    assert_ne!(altered.to_string(), last, "the bit was set");
    format!("{rest}{altered}")
}

#[test]
fn the_compact_form_is_three_parts_of_base64url() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let key = tenant.key();
    // Made so that each part is one byte longer than a multiple of three, and that both alphabets
    // of base64 differ in it.
    let part = |text: String| {
        let mut bytes = text.replacen('{', r#"{"a":"ÿ~?>ÿ~?>ÿ~?>","#, 1);
        while bytes.len() % 3 != 1 {
            bytes.push(' ');
        }
        bytes
    };
    let user = Token::user(&tenant);
    let (header_json, payload_json) = (part(user.header_text()), part(user.payload_text()));
    let header = &*URL_SAFE_NO_PAD.encode(&header_json);
    let payload = &*URL_SAFE_NO_PAD.encode(&payload_json);
    let token = &*signed(header, payload, &key);
    let signature = token.rsplit_once('.').unwrap().1;

    let other_header = STANDARD_NO_PAD.encode(&header_json);
    let other_payload = STANDARD_NO_PAD.encode(&payload_json);
    assert_ne!((&*other_header, &*other_payload), (header, payload));
    let broken = |change: &dyn Fn(&str) -> String| {
        [
            signed(&change(header), payload, &key),
            signed(header, &change(payload), &key),
            format!("{header}.{payload}.{}", change(signature)),
        ]
    };
    assert_verdict(&postern, "as it is", token, ACCEPTED);
    for (what, tokens) in [
        ("padded", broken(&|part| format!("{part}=="))),
        ("half padded", broken(&|part| format!("{part}="))),
        ("a trailing bit", broken(&with_a_trailing_bit)),
        (
            "a byte short",
            broken(&|part| part[..part.len() - 1].into()),
        ),
        ("no alphabet", broken(&|part| format!("!{part}"))),
        ("a percent", broken(&|part| format!("%20{part}"))),
        ("a quote", broken(&|part| format!("\"{part}\""))),
    ] {
        let [header, payload, signature] = tokens;
        assert_verdict(&postern, what, &header, MALFORMED);
        assert_verdict(&postern, what, &payload, MALFORMED);
        assert_verdict(&postern, what, &signature, SIGNATURE);
    }
    let other_signature = signature.replace('-', "+").replace('_', "/");
    let message = format!("{header}.{payload}");
    let padded = URL_SAFE.encode(key.sign(message.as_bytes()));
    for (what, token, verdict) in [
        ("+/ header", signed(&other_header, payload, &key), MALFORMED),
        (
            "+/ payload",
            signed(header, &other_payload, &key),
            MALFORMED,
        ),
        (
            "+/ signature",
            format!("{message}.{other_signature}"),
            SIGNATURE,
        ),
        ("padded signature", format!("{message}.{padded}"), SIGNATURE),
        ("no signature", format!("{message}."), SIGNATURE),
        ("short signature", format!("{message}.AAAA"), SIGNATURE),
        (
            "zero signature",
            format!("{message}.{}", "A".repeat(342)),
            SIGNATURE,
        ),
        ("long signature", format!("{token}AAAA"), SIGNATURE),
        ("one part", header.to_owned(), MALFORMED),
        ("two parts", message.clone(), MALFORMED),
        ("four parts", format!("{token}.{signature}"), MALFORMED),
        ("four parts, one empty", format!("{token}."), MALFORMED),
        ("five parts", format!("{token}.a.b"), MALFORMED),
        ("a dot before", format!(".{token}"), MALFORMED),
        ("two dots", "..".to_owned(), MALFORMED),
        ("a dot", ".".to_owned(), MALFORMED),
        ("no header", format!(".{payload}.{signature}"), MALFORMED),
        ("no payload", signed(header, "", &key), MALFORMED),
        ("not a JWT", "opaque-token".to_owned(), MALFORMED),
        ("quoted", format!("\"{token}\""), MALFORMED),
        ("not ASCII", format!("\u{e9}{token}"), MALFORMED),
    ] {
        // What has the alphabets' common letters only would be no different.
        assert_ne!(token, signed(header, payload, &key), "{what}");
        assert_verdict(&postern, what, &token, verdict);
    }
    // Not even UTF-8.
    let response = get(
        &postern,
        PROTECTED,
        b"Authorization: Bearer \xff.\xfe.a\r\n",
    );
    assert_eq!(response.status, 401);
    assert_eq!(response.json()["error"], "invalid_token");
}

#[test]
fn what_a_token_says_stays_in_the_body_and_is_cut_there() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let user = Token::user(&tenant);
    let hostile = "a\"\\\r\nX-Injected: 1\r\n\r\n<script>\u{7f}\u{85}\u{2028}é😀\0b";
    let with = |name: &str, value: Value| match name {
        "alg" | "typ" | "kid" => user.clone().header(name, value).sign(),
        _ => user.clone().claim(name, value).sign(),
    };
    for (name, verdict) in [
        ("alg", ALGORITHM),
        ("typ", TYPE),
        ("kid", UNKNOWN_KEY),
        ("iss", ISSUER),
        ("aud", WRONG_AUDIENCE),
    ] {
        let token = with(name, json!(hostile));
        let description = assert_verdict(&postern, name, &token, verdict);
        assert!(description.contains(hostile), "{name}: {description}");
        let response = get_protected(&postern, &token);
        assert_eq!(response.header("X-Injected"), None, "{name}");
        assert!(!response.text().contains(['\r', '\n', '\0']), "{name}");

        for letter in ["x", "é", "😀", "\"", "\n"] {
            let just = letter.repeat(200);
            let description = assert_verdict(&postern, name, &with(name, json!(just)), verdict);
            assert!(description.contains(&just), "{name}: {description}");
            assert!(!description.contains("..."), "{name}: {description}");
            let long = letter.repeat(201);
            let description = assert_verdict(&postern, name, &with(name, json!(long)), verdict);
            assert!(description.contains(&just), "{name}: {description}");
            assert!(!description.contains(&long), "{name}: {description}");
        }
    }
    let many = json!(vec!["https://a.example.com"; 100]);
    let description = assert_verdict(&postern, "aud", &with("aud", many), WRONG_AUDIENCE);
    assert!(description.len() < 400, "{description}");

    // Not the token itself, nor a part of it, whatever is wrong.
    for token in [
        user.clone().expired().sign(),
        user.clone().raw_payload("[]").sign(),
        user.clone().raw_header("{\"alg\": \"RS256\"").sign(),
        user.sign_with(&tenant.next_key()),
        user.sign().replacen('.', "", 1),
        user.sign() + ".",
        user.sign() + "=",
        "opaque-token-of-32-letters-abcdef".to_owned(),
    ] {
        let response = get_protected(&postern, &token);
        assert_eq!(response.status, 401);
        let all = format!("{:?}{}", response.headers, response.text());
        for part in token.split('.').filter(|part| part.len() >= 4) {
            let begin = &part[..part.len().min(16)];
            assert!(!all.contains(begin), "{begin} of {token} in {all}");
        }
    }
}
