//! `postern check`: what a start and a first fetch of the keys do, step by step. It stops at no
//! failure, changes nothing, and works beside a server that runs.

mod host;
mod network;

use std::process::ExitCode;

use super::output::{Output, Verdict};
use crate::config::Survey;

/// How many steps there are.
const STEPS: usize = 9;

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
            let domain = &tenant.domain;
            output.verdict(
                Verdict::Ok,
                format_args!("settings: access tokens from https://{domain}/ for {audience}"),
            );
        }
        _ => {
            let are = match survey.problems.len() {
                1 => "one is",
                2 => "two are",
                _ => "several are",
            };
            output.verdict(
                Verdict::Failed,
                format_args!("settings: {are} wrong; postern would not start"),
            );
            for problem in &survey.problems {
                output.more(format_args!("{problem}"));
            }
        }
    }
}

/// How far the check is with so many steps done.
fn how_far(done: usize) -> String {
    format!("{} of {STEPS}", done + 1)
}

/// A step that needs a setting that is wrong.
fn skip(step: &str, output: &Output) {
    output.verdict(
        Verdict::Skipped,
        format_args!("{step}: needs a setting that is wrong"),
    );
}
