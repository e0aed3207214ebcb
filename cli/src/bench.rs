//! A load generator for dipc, and for comparison for redis and memcached. It measures requests per second,
//! latency, and the server's CPU time per request.
//!
//! One thread drives all connections ([`load`]). A [`connection`] sends a batch of requests in one write, and
//! waits for all answers to the batch. The [`mix`] selects the requests, one of the [`systems`] encodes them,
//! and [`pacing`] determines when they are sent. Every answer is decoded, and compared with what its request
//! expects.
//!
//! The server and the load generator share the processors. So requests per second depend on both, but the
//! server's CPU time per request depends on the server alone. Compare servers by their CPU time per request.

mod connection;
mod cpu;
mod fairness;
mod inspection;
mod load;
mod memory;
mod mix;
mod options;
mod pacing;
mod percentiles;
mod plan;
mod progress;
mod report;
mod systems;
mod tally;
mod target;

use std::io;
use std::time::{Duration, Instant};

use dipc::client::{Client, Topic};

pub(crate) use options::BenchOptions;

use crate::failure::Failure;
use crate::options::Connection;
use crate::output::Output;
use cpu::{Times, Usage};
use fairness::Fairness;
use load::{Goal, Load};
use mix::Mix;
use plan::Plan;
use report::Report;
use systems::System;
use target::{Target, connection_failure};

/// Default of `--timeout`: longer than the default wait of dipc.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Measures one mix after the other. Returns the highest exit code.
pub(crate) fn run(connection: &Connection, options: &BenchOptions, out: &Output) -> Result<u8, Failure> {
    options.validate()?;
    let silence_max = connection.timeout.unwrap_or(SILENCE_MAX);
    target::reserve_descriptors(options)?;
    let target = Target::find(connection, options.system)?;
    let mut dipc = match options.system {
        System::Dipc => Some(target.address.connect(Some(silence_max))?),
        _ => None,
    };
    // Everything is checked before the first mailbox is overwritten.
    match &mut dipc {
        Some(dipc) => {
            dipc.set_timeout(Some(silence_max))?;
            inspection::inspect(dipc, options)?;
        }
        None => target.inspect(options)?,
    }
    let server = server_process(options, dipc.as_mut())?;
    let mut worst = 0;
    for (number, &mix) in options.mix.iter().enumerate() {
        target.prepare(options, mix)?;
        let code = measure((&target, server), options, mix, silence_max, dipc.as_mut(), |report| {
            match (out.json, options.csv) {
                (true, _) => out.print_json(report.json()),
                (_, true) => out.print_text(&report.csv()[number.min(1)..].join("\n")),
                _ => out.print_text(&report.text()),
            }
        })?;
        worst = worst.max(code);
    }
    Ok(worst)
}

/// Measures one mix, from opening the connections to the report. `server` is the process id of the server, if
/// it is known. Returns the exit code.
fn measure(
    (target, server): (&Target, Option<u32>),
    options: &BenchOptions,
    mix: Mix,
    silence_max: Duration,
    dipc: Option<&mut Client>,
    print: impl FnOnce(&Report) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let idle = target.open_idle(options)?;
    let sockets = (0..options.connections).map(|number| target.dial(number)).collect::<Result<_, _>>()?;
    let plan = Plan::new(options, mix);
    let mut load = Load::new(&plan, sockets, silence_max).map_err(connection_failure)?;

    warm_up(&mut load, options).inspect_err(|_| load.progress.clear()).map_err(connection_failure)?;
    load.progress.begin(mix.name());
    let (before, start) = (Times::now(server), Instant::now());
    let goal = options.period().map_or(Goal::Requests(options.requests.unwrap_or(0)), Goal::Period);
    let measured = load.run(goal, options.batch_rate());
    let (elapsed, requests) = (start.elapsed(), load.tally.requests);
    // Requests without an answer at the end of the run are counted when the answer arrives, with their full
    // latency.
    let drained = measured.and_then(|()| load.drain());
    load.progress.clear();
    drained.map_err(connection_failure)?;
    // The CPU time includes the requests that were in flight when the run ended, so they are counted here.
    let cpu = Usage {
        times: Times::now(server).since(before),
        elapsed: start.elapsed(),
        requests: load.tally.requests,
    };

    load.tally.lost += idle.iter().filter(|socket| !target::is_open(socket)).count() as u64;
    let fairness = match options.fairness {
        true => {
            // The number of overtakes is unknown if the server has ended.
            let stat = dipc.and_then(|dipc| dipc.stat(Topic::Mailbox(0)).ok());
            Some(Fairness::of(&load, mix, stat.and_then(|stat| stat.number("overtakes"))))
        }
        false => None,
    };
    let server_rss_kb = server.and_then(memory::resident_kb);
    let tally = &load.tally;
    let report = Report { options, mix, tally, requests, elapsed, cpu, server_rss_kb, fairness };
    print(&report)?;
    report.write_percentiles()?;
    Ok(report.exit_code())
}

/// Loads the server before the measurement. Afterwards no request is in flight, and all counters are 0.
fn warm_up(load: &mut Load, options: &BenchOptions) -> io::Result<()> {
    if options.warmup().is_zero() {
        return Ok(());
    }
    load.progress.begin("warm-up".to_owned());
    load.run(Goal::Period(options.warmup()), options.batch_rate())?;
    load.drain()?;
    load.restart();
    Ok(())
}

/// The server's process id. `None` if it is not known.
fn server_process(options: &BenchOptions, dipc: Option<&mut Client>) -> Result<Option<u32>, Failure> {
    if let Some(pid) = options.pid {
        let exists = cpu::nanoseconds(pid).is_some();
        let absent = || Failure::Usage(format!("there is no process {pid}"));
        return exists.then_some(Some(pid)).ok_or_else(absent);
    }
    let Some(dipc) = dipc else { return Ok(None) };
    let pid = dipc.stat(Topic::Server)?.number("pid").and_then(|pid| pid.try_into().ok());
    Ok(pid.filter(|pid| cpu::is_dipc(*pid)))
}
