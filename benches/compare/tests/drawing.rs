//! The program, as `run` starts it to draw figures that are kept in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FIGURES: &str = r#"{"machine":{"date":"2026-11-24 10:00 UTC","cpu":"CPU","cores":2,
"kernel":"6.1.0","load":"0 0 0"},"rounds":1,"seconds":1,"measured":[{"name":"postern","server":
{"postern":{"build":0,"large_cache":false}},"condition":{"connections":64,"close":false,"tls":false,
"logs":"warnings"},"load":"warm","samples":[{"per_second":1000.0,"p50_ms":1.0,"p99_ms":1.0,
"cpu_seconds_per_1000":0.1,"clients_cpu_seconds_per_1000":0.1,"resident_bytes":2500000.0,
"answer_bytes":600.0,"cpu_part_of_others":0.0}]}]}"#;

/// A folder of a test's own, and empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn compare(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments).env_remove("NO_COLOR");
    command.env("TERM", "xterm").output().unwrap()
}

#[test]
fn both_pictures_are_drawn_from_a_file() {
    let folder = folder("both");
    let file = folder.join("figures.json");
    fs::write(&file, FIGURES).unwrap();
    let svg = folder.join("new/docs");
    let arguments = [
        "--from",
        file.to_str().unwrap(),
        "--svg",
        svg.to_str().unwrap(),
    ];
    let output = compare(&arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    let read = |name: &str| fs::read_to_string(svg.join(name)).unwrap();
    let drawn = (read("throughput.svg"), read("memory.svg"));
    assert!(drawn.0.contains(">1,000</text>") && drawn.1.contains(">postern 2.4 MiB</text>"));
    compare(&arguments);
    assert_eq!((read("throughput.svg"), read("memory.svg")), drawn);
    // What was not measured is told, and is not drawn.
    fs::remove_file(svg.join("memory.svg")).unwrap();
    fs::write(&file, FIGURES.replace("\"warm\"", "\"public\"")).unwrap();
    let output = compare(&arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        told,
        "memory.svg is not drawn: nothing that it shows was measured\n"
    );
    assert!(output.status.success() && !svg.join("memory.svg").exists());
}

#[test]
fn wrong_options_are_told() {
    for (arguments, says) in [
        (
            &["--from", "/none", "--svg", "/tmp"][..],
            "/none: No such file",
        ),
        (&["--from", "/none"], "--from goes with --svg"),
        (
            &["--from", "/a", "--svg", "/tmp", "--json", "/b"],
            "and not with --json",
        ),
        (&["--from", "/a", "--svg", "/dev/null/x"], "/dev/null/x: "),
        (&["--svg"], "missing argument for option '--svg'"),
        (&[], "each --postern needs a name of its own"),
    ] {
        let output = compare(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("compare: ") && told.contains(says),
            "{told}"
        );
    }
}

#[test]
fn a_terminal_has_colours_unless_they_are_not_wanted() {
    let on_a_terminal = |variable: &str, value: &str| {
        let command = format!("{} --from /none", env!("CARGO_BIN_EXE_compare"));
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env(variable, value)
            .output();
        String::from_utf8(output.expect("Debian has `script`").stdout).unwrap()
    };
    let coloured = on_a_terminal("NO_COLOR", "");
    assert!(
        coloured.starts_with("\x1b[1;31mcompare:\x1b[m --from"),
        "{coloured:?}"
    );
    for plain in [
        on_a_terminal("NO_COLOR", "1"),
        on_a_terminal("TERM", "dumb"),
    ] {
        assert!(plain.starts_with("compare: --from"), "{plain:?}");
    }
}
