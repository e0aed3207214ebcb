//! A load generator for dipc, and for redis and memcached beside it: how many requests per second a server answers,
//! how long a round trip takes, and how much CPU time a request costs the server.
//!
//! ```text
//! cargo run --release --example load -- --port 4000 --pid PID -c 50 -P 1 -d 100 -t r
//! ```
//!
//! It is a closed loop on one thread: every connection sends a batch of `-P` requests in one write, waits for all the
//! answers, and sends the next batch. Latency is the round trip of a batch. Where server and load share the CPUs, requests
//! per second say as much about the load as about the server; CPU time per request does not, so compare by that.
//!
//! Every answer is decoded and must be the one that its request asked for. Exit code 0: all is well; 1: an ERR, a lost
//! connection or a malformed answer; 2: usage.

use std::fs;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use mio::{Events, Interest, Poll, Token, event::Event, unix::SourceFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slab::Slab;
use socket2::{Domain, SockAddr, Socket, Type};

/// Bytes of a message's data, of a batch of them, of an answer's first line, and of one read.
const MAX_SIZE: usize = 16 << 20;
const MAX_BATCH: usize = 64 << 20;
const MAX_LINE: usize = 4096;
const SCRATCH: usize = 64 << 10;
/// Connections from one source address: Linux has 28,000 ephemeral ports for each.
const PER_SOURCE: usize = 20_000;
/// Descriptors for everything but the connections under load and the idle ones.
const OTHER_DESCRIPTORS: usize = 32;
/// The longest wait for a connect, and for an answer before the load begins.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures a mailbox server, or redis or memcached, under load on the loopback interface.
#[derive(Parser)]
struct Options {
    /// The server's protocol; mailbox N is the key box:N of redis and memcached
    #[arg(long, value_enum, default_value = "dipc")]
    system: System,
    /// The server's address, which must be a loopback one
    #[arg(long, default_value = "127.0.0.1", value_parser = loopback)]
    host: IpAddr,
    /// The server's TCP port
    #[arg(long, required_unless_present = "unix")]
    port: Option<u16>,
    /// The server's Unix socket, instead of host and port
    #[arg(long, conflicts_with_all = ["host", "port"])]
    unix: Option<PathBuf>,
    /// The server's process, to report its CPU time per request
    #[arg(long)]
    pid: Option<u32>,
    /// Connections that send requests
    #[arg(short, long, default_value_t = 50, value_parser = within::<1, 200_000>)]
    connections: usize,
    /// Requests in a batch, which is sent in one write
    #[arg(short = 'P', long, default_value_t = 1, value_parser = within::<1, 10_000>)]
    pipeline: usize,
    /// Bytes of data in a message
    #[arg(short = 'd', long, default_value_t = 100, value_parser = within::<0, MAX_SIZE>)]
    size: usize,
    /// Mailboxes to use, 0 to N-1; each connection takes them in turn and begins with another one
    #[arg(long, default_value_t = 1, value_parser = within::<1, 100_000>)]
    mailboxes: usize,
    /// Only reads, only writes, 90 % reads, or 50 % reads
    #[arg(short = 't', long, value_enum, default_value = "r")]
    mix: Mix,
    /// Seconds to measure
    #[arg(long, default_value_t = 5, value_parser = within::<1, 600>)]
    seconds: usize,
    /// Seconds under load before measuring
    #[arg(long, default_value_t = 1, value_parser = within::<0, 600>)]
    warmup: usize,
    /// Connections besides, each of which sends one ping and then rests
    #[arg(long, default_value_t = 0, value_parser = within::<0, 200_000>)]
    idle: usize,
}

/// The discriminant is the percentage of reads.
#[derive(Clone, Copy, ValueEnum, Debug)]
enum Mix {
    R = 100,
    W = 0,
    Rw90 = 90,
    Rw50 = 50,
}

fn loopback(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "not an IP address")?;
    address.is_loopback().then_some(address).ok_or("not a loopback address".into())
}

fn within<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
    number.ok_or(format!("not a number from {MIN} to {MAX}"))
}

