//! What the parts of a request cost, each by itself: `cargo bench --bench hot_path`, with `--
//! cache` behind it for those of that name.
//!
//! The requests are those of the tests: a token of Auth0's usual size, signed with 2048 bits, and
//! the headers that a browser sends.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use postern::auth::verifier::Claims;
use postern::auth::{KeySet, TokenCache, Verifier};
use postern::http::cors::Cors;
use postern::http::request::{HeadScanner, MAX_HEADERS, Request};
use postern::http::response::{self, Persistence, Prepared, Response};

use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, Token};

fn main() {
    divan::main();
}

/// What the benchmarks are about, made once.
struct Sample {
    token: String,
    verifier: Verifier,
    keys: KeySet,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let tenant = Tenant::start();
    let keys = serde_json::json!({"keys": [tenant.key().jwk(), tenant.next_key().jwk()]});
    Sample {
        token: Token::user(&tenant).admin().sign(),
        verifier: Verifier::new(tenant.issuer(), AUDIENCE.into(), Duration::from_secs(5)),
        keys: KeySet::parse(keys.to_string().as_bytes()).unwrap(),
    }
});

impl Sample {
    /// The whole check of a signed token.
    fn verify(&self, token: &[u8]) -> Claims {
        let token = self.verifier.read(token, SystemTime::now()).unwrap();
        let key = self.keys.get(token.key_id()).unwrap();
        token.verify(key).unwrap()
    }

    fn head(&self, headers: &str) -> Vec<u8> {
        let line = "GET /api/messages/protected HTTP/1.1\r\nHost: localhost:6060\r\n";
        format!("{line}{headers}\r\n").into_bytes()
    }
}

fn parse_head(head: &[u8]) -> bool {
    let length = HeadScanner::default().find_end(head).unwrap().unwrap();
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    Request::parse(&head[..length], &mut storage)
        .unwrap()
        .keeps_alive()
}

mod head {
    use super::*;

    #[divan::bench]
    fn short(bencher: Bencher) {
        let head = SAMPLE.head("");
        bencher.bench(|| parse_head(black_box(&head)));
    }

    #[divan::bench]
    fn with_token(bencher: Bencher) {
        let head = SAMPLE.head(&format!("Authorization: Bearer {}\r\n", SAMPLE.token));
        bencher.bench(|| parse_head(black_box(&head)));
    }

    #[divan::bench]
    fn of_a_browser(bencher: Bencher) {
        let head = SAMPLE.head(&format!(
            "Connection: keep-alive\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: application/json, text/plain, */*\r\n\
             Accept-Language: en-GB,en;q=0.5\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\n\
             Authorization: Bearer {}\r\n\
             Origin: http://localhost:4040\r\n\
             Referer: http://localhost:4040/\r\n\
             Sec-Fetch-Dest: empty\r\n\
             Sec-Fetch-Mode: cors\r\n\
             Sec-Fetch-Site: same-site\r\n",
            SAMPLE.token
        ));
        bencher.bench(|| parse_head(black_box(&head)));
    }
}

mod verification {
    use super::*;

    #[divan::bench]
    fn cold(bencher: Bencher) {
        let sample = &*SAMPLE;
        bencher.bench(|| sample.verify(black_box(sample.token.as_bytes())));
    }

    /// Of a token that is in the cache.
    #[divan::bench]
    fn warm(bencher: Bencher) {
        let sample = &*SAMPLE;
        let token = sample.token.as_bytes();
        let cache = full_cache(1023);
        fill(&cache, token, &Arc::new(sample.verify(token)));
        bencher.bench(|| {
            let claims = cache.look_up(black_box(token)).get(&sample.keys).unwrap();
            let in_time = sample.verifier.check_times(&claims, SystemTime::now());
            assert!(in_time.is_ok());
            claims
        });
    }
}

mod responses {
    use super::*;

