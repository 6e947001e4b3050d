//! Puts into the program which source it was built from: its date, and its commit.
//!
//! A correct clock is never earlier than that date. The date of the build would make two builds of
//! one source differ.

use std::path::Path;
use std::process::Command;

/// The date of this release, for a source tree without Git history.
const RELEASE_DATE: u64 = 1_793_491_200; // 2026-11-01

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // These files change with every commit. They do not exist without history.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && std::fs::exists(&path).unwrap_or(false)
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let date = given_date().or_else(commit_date).unwrap_or(RELEASE_DATE);
    println!("cargo::rustc-env=POSTERN_SOURCE_DATE={date}");
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=POSTERN_VERSION={version}");
}

/// <https://reproducible-builds.org/specs/source-date-epoch/>
fn given_date() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

fn commit_date() -> Option<u64> {
    git(&["log", "-1", "--format=%ct"])?.parse().ok()
}

/// The first digits of the commit. None for a source without history of its own, such as a copy of
/// it in another project's repository. How many digits Git takes for short depends on the clone.
fn commit() -> Option<String> {
    let folder = git(&["rev-parse", "--show-toplevel"])?;
    let own = Path::new(&folder).canonicalize().ok()? == Path::new(".").canonicalize().ok()?;
    let commit = own.then(|| git(&["rev-parse", "HEAD"]))??;
    commit.get(..12).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