fn main() -> ExitCode {
    let all_well = measure(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("load: {error}");
        false
    });
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A whole run with its report; true when the server did all that was asked.
fn measure(options: &Options) -> io::Result<bool> {
    check_limits(options)?;
    let bench = Bench::new(options)?;
    write_every_mailbox(&bench)?;
    let idle = open_idle(options)?;
    let mut load = Load::open(bench)?;

    load.run(Duration::from_secs(options.warmup as u64))?;
    load.bench.tally.restart();
    let cpu_times = || -> io::Result<[f64; 2]> {
        let server = options.pid.map_or(Ok(f64::NAN), |pid| cpu_ns(&pid.to_string()))?;
        Ok([server, cpu_ns("self")?])
    };
    let (start, cpu) = (Instant::now(), cpu_times()?);
    load.run(Duration::from_secs(options.seconds as u64))?;
    let (elapsed, cpu_after) = (start.elapsed(), cpu_times()?);

    // Whoever was never served counts as well: the batches without an answer are as old as this, and getting older.
    let oldest = load.connections.iter().map(|(_, connection)| connection.asked_at.elapsed()).max();
    let tally = &mut load.bench.tally;
    tally.longest = tally.longest.max(oldest.unwrap_or_default().as_nanos() as u64);
    tally.lost += idle.iter().filter(|socket| !is_open(socket)).count();
    report(options, tally, elapsed, [0, 1].map(|who| cpu_after[who] - cpu[who]));
    Ok(tally.errors == 0 && tally.lost == 0)
}

fn check_limits(options: &Options) -> io::Result<()> {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    if (options.connections + options.idle + OTHER_DESCRIPTORS) as u64 > files {
        return refuse(format!("so many connections need more than {files} open files (ulimit -Hn)"));
    }
    if options.pipeline * options.size > MAX_BATCH {
        return refuse(format!("a batch of more than {MAX_BATCH} bytes: lower -P or -d"));
    }
    Ok(())
}

/// So that every read finds data of the size that is asked for.
fn write_every_mailbox(bench: &Bench) -> io::Result<()> {
    let mut socket = dial(bench.options, 0)?;
    for (_, write) in &bench.requests {
        exchange(&mut socket, bench.options.system, &[write.as_bytes(), &bench.data].concat())?;
    }
    Ok(())
}

