//! What came out, as Markdown tables.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::choice::Other;
use crate::figures::{MIB, QUIET, median, thousands};
use crate::plan::{AXUM, Condition, HANDSHAKES, Load, Measurement, NGINX, OVER_TLS, Server};
use crate::servers::Context;
use crate::{Result, Sample};

/// All tables.
pub fn report(context: &Context, round: &[Measurement], samples: &[Vec<Sample>]) -> Result<String> {
    let results = Results {
        context,
        results: round.iter().copied().zip(samples).collect(),
    };
    let mut text = String::new();
    for condition in results.conditions() {
        results.table(&mut text, condition);
    }
    text.push_str(NOTES);
    results.quiet(&mut text);
    results.sizes(&mut text)?;
    results.targets(&mut text);
    Ok(text)
}

const NOTES: &str = "
Medians of the rounds. CPU: seconds per 1,000 requests, of all processes of the server, and of the
clients, which share the cores with it. RSS: the sum over the server's processes, under load; pages
that processes share count for each. Bytes: of one answer. The last column is the ratio of the
medians of requests per second, the first build of postern divided by this server. In place of a
request there may be a TLS 1.3 handshake on a connection of its own, from connecting until a session
ticket is there; no request follows.
";

struct Results<'a> {
    context: &'a Context,
    results: Vec<(Measurement, &'a Vec<Sample>)>,
}

