//! A token signed by other hands.

use super::*;

// A token minted with OpenSSL, the private key then thrown away:
//
//   b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
//   openssl genrsa -out key.pem 2048
//   h=$(printf '{"alg":"RS256","typ":"JWT","kid":"openssl"}' | b64)
//   p=$(printf '{"iss":"https://tenant.example/","sub":"auth0|openssl",
//       "aud":["https://api.example","https://tenant.example/userinfo"],
//       "iat":1600000000,"exp":4102444800,
//       "permissions":["read:admin-messages"]}' | b64)                  (in one line)
//   s=$(printf '%s.%s' "$h" "$p" | openssl dgst -sha256 -sign key.pem -binary | b64)
//   n=$(openssl rsa -in key.pem -noout -modulus | cut -d= -f2 | xxd -r -p | b64)
/// `$h`
const OPENSSL_HEADER: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Im9wZW5zc2wifQ";
/// `$p`
const OPENSSL_PAYLOAD: &str = concat!(
    "eyJpc3MiOiJodHRwczovL3RlbmFudC5leGFtcGxlLyIsInN1YiI6ImF1dGgwfG9wZW5zc2wiLCJhdWQiOlsiaHR0cH",
    "M6Ly9hcGkuZXhhbXBsZSIsImh0dHBzOi8vdGVuYW50LmV4YW1wbGUvdXNlcmluZm8iXSwiaWF0IjoxNjAwMDAwMDAw",
    "LCJleHAiOjQxMDI0NDQ4MDAsInBlcm1pc3Npb25zIjpbInJlYWQ6YWRtaW4tbWVzc2FnZXMiXX0",
);
/// `$s`
const OPENSSL_SIGNATURE: &str = concat!(
    "JSCzF5TCt3czzP4sOAziIuJFKpJDcdcSpH7gOh_lA1oOgYHjh23GMPrrS5eOPSRh1ARdpXcW3r3wr-xwPQCTUiELud",
    "QHNa2R93VV12w9FFvPssMBZs0zgADa-AvAChO7Y5Gtb_oH5eOaA-zChzzO6kRkIntkUZdrcw9LlvA1X_YMJwi3HDkc",
    "5YhogjkvUQ4l-YclsNB_8tTmQcj0KUdjwI56wWXbOgM6XtaKGpwdmF8_jzDKojCLO2aFdDEa-ilXqJwLqzN7A4XqVu",
    "mS-smBH1SR60T1Ouqm_MUIUmj_UAqMDcbkGmJZZyD-fvUkbBpjurxmdFuQi56z4qYyYZ666A",
);
/// `$n`
const OPENSSL_MODULUS: &str = concat!(
    "uGtqYRbAcdt0AoCY2M2Yg19Yp-AscTVoSpY8sAkGmTs8r9dw_G8b9ggrAbK_MuxL9XTCm3JrTbSY3mhj3PTnQ8zbVF",
    "L6s-wAOcf7i9wFudE9o59nkQ1mJfAMrYqFeCdH9QSUQIHLxjp0EzIvP3m5fO35r0kq7sLl_81bbGAoDYTEj7zpYZqm",
    "FSlGzG-F5vTdU6MnKPObtTSlrkK5vsYX1yJN6MvqRhJu9twLl0c-JGbh6lwnmmjlYhEXgKKzRXv12GHULoSeH_Op8c",
    "GdoSTGzFzfeeQNKHWTVCMFKvozNsMoQb31xU9pPmfqwMdfU-303CsgO2U_YmJa8RIiJXK-5w",
);

fn verify_openssl(
    header: &str,
    payload: &str,
    signature: &str,
    modulus: &str,
) -> Result<Claims, TokenError> {
    let keys = json!({"keys": [{"kty": "RSA", "kid": "openssl", "n": modulus, "e": "AQAB"}]});
    let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let token = format!("{header}.{payload}.{signature}");
    let token = verifier().read(token.as_bytes(), at(NOW as f64))?;
    token.verify(keys.get("openssl").unwrap())
}

#[test]
fn a_token_signed_by_openssl_is_accepted() {
    let claims = verify_openssl(
        OPENSSL_HEADER,
        OPENSSL_PAYLOAD,
        OPENSSL_SIGNATURE,
        OPENSSL_MODULUS,
    )
    .unwrap();
    assert_eq!(claims.subject.as_deref(), Some("auth0|openssl"));
    assert!(claims.has_permission("read:admin-messages"));
}

#[test]
fn the_algorithm_of_the_key_decides() {
    static OTHER: Algorithm = Algorithm {
        name: "OTHER",
        key_type: "RSA",
        members: &[],
        read_key: |_| Err("there are none"),
        // What the signature is in truth.
        jsonwebtoken: jsonwebtoken::Algorithm::RS256,
        verifier: |_| None,
    };
    let keys =
        json!({"keys": [{"kty": "RSA", "kid": "openssl", "n": OPENSSL_MODULUS, "e": "AQAB"}]});
    let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let key = keys.get("openssl").unwrap();
    let token = format!("{OPENSSL_HEADER}.{OPENSSL_PAYLOAD}.{OPENSSL_SIGNATURE}");
    let verifier = verifier();
    let mut token = verifier.read(token.as_bytes(), at(NOW as f64)).unwrap();
    token.algorithm = &OTHER;
    let mismatch = TokenError::Algorithm {
        found: "OTHER".to_owned(),
        expected: "RS256".to_owned(),
    };
    assert_eq!(token.verify(key), Err(mismatch));
}

#[test]
fn the_same_token_altered_is_not() {
    let refuse = |header: &str, payload: &str, signature: &str, modulus: &str| {
        let result = verify_openssl(header, payload, signature, modulus);
        assert_eq!(
            result,
            Err(TokenError::Signature),
            "{header}.{payload}.{signature}"
        );
    };
    let (h, p, s, n) = (
        OPENSSL_HEADER,
        OPENSSL_PAYLOAD,
        OPENSSL_SIGNATURE,
        OPENSSL_MODULUS,
    );
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(p).unwrap()).unwrap();
    refuse(
        h,
        &encode(payload.replace("auth0|openssl", "auth0|opensst")),
        s,
        n,
    );
    refuse(h, &encode(format!("{payload} ")), s, n);
    refuse(
        &encode(r#"{"alg":"RS256","typ":"JWT","kid":"openssl" }"#),
        p,
        s,
        n,
    );
    refuse(h, p, "", n);
    refuse(h, p, &s[4..], n);
    refuse(h, p, &s[..s.len() - 4], n);
    refuse(h, p, &format!("{s}="), n);
    refuse(h, p, &format!("{s}AA"), n);
    let signature = URL_SAFE_NO_PAD.decode(s).unwrap();
    refuse(h, p, &encode(vec![0; signature.len()]), n);
    refuse(h, p, &encode([&[0], &signature[..]].concat()), n);
    for at in 0..signature.len() {
        let mut flipped = signature.clone();
        flipped[at] ^= 1 << (at % 8);
        refuse(h, p, &encode(flipped), n);
    }
    let mut other = URL_SAFE_NO_PAD.decode(n).unwrap();
    other[100] ^= 1;
    refuse(h, p, s, &encode(other));
}