    const BODY: &[u8] = br#"{"message":"The API successfully validated your access token."}"#;

    fn make() -> Response {
        Response::new(200, "application/json; charset=utf-8", BODY)
    }

    #[divan::bench]
    fn printed() -> Vec<u8> {
        print(make())
    }

    #[divan::bench]
    fn prepared() -> Vec<u8> {
        static PREPARED: Prepared = Prepared::new(make);
        print(PREPARED.response())
    }

    #[divan::bench]
    fn prepared_for_an_origin(bencher: Bencher) {
        static PREPARED: Prepared = Prepared::new(make);
        let cors = Cors::new(vec!["http://localhost:4040".into()]);
        let head = SAMPLE.head("Origin: http://localhost:4040\r\n");
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let request = Request::parse(&head, &mut storage).unwrap();
        bencher.bench_local(|| {
            let mut response = PREPARED.response();
            cors.apply(Some(&request), &mut response);
            print(response)
        });
    }
}

fn print(response: Response) -> Vec<u8> {
    let mut wire = Vec::new();
    response::print(response, false, Persistence::Implied, &mut wire);
    wire
}

/// As long as a token, and like no other.
fn stand_in(number: usize) -> Vec<u8> {
    format!("{number:0length$}", length = SAMPLE.token.len()).into_bytes()
}

fn fill(cache: &TokenCache, token: &[u8], claims: &Arc<Claims>) {
    let key = SAMPLE
        .verifier
        .read(SAMPLE.token.as_bytes(), SystemTime::now());
    let key = SAMPLE.keys.get(key.unwrap().key_id()).unwrap();
    cache.look_up(token).fill(key, claims);
}

/// A cache of the usual size with so many tokens in it.
fn full_cache(count: usize) -> TokenCache {
    let cache = TokenCache::new(NonZero::new(1024).unwrap()).unwrap();
    let claims = Arc::new(SAMPLE.verify(SAMPLE.token.as_bytes()));
    (0..count).for_each(|number| fill(&cache, &stand_in(number), &claims));
    cache
}

mod cache {
    use super::*;

    /// How many of the 1024 entries are taken: 0 %, 50 %, 100 %.
    const COUNTS: [usize; 3] = [0, 512, 1024];

    /// The part of the others that does not depend on how full it is: SHA-256 of a token.
    #[divan::bench]
    fn digest(bencher: Bencher) {
        let cache = full_cache(0);
        let token = SAMPLE.token.as_bytes();
        bencher.bench(|| {
            cache.look_up(black_box(token));
        });
    }

    #[divan::bench(args = COUNTS)]
    fn hit(bencher: Bencher, count: usize) {
        // The one that is looked for is in it, too.
        let cache = full_cache(count.max(1));
        let token = stand_in(0);
        bencher.bench(|| cache.look_up(black_box(&token)).get(&SAMPLE.keys).unwrap());
    }

    #[divan::bench(args = COUNTS)]
    fn miss(bencher: Bencher, count: usize) {
        let cache = full_cache(count);
        let token = stand_in(usize::MAX);
        bencher.bench(|| cache.look_up(black_box(&token)).get(&SAMPLE.keys));
    }

    /// At 0 % and 50 % the cache grows meanwhile, by no more than an eighth.
    #[divan::bench(args = COUNTS, sample_size = 1, sample_count = 128)]
    fn insert(bencher: Bencher, count: usize) {
        let cache = full_cache(count);
        let key = SAMPLE
            .verifier
            .read(SAMPLE.token.as_bytes(), SystemTime::now());
        let key = SAMPLE.keys.get(key.unwrap().key_id()).unwrap();
        let claims = Arc::new(SAMPLE.verify(SAMPLE.token.as_bytes()));
        let mut number = count;
        bencher
            .with_inputs(|| {
                number += 1;
                stand_in(number)
            })
            .bench_local_refs(|token| cache.look_up(token).fill(key, &claims));
    }
}
