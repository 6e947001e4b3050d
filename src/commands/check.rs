//! `postern check`: what a start and a first fetch of the keys do, step by step. It stops at no
//! failure, changes nothing, and works beside a server that runs.

mod host;
mod network;

use std::process::ExitCode;

use super::output::{Output, Verdict};
use crate::config::Survey;

/// Checks the settings, this host, and the way to the tenant. Prints a line for each step, and
/// under each failure what to do. The exit code is 0, or 1 if a step has failed.
pub fn check() -> ExitCode {
    let output = Output::new();
    let survey = Survey::of_environment();
    settings(&survey, &output);
    host::listening_address(&survey, &output);
    host::state_folder(&survey, &output);
    network::steps(&survey, &output);
    host::certificate(&survey, &output);
    ExitCode::from(u8::from(output.has_failed()))
}

fn settings(survey: &Survey, output: &Output) {
    match (&survey.tenant, &survey.audience) {
        (Some(tenant), Some(audience)) if survey.problems.is_empty() => {
            let issuer = tenant.issuer();
            let text = format!("settings: access tokens from {issuer} for {audience}");
            output.verdict(Verdict::Ok, text, &[]);
        }
        _ => {
            let text = match survey.problems.len() {
                1 => "settings: one is wrong; postern would not start".to_owned(),
                count => format!("settings: {count} are wrong; postern would not start"),
            };
            output.verdict(Verdict::Failed, text, &survey.problems);
        }
    }
}

/// A step that needs a setting that is wrong.
fn skip(step: &str, output: &Output) {
    let text = format!("{step}: needs a setting that is wrong");
    output.verdict(Verdict::Skipped, text, &[]);
}
