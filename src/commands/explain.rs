//! `postern explain`: what a token says, which rules it keeps, and what the server answers to it.
//! The rules, the keys and the answers are the server's own.

mod advice;
mod answers;
mod input;
mod keys;
mod terminal;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use self::answers::Answers;
use super::output::{Output, Verdict};
use crate::auth::verifier::{Examination, Finding};
use crate::auth::{AuthError, Authenticator, Claims, TokenError, Verifier};
use crate::config::Survey;
use crate::http::request::HeadError;
use crate::logging::complain;
use crate::tls::validity::Timestamp;

/// There is no token: `EX_USAGE` of `sysexits.h`.
const EXIT_USAGE: u8 = 64;
/// Whether the token is valid cannot be told at the moment: `EX_TEMPFAIL`.
const EXIT_NO_KEYS: u8 = 75;
/// A setting that is needed is missing or wrong: `EX_CONFIG`.
const EXIT_CONFIG: u8 = 78;

/// Reads a token from standard input and explains it. `is_offline` fetches no keys. The exit code
/// is 0 for a token that is accepted, 1 for one that is refused, 75 if there are no keys to tell,
/// 64 if there is no token, 78 if a setting is missing or wrong.
pub fn explain(is_offline: bool) -> ExitCode {
    let survey = Survey::of_environment();
    let (Some(rules), Some(sources)) = (rules(&survey), keys::Sources::of(&survey)) else {
        survey.problems.iter().for_each(|problem| complain(problem));
        return ExitCode::from(EXIT_CONFIG);
    };
    let token = match input::token() {
        Ok(token) => token,
        Err(fault) => {
            complain(&fault.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let output = Output::new();
    let examination = rules.examine(&token, SystemTime::now());
    print_token(&examination, &output);
    let key_id = examination.key_id.clone();
    let key_id = key_id.as_deref();
    let keys = sources.keys(key_id, is_offline, &output);
    output.line(format_args!("{:12} {}", "keys", keys.standing));
    output.line(format_args!(""));
    let audience = rules.audience().to_owned();
    let signature = keys.signature(&rules, &token, key_id);
    let has_key = key_id.and_then(|id| keys.have(id));
    let authenticator = Authenticator::new(rules, keys.jwks, None);
    let authorization = input::authorization(&token);
    let outcome = authenticator.authenticate([&*authorization].into_iter());
    let answers = Answers::to(authenticator, &token);
    let case = Case {
        examination,
        signature,
        has_key,
        outcome,
        fault: answers.fault,
        audience,
    };
    case.print_rules(&output);
    output.line(format_args!(""));
    answers
        .lines
        .iter()
        .for_each(|line| output.line(format_args!("{line}")));
    output.line(format_args!(""));
    case.conclude(&output)
}

fn rules(survey: &Survey) -> Option<Verifier> {
    let issuer = survey.tenant.as_ref()?.issuer();
    let audience = survey.audience.clone()?;
    Some(Verifier::new(issuer, audience, survey.clock_leeway?))
}

/// What the token says: header, claims and times.
fn print_token(examination: &Examination, output: &Output) {
    let row = |name: &str, text: &str| output.line(format_args!("{name:12} {text}"));
    if let Some(header) = &examination.header {
        row("header", header);
    }
    for (name, text) in &examination.claims {
        row(name, text);
    }
    let now = Timestamp::now().0;
    for (name, time) in &examination.times {
        row(name, &in_words(*time, now));
    }
}

/// A time, and how far it is from now: `2026-11-24T10:00:00Z, 3600 s ago`.
fn in_words(time: f64, now: i64) -> String {
    // The cast saturates.
    let seconds = time as i64;
    let mut words = Timestamp(seconds).to_string();
    // As RFC 3339 has it.
    if let Some(at) = words.strip_suffix(" UTC") {
        words = at.replacen(' ', "T", 1) + "Z";
    }
    let left = seconds.saturating_sub(now);
    let _ = match left {
        0.. => write!(words, ", in {left} s"),
        _ => write!(words, ", {} s ago", left.unsigned_abs()),
    };
    words
}

/// A token, and what there is to say of it.
struct Case {
    examination: Examination,
    /// Whether the signature is that of the key it names; `None` if that cannot be told.
    signature: Option<Result<(), TokenError>>,
    /// Whether the tenant has the key that it names; `None` if that cannot be told.
    has_key: Option<bool>,
    /// What the server makes of it.
    outcome: Result<Arc<Claims>, AuthError>,
    /// Why the server does not even read a request with it.
    fault: Option<HeadError>,
    /// What its `aud` must contain.
    audience: String,
}

impl Case {
    /// Each rule, in the order of the contract, and the signature.
    fn print_rules(&self, output: &Output) {
        for rule in &self.examination.rules {
            let name = rule.name;
            match &rule.finding {
                Finding::Kept(id) if name == "kid" => self.print_key(id, output),
                Finding::Kept(how) if how.is_empty() => {
                    output.verdict(Verdict::Ok, format_args!("{name}"))
                }
                Finding::Kept(how) => {
                    output.verdict(Verdict::Ok, format_args!("{name}: {how}"));
                }
                Finding::Broken(error) => refuse(name, error, output),
                Finding::Unseen => skip(name, "cannot be read", output),
            }
        }
        match &self.signature {
            Some(Ok(())) => output.verdict(Verdict::Ok, format_args!("signature")),
            Some(Err(error)) => refuse("signature", error, output),
            None => skip("signature", "cannot be checked without its key", output),
        }
    }

    /// Whether the tenant has the key that the token names, which is `id` cut to a length.
    fn print_key(&self, id: &str, output: &Output) {
        match self.has_key {
            Some(true) => {
                output.verdict(Verdict::Ok, format_args!("kid: {id}, one of the keys"));
            }
            Some(false) => refuse("kid", &TokenError::UnknownKey(id.to_owned()), output),
            None => skip("kid", "cannot be looked for among the latest keys", output),
        }
    }

    /// The last lines, and the exit code.
    fn conclude(&self, output: &Output) -> ExitCode {
        if let Some(fault) = self.fault {
            output.end(Verdict::Refused, "refused", format_args!(": {fault}"));
            output.line(format_args!("{}", advice::of_head(fault)));
            return ExitCode::FAILURE;
        }
        let refused = match &self.outcome {
            Ok(_) => {
                output.end(Verdict::Ok, "accepted", format_args!(""));
                return ExitCode::SUCCESS;
            }
            // Without keys the server says no more, but no key makes such a token a valid one.
            Err(AuthError::Unavailable(unavailable)) => match self.examination.broken() {
                Some(error) => error.to_string(),
                None => {
                    output.end(
                        Verdict::Warning,
                        "not known",
                        format_args!(": {unavailable}"),
                    );
                    return ExitCode::from(EXIT_NO_KEYS);
                }
            },
            Err(error) => error.to_string(),
        };
        output.end(Verdict::Refused, "refused", format_args!(": {refused}"));
        if let Some(advice) = advice::advice(&self.examination, &self.outcome, &self.audience) {
            output.line(format_args!("{advice}"));
        }
        ExitCode::FAILURE
    }
}

fn refuse(rule: &str, error: &TokenError, output: &Output) {
    output.verdict(Verdict::Refused, format_args!("{rule}: {error}"));
}

fn skip(rule: &str, why: &str, output: &Output) {
    output.verdict(Verdict::Skipped, format_args!("{rule}: {why}"));
}

#[cfg(test)]
mod tests;
