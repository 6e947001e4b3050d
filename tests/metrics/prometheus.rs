//! promtool, and a real Prometheus.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::page::block;
use crate::support::admin::{metrics, scrape};
use crate::support::client::{self, Client};
use crate::support::postern::free_addr;
use crate::support::tenant::Behaviour;
use crate::support::{TempDir, wait_until};
use crate::tools::{Running, Watched, run};

/// The alert rules that users get.
const RULES: &str = "systemd/postern.rules.yml";
const TESTS: &str = "tests/metrics/rules.test.yml";

fn promtool() -> Command {
    Command::new("promtool")
}

/// The alert rules, and their tests.
pub fn rules() {
    run(promtool().args(["check", "rules", RULES]));
    let folder = TempDir::new();
    for file in [RULES, TESTS] {
        let name = Path::new(file).file_name().expect("a file");
        fs::copy(file, folder.path().join(name)).expect("both are there");
    }
    let tests = folder.path().join("rules.test.yml");
    run(promtool().args(["test", "rules"]).arg(tests));
}

/// The scrape configuration of docs/monitoring.md, with these rules, this target and this interval.
fn write_configuration(folder: &Path, rules: &str, targets: &str, interval: &str) -> PathBuf {
    let own_rules = folder.join("postern.rules.yml");
    fs::write(&own_rules, rules).expect("the folder takes a file");
    let shown = block("yaml", "scrape_configs:");
    let mut configuration = shown.to_owned();
    for (old, new) in [
        ("/etc/prometheus/postern.rules.yml", own_rules.to_str()),
        ("\"192.0.2.10:9465\", \"192.0.2.11:9465\"", Some(targets)),
        ("15s", Some(interval)),
    ] {
        assert!(shown.contains(old), "docs/monitoring.md has {old}");
        configuration = configuration.replace(old, new.expect("UTF-8"));
    }
    let _ = write!(
        configuration,
        "global:\n  evaluation_interval: {interval}\n"
    );
    let path = folder.join("prometheus.yml");
    fs::write(&path, configuration).expect("the folder takes a file");
    path
}

/// The configuration of docs/monitoring.md.
pub fn configuration() {
    let folder = TempDir::new();
    let rules = fs::read_to_string(RULES).expect("it is there");
    let path = write_configuration(folder.path(), &rules, "\"192.0.2.10:9465\"", "15s");
    run(promtool().args(["check", "config"]).arg(path));
}

/// What a server prints.
pub fn exposition() {
    let watched = Watched::start();
    let folder = TempDir::new();
    let file = folder.path().join("metrics");
    fs::write(&file, &scrape(watched.admin).body).expect("the folder takes a file");
    let input = fs::File::open(&file).expect("it was written");
    let output = run(promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::from(input)));
    // Remarks on style do not fail it.
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
}

/// Scrapes a server, asks for each family, and lets an alert fire.
pub fn scrapes() {
    let watched = Watched::start();
    let folder = TempDir::new();
    // In a test, nobody waits for 15 minutes, nor until keys become stale.
    let rules = fs::read_to_string(RULES).expect("it is there");
    let rules = rules.replace("for: 15m", "for: 1s");
    let target = format!("\"{}\"", watched.admin);
    let configuration = write_configuration(folder.path(), &rules, &target, "1s");
    let addr = free_addr();
    let log = folder.path().join("log");
    let mut prometheus = Running::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}/data",
                folder.path().display()
            ))
            .arg(format!("--web.listen-address={addr}")),
        &log,
    );
    wait_until("Prometheus answers", || {
        prometheus.assert_runs(&log);
        Client::try_connect(addr).is_ok()
    });
    wait_until("the server is scraped", || value(addr, "up") == Some(1.0));
    let exposed = metrics(watched.admin);
    assert!(exposed.families.len() >= 30, "{:?}", exposed.families);
    for (name, kind) in &exposed.families {
        let parts: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for part in parts {
            let series = format!("{name}{part}");
            let count = value(addr, &format!("count({series})"));
            assert!(count >= Some(1.0), "{series}: {count:?}");
        }
    }
    let requests = r#"postern_http_requests_total{route="/api/messages/protected",status="200"}"#;
    assert_eq!(value(addr, requests), Some(2.0));
    let quantile =
        "histogram_quantile(0.9, sum by (le) (postern_http_request_duration_seconds_bucket))";
    assert!(value(addr, quantile) > Some(0.0));
    let firing = r#"ALERTS{alertname="PosternKeysStale",alertstate="firing"}"#;
    assert_eq!(value(addr, firing), None);
    let empty = br#"{"keys":[]}"#.to_vec();
    watched.https.tenant.answer(Behaviour::Body(empty));
    watched.https.postern.signal("HUP");
    wait_until("the alert fires", || value(addr, firing) == Some(1.0));
}

/// The value of a query whose result is one number; none if there is no result.
fn value(addr: SocketAddr, query: &str) -> Option<f64> {
    let mut path = "/api/v1/query?query=".to_owned();
    for byte in query.bytes() {
        let _ = write!(path, "%{byte:02x}");
    }
    let response = loop {
        let response = client::get(addr, &path, &[]);
        // It starts.
        if response.status != 503 {
            break response;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let answer: Value = response.json();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let results = answer["data"]["result"].as_array().expect("a vector");
    assert!(results.len() <= 1, "{query}: {answer}");
    results.first()?["value"][1].as_str()?.parse().ok()
}
