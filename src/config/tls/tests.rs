use std::fs;

use crate::config::{Config, ConfigError};
use crate::tls::testing::Folder;
use crate::tls::testing::certificates::ServerFiles;

fn with(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let tenant = [
        ("AUTH0_DOMAIN", "tenant.eu.auth0.com"),
        ("AUTH0_AUDIENCE", "https://api.example.com"),
    ];
    let vars = tenant.iter().chain(vars);
    Config::from_vars(vars.map(|&(name, value)| (name.to_owned(), value.to_owned())))
}

#[track_caller]
fn assert_problems(vars: &[(&str, &str)], expected: &[&str]) {
    let error = with(vars).expect_err("the settings were taken").to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{expected:?}: {line}");
    }
}

#[test]
fn without_both_there_is_no_tls() {
    assert!(with(&[]).unwrap().tls.is_none());
    let empty = [("TLS_CERTIFICATE_FILE", ""), ("TLS_KEY_FILE", "")];
    assert!(with(&empty).unwrap().tls.is_none());
}

#[test]
fn one_needs_the_other() {
    assert_problems(
        &[("TLS_CERTIFICATE_FILE", "/x")],
        &["TLS_CERTIFICATE_FILE is \"/x\": it needs TLS_KEY_FILE, which is not set; write"],
    );
    assert_problems(
        &[("TLS_KEY_FILE", "/x"), ("TLS_CERTIFICATE_FILE", "")],
        &["TLS_KEY_FILE is \"/x\": it needs TLS_CERTIFICATE_FILE, which is not set; write"],
    );
    // A value that is no path is one problem, not two.
    for name in ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"] {
        let expected = format!("{name} is \" /x\": write it without spaces around it: /x");
        assert_problems(&[(name, " /x")], &[&expected]);
    }
    assert_problems(
        &[
            ("TLS_KEY_FILE", "'/x'"),
            ("TLS_CERTIFICATE_FILE", "/nonexistent"),
        ],
        &["TLS_KEY_FILE is \"'/x'\": write it without quotes around it: /x"],
    );
}

#[test]
fn the_files_are_read() {
    let folder = Folder::new();
    let files = ServerFiles::new(folder.path());
    let (certificate, key) = (files.certificate.to_str(), files.key.to_str());
    let vars = [
        ("TLS_CERTIFICATE_FILE", certificate.unwrap()),
        ("TLS_KEY_FILE", key.unwrap()),
    ];
    assert!(with(&vars).unwrap().tls.is_some());
    fs::write(&files.key, "").unwrap();
    let key_fault = format!("TLS_KEY_FILE is \"{}\": it is empty", files.key.display());
    assert_problems(&vars, &[&key_fault]);
    // Together with the others.
    let [certificate, key] = vars;
    assert_problems(
        &[certificate, key, ("PORT", "x")],
        &["PORT is \"x\"", &key_fault],
    );
}