impl Results<'_> {
    fn conditions(&self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (Measurement { condition, .. }, _) in &self.results {
            if !conditions.contains(condition) {
                conditions.push(*condition);
            }
        }
        conditions
    }

    fn table(&self, text: &mut String, condition: Condition) {
        let _ = write!(
            text,
            "\n## {}\n\n\
             | load | server | requests/s | lowest to highest | p50 ms | p99 ms | CPU \
             | clients' CPU | RSS MiB | bytes | ratio |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            condition.title()
        );
        for (measurement, samples) in &self.results {
            if measurement.condition == condition {
                self.row(text, measurement, samples);
            }
        }
    }

    fn row(&self, text: &mut String, measurement: &Measurement, samples: &[Sample]) {
        let &Measurement {
            condition,
            load,
            server,
        } = measurement;
        let median = |field: fn(&Sample) -> f64| median(samples.iter().map(field));
        let speeds = samples.iter().map(|sample| sample.per_second);
        let first = self.median(condition, load, Server::postern(0), |s| s.per_second);
        let ratio = first.map(|first| first / median(|s| s.per_second));
        let bytes = match load.is_handshakes() {
            true => "–".to_owned(),
            false => format!("{:.0}", median(|s| s.bytes)),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} to {} | {:.3} | {:.3} | {:.4} | {:.4} | {:.1} | {bytes} | {} |",
            load.name(),
            server.name(&self.context.options),
            thousands(median(|s| s.per_second)),
            thousands(speeds.clone().fold(f64::INFINITY, f64::min)),
            thousands(speeds.fold(0.0, f64::max)),
            median(|s| s.p50_ms),
            median(|s| s.p99_ms),
            median(|s| s.cpu),
            median(|s| s.load_cpu),
            median(|s| s.resident) / MIB,
            ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }

    /// How quiet the machine was.
    fn quiet(&self, text: &mut String) {
        let parts = self.results.iter().flat_map(|(_, samples)| samples.iter());
        let parts = parts.map(|sample| 100.0 * sample.others);
        let (usual, most) = (median(parts.clone()), parts.fold(0.0, f64::max));
        let verdict = if usual < QUIET {
            ""
        } else {
            " **The machine was not quiet: no figure here is worth quoting.**"
        };
        let _ = writeln!(
            text,
            "\nOther processes, or the machine's host, had {usual:.0} % of the CPU time (median of \
             all measurements; {most:.0} % at most).{verdict}"
        );
    }

    fn sizes(&self, text: &mut String) -> Result<()> {
        text.push_str("\n## Size on disk\n\n| server | what | bytes |\n|---|---|--:|\n");
        let options = &self.context.options;
        let builds = (0..options.builds.len()).map(Server::postern);
        for server in builds.chain(options.others.iter().copied().map(Server::Other)) {
            let what = match server {
                Server::Other(Other::Nginx) => {
                    "the packages nginx and nginx-common, without libraries"
                }
                Server::Other(Other::Flask) => "virtual environment, without pip and Python",
                _ => "binary",
            };
            let path = self.context.installed(server);
            let size = size(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let name = server.name(options);
            let _ = writeln!(text, "| {name} | {what} | {} |", thousands(size as f64));
        }
        Ok(())
    }

    fn targets(&self, text: &mut String) {
        text.push_str(
            "\n## Targets\n\nRatios of the medians of requests per second, or of what is named.\n",
        );
        self.verdicts(text, RATIOS);
        text.push_str("\n## Also wanted\n");
        self.verdicts(text, OTHERS);
    }

    fn verdicts(&self, text: &mut String, targets: &[Target]) {
        let builds = &self.context.options.builds;
        text.push_str("\n| | wanted |");
        for build in builds {
            let _ = write!(text, " {} |", build.name);
        }
        text.push_str("\n|---|---|");
        text.push_str(&"--:|".repeat(builds.len()));
        text.push('\n');
        for target in targets {
            let (sign, bound) = match target.wanted {
                Wanted::AtLeast(bound) => (">=", bound),
                Wanted::AtMost(bound) => ("<=", bound),
            };
            let _ = write!(text, "| {} | {sign} {bound:.2} |", target.about);
            for build in 0..builds.len() {
                let found = (target.measure)(self, build);
                let _ = write!(text, " {} |", verdict(target.wanted, found));
            }
            text.push('\n');
        }
    }

    /// The median of a field of what was measured; nothing when it was not.
    fn median(
        &self,
        condition: Condition,
        load: Load,
        server: Server,
        field: fn(&Sample) -> f64,
    ) -> Option<f64> {
        let wanted = Measurement {
            condition,
            load,
            server,
        };
        let found = self.results.iter().find(|(m, _)| *m == wanted);
        found.map(|(_, samples)| median(samples.iter().map(field)))
    }

    /// Requests per second, over those of another server under the same load.
    fn speed(&self, condition: Condition, load: Load, build: usize, other: Server) -> Option<f64> {
        let median = |server| self.median(condition, load, server, |s| s.per_second);
        Some(median(Server::postern(build))? / median(other)?)
    }

    /// Requests per second with 256 connections over those with 8.
    fn scaling(&self, load: Load, build: usize) -> Option<f64> {
        let median = |connections| {
            let condition = Condition::with(connections);
            self.median(condition, load, Server::postern(build), |s| s.per_second)
        };
        Some(median(256)? / median(8)?)
    }

    /// The most resident memory of a build with its default cache and so many connections, in
    /// bytes.
    fn most_resident(&self, connections: usize, build: usize) -> Option<f64> {
        let server = Server::postern(build);
        let own = self.results.iter().filter(|(m, _)| {
            let condition = m.condition;
            m.server == server && condition.connections == connections && !condition.tls
        });
        own.map(|(_, samples)| median(samples.iter().map(|s| s.resident)))
            .max_by(f64::total_cmp)
    }

    /// The greatest ratio of a build's resident memory to axum's, where both were measured.
    fn resident_over_axum(&self, build: usize) -> Option<f64> {
        let server = Server::postern(build);
        let own = self.results.iter().filter(|(m, _)| m.server == server);
        own.filter_map(|(m, samples)| {
            let axums = self.median(m.condition, m.load, AXUM, |s| s.resident)?;
            Some(median(samples.iter().map(|s| s.resident)) / axums)
        })
        .max_by(f64::total_cmp)
    }
}

const KEPT: Condition = Condition::with(64);
const CLOSING: Condition = KEPT.closing();