fn open_idle(options: &Options) -> io::Result<Vec<Socket>> {
    let open = |number| {
        let mut socket = dial(options, options.connections + number)?;
        let [ping, ..] = options.system.words();
        exchange(&mut socket, options.system, ping.as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..options.idle).map(open).collect()
}

/// A connection at rest has nothing to read; if it has, the server is closing it.
fn is_open(mut socket: &Socket) -> bool {
    socket.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends a request that a plain OK answers, and waits for that.
fn exchange(socket: &mut Socket, system: System, request: &[u8]) -> io::Result<()> {
    socket.write_all(request)?;
    let (mut input, mut buffer) = (Vec::new(), [0; MAX_LINE]);
    loop {
        let length = socket.read(&mut buffer)?;
        input.extend_from_slice(&buffer[..length]);
        match system.decode(&input)? {
            Some((Answer::Ok, _)) => return Ok(()),
            None if length > 0 => continue,
            None => return Err(ErrorKind::UnexpectedEof.into()),
            Some((other, _)) => return Err(malformed(&format!("{other:?} before the load began"))),
        }
    }
}

/// Opens the connection of this number, blocking, with a bound on every wait.
fn dial(options: &Options, number: usize) -> io::Result<Socket> {
    let target = match &options.unix {
        Some(path) => SockAddr::unix(path)?,
        None => SocketAddr::new(options.host, options.port.unwrap_or_default()).into(),
    };
    let socket = Socket::new(target.domain(), Type::STREAM, None)?;
    if target.domain() != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        // Close with a reset: thousands of sockets in TIME_WAIT would leave the next run without ports.
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if target.is_ipv4() && number >= PER_SOURCE {
        let source = u32::from(Ipv4Addr::LOCALHOST) + (number / PER_SOURCE) as u32;
        socket.bind(&SocketAddr::from((Ipv4Addr::from(source), 0)).into())?;
    }
    socket.set_read_timeout(Some(SETUP_TIMEOUT))?;
    // This bounds the connect, too, when the server's backlog is full.
    socket.set_write_timeout(Some(SETUP_TIMEOUT))?;
    let context = |error: Error| Error::new(error.kind(), format!("connection {number}: {error}"));
    socket.connect(&target).map_err(context)?;
    Ok(socket)
}

/// CPU time of all threads of a process, in ns.
fn cpu_ns(process: &str) -> io::Result<f64> {
    let context = |error: Error| Error::new(error.kind(), format!("CPU time of process {process}: {error}"));
    let mut total = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).map_err(context)? {
        // A thread may end between the listing and this.
        let schedstat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        total += schedstat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(total)
}

fn report(options: &Options, tally: &Tally, elapsed: Duration, cpu: [f64; 2]) {
    let Options { system, mix, connections, pipeline, size, mailboxes, idle, .. } = options;
    let Tally { requests, refusals, errors, lost, first_failure, .. } = tally;
    let rate = *requests as f64 / elapsed.as_secs_f64();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|fraction| tally.latency(fraction) as f64 / 1000.0);
    let [server, own] = cpu.map(|ns| ns / 1000.0 / *requests as f64);
    let [server_load, own_load] = cpu.map(|ns| 100.0 * ns / elapsed.as_nanos() as f64);
    // One print, hence one write: a reader that wants the first line alone may close the pipe after it.
    println!(
        "system={system:?} mix={mix:?} c={connections} P={pipeline} d={size} mailboxes={mailboxes} idle={idle} \
         rps={rate:.0} p50_us={p50:.1} p99_us={p99:.1} max_us={max:.1} server_us={server:.3} own_us={own:.3} \
         no={refusals} err={errors} lost={lost}\n  \
         requests  {rate:.0}/s, {requests} in {:.2} s\n  \
         latency   p50 {p50:.1}, p99 {p99:.1}, max {max:.1} µs for a batch of {pipeline}\n  \
         server    {server:.3} µs CPU per request, {server_load:.0} % of a CPU (NaN without --pid)\n  \
         load      {own:.3} µs CPU per request, {own_load:.0} % of a CPU\n  \
         answers   NO {refusals}, ERR {errors}, connections lost {lost} (warm-up included)\n  \
         failure   {}",
        elapsed.as_secs_f64(),
        first_failure.as_deref().unwrap_or("none")
    );
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum System {
    Dipc,
    Redis,
    Memcached,
}

impl System {
    /// A read of a mailbox, and a write as far as its data.
    fn requests(self, mailbox: usize, size: usize) -> (String, String) {
        let key = format!("box:{mailbox}");
        let bulk = format!("${}\r\n{key}\r\n", key.len());
        match self {
            System::Dipc => (format!("r {mailbox}\n"), format!("w {mailbox} {size}\n")),
            System::Redis => {
                (format!("*2\r\n$3\r\nGET\r\n{bulk}"), format!("*3\r\n$3\r\nSET\r\n{bulk}${size}\r\n"))
            }
            System::Memcached => (format!("get {key}\r\n"), format!("set {key} 0 0 {size}\r\n")),
        }
    }

    /// A ping, the end of a line, and what follows the data of an answer.
    fn words(self) -> [&'static str; 3] {
        match self {
            System::Dipc => ["ping\n", "\n", "\n"],
            System::Redis => ["*1\r\n$4\r\nPING\r\n", "\r\n", "\r\n"],
            System::Memcached => ["version\r\n", "\r\n", "\r\nEND\r\n"],
        }
    }

    /// Decodes the answer at the front of `input`, and says how many bytes it takes; None: it has not all arrived.
    fn decode(self, input: &[u8]) -> io::Result<Option<(Answer, usize)>> {
        let Some(end) = input.iter().position(|&byte| byte == b'\n').filter(|&end| end < MAX_LINE) else {
            return if input.len() < MAX_LINE { Ok(None) } else { Err(malformed("an endless line")) };
        };
        let (line, rest) = input.split_at(end + 1);
        let answer = self.decode_line(line).ok_or_else(|| malformed(&String::from_utf8_lossy(line)))?;
        let Answer::Data(length) = answer else { return Ok(Some((answer, line.len()))) };
        let [.., trailer] = self.words();
        match rest.get(length..length + trailer.len()) {
            None => Ok(None),
            Some(seen) if seen == trailer.as_bytes() => Ok(Some((answer, line.len() + length + seen.len()))),
            Some(_) => Err(malformed("data without its end")),
        }
    }

    fn decode_line(self, line: &[u8]) -> Option<Answer> {
        let [_, eol, _] = self.words();
        let line = str::from_utf8(line).ok()?.strip_suffix(eol)?;
        let mut words = line.split(' ');
        let first = words.next()?;
        let data = |length: &str| length.parse().ok().filter(|&n| n <= MAX_SIZE).map(Answer::Data);
        match (self, first) {
            (System::Dipc, "OK") | (System::Memcached, "STORED" | "VERSION") => Some(Answer::Ok),
            (System::Redis, _) if first.starts_with('+') => Some(Answer::Ok),
            (System::Dipc, "NO") | (System::Redis, "$-1") | (System::Memcached, "END") => Some(Answer::No),
            (System::Dipc, "DATA") => data(words.next()?),
            (System::Redis, _) if first.starts_with('$') => data(&first[1..]),
            (System::Memcached, "VALUE") => data(words.nth(2)?),
            (System::Dipc, "ERR") => Some(Answer::Error(line.to_owned())),
            (System::Redis, _) if first.starts_with('-') => Some(Answer::Error(line.to_owned())),
            (System::Memcached, _) if first.ends_with("ERROR") => Some(Answer::Error(line.to_owned())),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Answer {
    Ok,
    Data(usize),
    No,
    Error(String),
}

/// The server broke its protocol. This ends the run; any other error only loses a connection.
fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("unexpected answer: {what}"))
}

/// What was answered, and in what time.
#[derive(Default)]
struct Tally {
    requests: u64,
    refusals: u64,
    errors: u64,
    first_failure: Option<String>,
    lost: usize,
    /// How many batches took how many ns. Log-linear: 64 buckets to every power of two, at most 1.6 % too low.
    latencies: Vec<u64>,
    longest: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally { latencies: vec![0; 64 * 59], ..Tally::default() }
    }

    /// Forgets the warm-up, but not what failed in it.
    fn restart(&mut self) {
        (self.requests, self.longest) = (0, 0);
        self.latencies.fill(0);
    }

    fn count(&mut self, answer: Answer, is_read: bool, size: usize) -> io::Result<()> {
        self.requests += 1;
        match answer {
            Answer::Data(length) if is_read && length == size => {}
            Answer::Ok if !is_read => {}
            Answer::No => self.refusals += 1,
            Answer::Error(line) => {
                self.errors += 1;
                self.first_failure.get_or_insert(line);
            }
            other if is_read => return Err(malformed(&format!("{other:?} to a read of {size} bytes"))),
            other => return Err(malformed(&format!("{other:?} to a write"))),
        }
        Ok(())
    }

    fn record(&mut self, ns: u64) {
        let shift = ns.checked_ilog2().unwrap_or(0).saturating_sub(6);
        self.latencies[64 * shift as usize + (ns >> shift) as usize] += 1;
        self.longest = self.longest.max(ns);
    }

    /// The latency in ns that this fraction of the batches did not exceed.
    fn latency(&self, fraction: f64) -> u64 {
        let mut left = (self.latencies.iter().sum::<u64>() as f64 * fraction) as u64;
        for (index, &count) in self.latencies.iter().enumerate() {
            if left < count {
                let shift = (index / 64).saturating_sub(1);
                return ((index - 64 * shift) as u64) << shift;
            }
            left -= count;
        }
        self.longest
    }
}

/// What all connections share, one after the other.
struct Bench<'a> {
    options: &'a Options,
    /// The bytes of all requests, made before the load begins; a write is followed by the data.
    requests: Vec<(String, String)>,
    data: Vec<u8>,
    tally: Tally,
    poll: Poll,
    scratch: Vec<u8>,
}

impl Bench<'_> {
    fn new(options: &Options) -> io::Result<Bench<'_>> {
        let &Options { system, size, mailboxes, .. } = options;
        let [_, eol, _] = system.words();
        let requests = (0..mailboxes).map(|mailbox| system.requests(mailbox, size)).collect();
        let data = ["x".repeat(size).as_str(), eol].concat().into_bytes();
        let (tally, poll, scratch) = (Tally::new(), Poll::new()?, vec![0; SCRATCH]);
        Ok(Bench { options, requests, data, tally, poll, scratch })
    }

    /// Whether the nth request of a connection is a read. It is computed once to send the request and once to know
    /// what its answer has to be, so that nobody has to remember a batch.
    fn is_read(&self, connection: usize, n: usize) -> bool {
        let mixed = (((connection as u64) << 40) ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let random = (mixed ^ (mixed >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32;
        (random * 100) >> 32 < self.options.mix as u64
    }

    fn encode(&self, connection: usize, n: usize, batch: &mut Vec<u8>) {
        let (read, write) = &self.requests[(connection + n) % self.requests.len()];
        if self.is_read(connection, n) {
            batch.extend_from_slice(read.as_bytes());
        } else {
            batch.extend_from_slice(write.as_bytes());
            batch.extend_from_slice(&self.data);
        }
    }
}

struct Connection {
    number: usize,
    socket: Socket,
    /// What has arrived of the next answer.
    input: Vec<u8>,
    /// Numbers of requests; equal when no answer is awaited.
    asked: usize,
    answered: usize,
    asked_at: Instant,
    /// The batch that is being answered, and how much of it the socket has taken.
    batch: Vec<u8>,
    written: usize,
}

impl Connection {
    /// Takes the answers that have come and, after the last of them, sends the next batch.
    fn advance(&mut self, event: &Event, bench: &mut Bench) -> io::Result<()> {
        if event.is_readable() || event.is_read_closed() {
            self.read(event.is_read_closed(), bench)?;
        }
        if self.answered == self.asked {
            self.begin_batch(bench);
        }
        if self.written < self.batch.len() {
            self.written += unless_blocked(self.socket.write(&self.batch[self.written..]))?.unwrap_or(0);
        }
        Ok(())
    }

    /// A read that comes back short has emptied the socket, unless the end of the stream is behind it.
    fn read(&mut self, to_end: bool, bench: &mut Bench) -> io::Result<()> {
        while let Some(length) = unless_blocked(self.socket.read(&mut bench.scratch))? {
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&bench.scratch[..length]);
            self.take_answers(bench)?;
            if length < bench.scratch.len() && !to_end {
                break;
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, bench: &mut Bench) -> io::Result<()> {
        let mut taken = 0;
        while let Some((answer, length)) = bench.options.system.decode(&self.input[taken..])? {
            if self.answered == self.asked {
                return Err(malformed(&format!("{answer:?} to no request")));
            }
            let is_read = bench.is_read(self.number, self.answered);
            bench.tally.count(answer, is_read, bench.options.size)?;
            self.answered += 1;
            taken += length;
        }
        self.input.drain(..taken);
        Ok(())
    }

    fn begin_batch(&mut self, bench: &mut Bench) {
        let now = Instant::now();
        if self.asked > 0 {
            bench.tally.record((now - self.asked_at).as_nanos() as u64);
        }
        (self.asked_at, self.written) = (now, 0);
        self.batch.clear();
        for _ in 0..bench.options.pipeline {
            bench.encode(self.number, self.asked, &mut self.batch);
            self.asked += 1;
        }
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

/// All connections under load, driven by one thread.
struct Load<'a> {
    connections: Slab<Connection>,
    bench: Bench<'a>,
}

impl Load<'_> {
    /// Opens the connections; each begins its first batch when the poll finds it writable.
    fn open(bench: Bench) -> io::Result<Load> {
        let mut connections = Slab::with_capacity(bench.options.connections);
        for number in 0..bench.options.connections {
            let socket = dial(bench.options, number)?;
            socket.set_nonblocking(true)?;
            // Edge-triggered, WRITABLE costs nothing as long as no write comes back short.
            let (mut source, interest) =
                (SourceFd(&socket.as_raw_fd()), Interest::READABLE | Interest::WRITABLE);
            bench.poll.registry().register(&mut source, Token(number), interest)?;
            let (input, batch, asked_at) = (Vec::new(), Vec::new(), Instant::now());
            connections.insert(Connection {
                number,
                socket,
                input,
                asked: 0,
                answered: 0,
                asked_at,
                batch,
                written: 0,
            });
        }
        Ok(Load { connections, bench })
    }

    fn run(&mut self, period: Duration) -> io::Result<()> {
        let (end, mut events) = (Instant::now() + period, Events::with_capacity(1024));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.connections.is_empty() {
                return Ok(());
            }
            match self.bench.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => events.iter().try_for_each(|event| self.serve(event))?,
            }
        }
    }

    fn serve(&mut self, event: &Event) -> io::Result<()> {
        let number = event.token().0;
        match self.connections[number].advance(event, &mut self.bench) {
            Err(error) if error.kind() != ErrorKind::InvalidData => {
                self.connections.remove(number);
                self.bench.tally.lost += 1;
                self.bench.tally.first_failure.get_or_insert(format!("connection {number}: {error}"));
                Ok(())
            }
            result => result,
        }
    }
}
