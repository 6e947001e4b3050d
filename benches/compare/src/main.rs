//! Compares postern with the alternatives of its users; `usage.txt` says how. Started by `run`,
//! which also sees to it that no process is left behind.

mod choice;
mod handshakes;
mod load;
mod machine;
mod options;
mod plan;
mod processes;
mod report;
mod servers;
// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../../tests/support/mod.rs"]
mod support;
mod tokens;

use std::process::{ExitCode, Output};
use std::thread;
use std::time::{Duration, Instant};

use options::Options;
use plan::{Condition, Load, Logs, Measurement};
use servers::{Context, Running};

/// Errors are for people.
type Result<T> = std::result::Result<T, String>;

/// What one round found out.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// CPU seconds of the server per 1,000 requests.
    cpu: f64,
    /// The same of the clients.
    load_cpu: f64,
    /// Resident memory in bytes, under load.
    resident: f64,
    /// The length of an answer; nothing for handshakes.
    bytes: f64,
    /// The part of the machine's CPU time that neither the server nor the clients had.
    others: f64,
}

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<()> {
    let options = Options::parse()?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let base = this
        .ancestors()
        .nth(2)
        .ok_or("not in target/compare/release")?;
    eprintln!("signing tokens ...");
    let context = Context::new(options, base.to_owned())?;
    let round = plan::round(&context.options);
    print!("{}", machine::describe(&context)?);
    check_servers(&context, &round)?;
    check_handshakes(&context, &round)?;
    let samples = measure(&context, &round)?;
    print!("{}", report::report(&context, &round, &samples)?);
    Ok(())
}

/// Starts each server once, with and without TLS, and looks at its answers.
fn check_servers(context: &Context, round: &[Measurement]) -> Result<()> {
    for tls in [false, true] {
        let mut reference = None;
        let mut checked = Vec::new();
        let condition = Condition {
            tls,
            ..Condition::with(1)
        };
        for measurement in round {
            let server = measurement.server;
            if measurement.condition.tls != tls || checked.contains(&server) {
                continue;
            }
            let name = server.name(&context.options);
            let name = format!("{name}{}", if tls { " over TLS" } else { "" });
            eprintln!("checking {name} ...");
            let result = Running::start(context, server, condition).and_then(|running| {
                let result = running.check(server, &context.tokens, &mut reference);
                result.map_err(|error| running.with_log(error))
            });
            result.map_err(|error| format!("{name}: {error}"))?;
            checked.push(server);
        }
    }
    Ok(())
}

/// Has each server log its handshakes, and counts them.
fn check_handshakes(context: &Context, round: &[Measurement]) -> Result<()> {
    let loads = round.iter().filter(|m| m.load.is_handshakes());
    for &Measurement {
        condition,
        load,
        server,
    } in loads
    {
        let name = format!("{}, {}", load.name(), server.name(&context.options));
        let condition = Condition {
            logs: Logs::Handshakes,
            ..condition
        };
        let result = Running::start(context, server, condition).and_then(|running| {
            let result = handshakes::check(&running, condition, load);
            result.map_err(|error| running.with_log(error))
        });
        let counts = result.map_err(|error| format!("{name}: {error}"))?;
        eprintln!("checked {name}: the server counted {counts}");
    }
    Ok(())
}

/// The samples of each measurement of `round`.
fn measure(context: &Context, round: &[Measurement]) -> Result<Vec<Vec<Sample>>> {
    let started = Instant::now();
    let mut samples = vec![Vec::new(); round.len()];
    let rounds = context.options.rounds;
    for number in 1..=rounds {
        for (done, at) in plan::order(round, number - 1).into_iter().enumerate() {
            let measurement = &round[at];
            let Measurement {
                condition,
                load,
                server,
            } = measurement;
            let name = format!(
                "{}, {}, {}",
                condition.title(),
                load.name(),
                server.name(&context.options)
            );
            let sample = sample(context, measurement);
            let sample = sample.map_err(|error| format!("{name}: {error}"))?;
            eprintln!(
                "{:5.0} s  round {number} of {rounds}, {} of {}  {:9.0}/s  {name}{}",
                started.elapsed().as_secs_f64(),
                done + 1,
                round.len(),
                sample.per_second,
                match sample.others {
                    0.0..0.1 => String::new(),
                    part => format!("  (others had {:.0} % of the CPU time)", 100.0 * part),
                },
            );
            samples[at].push(sample);
        }
    }
    Ok(samples)
}

fn sample(context: &Context, measurement: &Measurement) -> Result<Sample> {
    let running = Running::start(context, measurement.server, measurement.condition)?;
    sample_from(context, measurement, &running).map_err(|error| running.with_log(error))
}

fn sample_from(
    context: &Context,
    &Measurement {
        condition, load, ..
    }: &Measurement,
    running: &Running,
) -> Result<Sample> {
    let make = |load: Load, seconds, meanwhile: &mut dyn FnMut()| {
        if load.is_handshakes() {
            return handshakes::make(condition, running.addr(), load, seconds, meanwhile);
        }
        let tokens = context.tokens.file(load);
        let target = (running.addr(), servers::path(load));
        load::make(condition, target, tokens.as_deref(), seconds, meanwhile)
    };
    if load == Load::Many {
        make(Load::Cold, 1, &mut || ())?;
    }
    make(load, 1, &mut || ())?;

    let bytes = match load.is_handshakes() {
        true => None,
        false => Some(running.answer_bytes(load, condition.close, &context.tokens)?),
    };
    let seconds = context.options.seconds;
    let mut resident = 0;
    let machine = processes::machine_seconds();
    let before = processes::cpu_seconds(running.pid());
    let (summary, load_cpu) = make(load, seconds, &mut || {
        thread::sleep(Duration::from_secs(seconds) - Duration::from_millis(250));
        resident = processes::resident_bytes(running.pid());
    })?;
    let cpu = processes::cpu_seconds(running.pid()) - before;
    let machine_now = processes::machine_seconds();
    let others = machine_now.used - machine.used - cpu - load_cpu;

    let requests = summary.answers as f64;
    if let Some(bytes) = bytes {
        // The last answers may have been cut off by the end of the load.
        let length = summary.bytes as f64 / requests;
        if (length / bytes as f64 - 1.0).abs() > 0.02 {
            return Err(format!("answers have {length:.1} bytes each, not {bytes}"));
        }
    }
    Ok(Sample {
        per_second: requests / summary.seconds,
        p50_ms: summary.p50_ms,
        p99_ms: summary.p99_ms,
        cpu: 1e3 * cpu / requests,
        load_cpu: 1e3 * load_cpu / requests,
        resident: resident as f64,
        bytes: bytes.unwrap_or_default() as f64,
        others: (others / (machine_now.all - machine.all)).max(0.0),
    })
}

/// What a program that failed left behind.
fn said_by(program: &str, output: &Output) -> String {
    format!(
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