/// A target for postern.
struct Target {
    about: &'static str,
    wanted: Wanted,
    measure: fn(&Results, usize) -> Option<f64>,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// The target ratios: with 64 connections at `warn`, unless the text says
/// otherwise; handshakes as [`HANDSHAKES`] has it.
const RATIOS: &[Target] = &[
    Target {
        about: "public / nginx's fixed answer",
        wanted: Wanted::AtLeast(0.95),
        measure: |results, build| results.speed(KEPT, Load::Public, build, NGINX),
    },
    Target {
        about: "public / axum",
        wanted: Wanted::AtLeast(1.15),
        measure: |results, build| results.speed(KEPT, Load::Public, build, AXUM),
    },
    Target {
        about: "warm / nginx's fixed answer",
        wanted: Wanted::AtLeast(0.80),
        measure: |results, build| results.speed(KEPT, Load::Warm, build, NGINX),
    },
    Target {
        about: "warm / axum",
        wanted: Wanted::AtLeast(3.0),
        measure: |results, build| results.speed(KEPT, Load::Warm, build, AXUM),
    },
    Target {
        about: "cold / axum",
        wanted: Wanted::AtLeast(1.15),
        measure: |results, build| results.speed(KEPT, Load::Cold, build, AXUM),
    },
    Target {
        about: "256 over 8 connections, public",
        wanted: Wanted::AtLeast(0.95),
        measure: |results, build| results.scaling(Load::Public, build),
    },
    Target {
        about: "256 over 8 connections, warm",
        wanted: Wanted::AtLeast(0.95),
        measure: |results, build| results.scaling(Load::Warm, build),
    },
    Target {
        about: "one request per connection, public / axum",
        wanted: Wanted::AtLeast(1.0),
        measure: |results, build| results.speed(CLOSING, Load::Public, build, AXUM),
    },
    Target {
        about: "one request per connection, public / nginx's fixed answer",
        wanted: Wanted::AtLeast(0.9),
        measure: |results, build| results.speed(CLOSING, Load::Public, build, NGINX),
    },
    Target {
        about: "processor time per warm request / axum's",
        wanted: Wanted::AtMost(0.25),
        measure: |results, build| {
            let median = |server| results.median(KEPT, Load::Warm, server, |s| s.cpu);
            Some(median(Server::postern(build))? / median(AXUM)?)
        },
    },
    Target {
        about: "over TLS, warm / nginx's fixed answer",
        wanted: Wanted::AtLeast(0.75),
        measure: |results, build| results.speed(OVER_TLS, Load::Warm, build, NGINX),
    },
    Target {
        about: "full TLS handshakes / nginx's",
        wanted: Wanted::AtLeast(0.8),
        measure: |results, build| results.speed(HANDSHAKES, Load::FullHandshakes, build, NGINX),
    },
    Target {
        about: "resumed TLS handshakes / nginx's",
        wanted: Wanted::AtLeast(0.8),
        measure: |results, build| results.speed(HANDSHAKES, Load::ResumedHandshakes, build, NGINX),
    },
];

const OTHERS: &[Target] = &[
    Target {
        about: "warm, over its own public",
        wanted: Wanted::AtLeast(0.9),
        measure: |results, build| {
            let server = Server::postern(build);
            let median = |load| results.median(KEPT, load, server, |s| s.per_second);
            Some(median(Load::Warm)? / median(Load::Public)?)
        },
    },
    Target {
        about: "many, full cache of 1,024 over one of 100,000 that is not full",
        wanted: Wanted::AtLeast(0.95),
        measure: |results, build| {
            let large_cache = true;
            let roomy = Server::Postern { build, large_cache };
            results.speed(KEPT, Load::Many, build, roomy)
        },
    },
    Target {
        about: "RSS, 64 connections, the worst load, MiB",
        wanted: Wanted::AtMost(8.0),
        measure: |results, build| Some(results.most_resident(64, build)? / MIB),
    },
    Target {
        about: "RSS, 256 connections, the worst load, MiB",
        wanted: Wanted::AtMost(8.0),
        measure: |results, build| Some(results.most_resident(256, build)? / MIB),
    },
    Target {
        about: "RSS, over axum's under the same load, the worst load",
        wanted: Wanted::AtMost(1.0),
        measure: |results, build| results.resident_over_axum(build),
    },
];

fn verdict(wanted: Wanted, found: Option<f64>) -> String {
    let Some(found) = found else {
        return "not measured".to_owned();
    };
    let is_met = match wanted {
        Wanted::AtLeast(bound) => found >= bound,
        Wanted::AtMost(bound) => found <= bound,
    };
    format!("{found:.2} {}", if is_met { "met" } else { "**missed**" })
}

/// The bytes of a file, or of all files in a folder.
fn size(path: &Path) -> std::io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size(&entry?.path())?;
    }
    Ok(bytes)
}
