//! A load generator for dipc, and for redis and memcached beside it: how many requests in a second, how long one takes,
//! and how much CPU time it costs the server.
//!
//! One thread drives all connections ([`load`]); each sends a batch in one write and awaits all its answers
//! ([`connection`]). What is asked is a [`mix`] of requests in the words of one of the [`systems`]; when, is a matter of
//! [`pacing`]. Every answer is decoded, and must be the one that its request asked for.
//!
//! Where server and load share the processors, requests in a second say as much about the load as about the server; CPU
//! time per request does not, so compare by that.

mod connection;
mod cpu;
mod fairness;
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

pub use options::BenchOptions;

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

/// The longest silence of a server under load, unless told otherwise: a dipc's wait, and a bit.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// What a message costs in a mailbox besides its data, at most, in bytes.
const MESSAGE_HEAD: usize = 8;

/// Measures one mix after the other; the worst exit code.
pub fn run(connection: &Connection, options: &BenchOptions, out: &Output) -> Result<u8, Failure> {
    options.validate()?;
    let silence_max = connection.timeout.unwrap_or(SILENCE_MAX);
    target::reserve_descriptors(options)?;
    let target = Target::find(connection, options.system)?;
    let mut dipc = match options.system {
        System::Dipc => Some(target.address.connect(Some(silence_max))?),
        _ => None,
    };
    if let Some(dipc) = &mut dipc {
        dipc.set_timeout(Some(silence_max))?;
    }
    let mut worst = 0;
    for (number, &mix) in options.mix.iter().enumerate() {
        if let Some(dipc) = dipc.as_mut().filter(|_| mix == Mix::PutTake) {
            check_room(dipc, options)?;
        }
        target.prepare(options, mix)?;
        let code = measure(&target, options, mix, silence_max, dipc.as_mut(), |report| {
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

/// One mix, from opening the connections to the report; its exit code.
fn measure(
    target: &Target,
    options: &BenchOptions,
    mix: Mix,
    silence_max: Duration,
    mut dipc: Option<&mut Client>,
    print: impl FnOnce(&Report) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let server = server_process(options, dipc.as_deref_mut())?;
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
    // Those that were not answered yet count as well, each with the time that it takes in the end.
    let drained = measured.and_then(|()| load.drain());
    load.progress.clear();
    drained.map_err(connection_failure)?;
    // The server has worked on all of these, however many of them were under way when the time was over.
    let cpu = Usage {
        times: Times::now(server).since(before),
        elapsed: start.elapsed(),
        requests: load.tally.requests,
    };

    load.tally.lost += idle.iter().filter(|socket| !target::is_open(socket)).count() as u64;
    let fairness = match options.fairness {
        true => {
            // A server that has ended meanwhile does not say.
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

/// Ends with nothing to be answered, and nothing counted.
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

/// Whose CPU time and memory are the server's; None: nobody knows.
fn server_process(options: &BenchOptions, dipc: Option<&mut Client>) -> Result<Option<u32>, Failure> {
    if let Some(pid) = options.pid {
        let is_there = cpu::nanoseconds(pid).is_some();
        let absent = || Failure::Usage(format!("there is no process {pid}"));
        return is_there.then_some(Some(pid)).ok_or_else(absent);
    }
    let Some(dipc) = dipc else { return Ok(None) };
    let pid = dipc.stat(Topic::Server)?.number("pid").and_then(|pid| pid.try_into().ok());
    Ok(pid.filter(|pid| cpu::is_dipc(*pid)))
}

/// Every connection may have put its message and taken none yet; if one had to wait for room, all would, for ever.
fn check_room(dipc: &mut Client, options: &BenchOptions) -> Result<(), Failure> {
    let messages = options.connections.div_ceil(options.mailboxes) + 1;
    let (needed, size) = ((messages * (options.size + MESSAGE_HEAD)) as u64, dipc.hello(None)?.size);
    if needed > size {
        let text = format!(
            "put-take needs {needed} bytes in each mailbox, which has {size}: lower -c or -d, or raise --mailboxes"
        );
        return Err(Failure::Usage(text));
    }
    Ok(())
}
