//! The API with axum and jsonwebtoken, every token verified.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use tracing::{Level, enabled, info};
use tracing_subscriber::EnvFilter;

use crate::common::{Claims, FIXED_HEADERS, Refusal, Verifier};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let listener = tokio::net::TcpListener::bind(common::address())
        .await
        .expect("PORT is free")
        .tap_io(|stream| {
            // Without it an answer waits a little longer; no reason to fail.
            let _ = stream.set_nodelay(true);
        });
    let app = app(Arc::new(Verifier::from_environment()));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.expect("serves");
}

fn app(verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/api/messages/public", get(public).options(options))
        .route("/api/messages/protected", get(protected).options(options))
        .route("/api/messages/admin", get(admin).options(options))
        .fallback(async || (StatusCode::NOT_FOUND, r#"{"message":"Not Found"}"#))
        .method_not_allowed_fallback(async || {
            let body = r#"{"message":"Method Not Allowed"}"#;
            (StatusCode::METHOD_NOT_ALLOWED, body)
        })
        .layer(middleware::from_fn_with_state(fixed_headers(), finish))
        .with_state(verifier)
}

async fn public() -> &'static str {
    common::PUBLIC
}

async fn protected(Caller(claims): Caller) -> Response {
    to(claims, common::PROTECTED)
}

async fn admin(Caller(claims): Caller) -> Result<Response, Refusal> {
    claims.require("read:admin-messages")?;
    Ok(to(claims, common::ADMIN))
}

async fn options() -> impl IntoResponse {
    [(ALLOW, "GET, HEAD, OPTIONS")]
}

/// The holder of a valid token.
struct Caller(Claims);

impl FromRequestParts<Arc<Verifier>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        verifier: &Arc<Verifier>,
    ) -> Result<Caller, Refusal> {
        let header = parts.headers.get(AUTHORIZATION);
        let value = header.map(|value| value.to_str().map_err(|_| Refusal::Malformed));
        verifier.authenticate(value.transpose()?).map(Caller)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).expect("all are valid");
        let challenge = [(WWW_AUTHENTICATE, self.challenge())];
        (status, challenge, self.body()).into_response()
    }
}

/// The subject of a request, for the log.
#[derive(Clone)]
struct Subject(String);

fn to(claims: Claims, body: &'static str) -> Response {
    let mut response = body.into_response();
    if enabled!(Level::INFO)
        && let Some(sub) = claims.sub
    {
        response.extensions_mut().insert(Subject(sub));
    }
    response
}

type Headers = Arc<[(HeaderName, HeaderValue)]>;

fn fixed_headers() -> Headers {
    FIXED_HEADERS
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

/// Puts the headers of every response on, and logs it.
async fn finish(
    State(headers): State<Headers>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next.run(request).await;
    for (name, value) in headers.iter() {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    if enabled!(Level::INFO) {
        let sub = response.extensions().get::<Subject>();
        info!(
            "{peer} {method} {} {} {:.3} ms{}{}",
            uri.path(),
            response.status().as_u16(),
            started.elapsed().as_secs_f64() * 1e3,
            if sub.is_some() { " sub=" } else { "" },
            sub.map_or("", |sub| &sub.0),
        );
    }
    response
}
