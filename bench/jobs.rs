//! Measures what a job costs a server: a message is put, taken and done. Compares `take` with `ttl=` and
//! `done` with plain `take`, and with reserve and delete of beanstalkd. The runs of all kinds alternate, and
//! medians are printed.
//!
//! ```text
//! beanstalkd -l 127.0.0.1 -p 11300 &
//! dipc 1 1024 5000 1024 --foreground &
//! cargo run --release --example jobs -- --dipc 5000 PID --beanstalkd 11300 PID
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

#[derive(Parser)]
struct Options {
    /// TCP port and process id of dipc
    #[arg(long, num_args = 2, value_names = ["PORT", "PID"])]
    dipc: Vec<u32>,
    /// TCP port and process id of beanstalkd
    #[arg(long, num_args = 2, value_names = ["PORT", "PID"])]
    beanstalkd: Vec<u32>,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Runs of each kind
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of a run
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// `put`, `take`.
    Take,
    /// `put`, `take` with `ttl=`, `done`.
    TakeDone,
    /// put, reserve, delete.
    Reserve,
}

/// The next request of a connection.
#[derive(Clone, Copy)]
enum Step {
    Put,
    Take,
    /// With the version or the id of the message.
    End(u64),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Take => "dipc: put, take",
            Kind::TakeDone => "dipc: put, take ttl=, done",
            Kind::Reserve => "beanstalkd: put, reserve, delete",
        }
    }

    fn request(self, step: Step, data: &str) -> String {
        let size = data.len();
        match (self, step) {
            (Kind::Reserve, Step::Put) => format!("put 0 0 120 {size}\r\n{data}\r\n"),
            (Kind::Reserve, Step::Take) => "reserve\r\n".into(),
            (Kind::Reserve, Step::End(id)) => format!("delete {id}\r\n"),
            (_, Step::Put) => format!("put 0 {size}\n{data}\n"),
            (Kind::Take, Step::Take) => "take 0\n".into(),
            (_, Step::Take) => "take 0 ttl=60\n".into(),
            (_, Step::End(version)) => format!("done 0 v={version}\n"),
        }
    }

    /// The step after the one with this answer. `None`: the answer is incomplete.
    fn next(self, step: Step, answer: &[u8], size: usize) -> io::Result<Option<Step>> {
        let Some(end) = answer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = String::from_utf8_lossy(&answer[..end]);
        let mut words = line.trim_end().split(' ');
        let ending = if self == Kind::Reserve { 2 } else { 1 };
        match (words.next(), step) {
            (Some("OK" | "INSERTED"), Step::Put) => Ok(Some(Step::Take)),
            (Some("OK" | "DELETED"), Step::End(_)) => Ok(Some(Step::Put)),
            (Some("DATA" | "RESERVED"), Step::Take) if answer.len() < end + 1 + size + ending => Ok(None),
            (Some("DATA"), Step::Take) if self == Kind::Take => Ok(Some(Step::Put)),
            (Some("DATA"), Step::Take) => {
                Ok(words.find_map(|word| word.strip_prefix("v=")?.parse().ok()).map(Step::End))
            }
            (Some("RESERVED"), Step::Take) => Ok(words.next().and_then(|id| id.parse().ok()).map(Step::End)),
            _ => Err(Error::new(ErrorKind::InvalidData, line.into_owned())),
        }
    }
}

struct Client {
    stream: TcpStream,
    step: Step,
    answer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut kinds = Vec::new();
    if let [port, pid] = options.dipc[..] {
        kinds.extend([(Kind::Take, port, pid), (Kind::TakeDone, port, pid)]);
    }
    if let [port, pid] = options.beanstalkd[..] {
        kinds.push((Kind::Reserve, port, pid));
    }
    let mut results: BTreeMap<Kind, Vec<(f64, f64)>> = BTreeMap::new();
    for _ in 0..options.rounds {
        for (kind, port, pid) in &kinds {
            results.entry(*kind).or_default().push(run(*kind, *port, *pid, &options)?);
        }
    }
    for (kind, runs) in &results {
        let rate = median(runs.iter().map(|(rate, _)| *rate));
        let cpu = median(runs.iter().map(|(_, cpu)| *cpu));
        println!("{:34} {rate:>8.0} jobs/s {cpu:>7.2} us of the server for a job", kind.name());
    }
    for (above, below) in [(Kind::TakeDone, Kind::Take), (Kind::TakeDone, Kind::Reserve)] {
        let (Some(above_runs), Some(below_runs)) = (results.get(&above), results.get(&below)) else {
            continue;
        };
        let ratios = above_runs.iter().zip(below_runs).map(|((_, above), (_, below))| above / below);
        println!("ratio of the processor time of {:?} to {:?}: {:.2}", above, below, median(ratios));
    }
    Ok(())
}

/// One run. Returns the jobs per second, and the processor time of the server for each in microseconds.
fn run(kind: Kind, port: u32, pid: u32, options: &Options) -> io::Result<(f64, f64)> {
    let data = "x".repeat(options.size);
    let mut poll = Poll::new()?;
    let mut clients = (0..options.clients)
        .map(|number| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            stream.write_all(kind.request(Step::Put, &data).as_bytes())?;
            Ok(Client { stream, step: Step::Put, answer: Vec::new() })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut events = Events::with_capacity(1024);
    let (started, used) = (Instant::now(), processor_time(pid)?);
    let end = started + Duration::from_secs_f64(options.seconds);
    let mut jobs = 0;
    // Each client finishes its job, so that the next run finds no messages.
    let mut busy = clients.len();
    while busy > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        if events.is_empty() {
            return Err(Error::new(ErrorKind::TimedOut, "no answer"));
        }
        for event in &events {
            let client = &mut clients[event.token().0];
            // No second read: there is no data behind an answer, and the next answer is an event of its own.
            let Some(step) = answered(client, kind, options.size)? else { continue };
            client.step = step;
            if let Step::Put = step {
                jobs += 1;
                if Instant::now() >= end {
                    busy -= 1;
                    continue;
                }
            }
            client.stream.write_all(kind.request(step, &data).as_bytes())?;
        }
    }
    let used = processor_time(pid)? - used;
    Ok((f64::from(jobs) / started.elapsed().as_secs_f64(), used.as_secs_f64() * 1e6 / f64::from(jobs)))
}

/// Reads from a client. Returns its next step if its answer is complete.
fn answered(client: &mut Client, kind: Kind, size: usize) -> io::Result<Option<Step>> {
    let mut buffer = [0; 64 * 1024];
    match client.stream.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            client.answer.extend_from_slice(&buffer[..read]);
            let next = kind.next(client.step, &client.answer, size)?;
            if next.is_some() {
                client.answer.clear();
            }
            Ok(next)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The processor time of all threads of a process.
fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += first.ok_or(ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
