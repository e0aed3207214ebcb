//! Measures three latencies of a running server: the handover of a lock between clients, the handover of a
//! lock whose holder is killed, and the delivery of a message to all clients that watch its mailbox.
//!
//! ```text
//! cargo run --release --example latency -- --port 5000 handover --clients 100 --seconds 3
//! cargo run --release --example latency -- --port 5000 kill --rounds 100
//! cargo run --release --example latency -- --port 5000 watchers --clients 10000 --rounds 5
//! ```

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use mio::{Events, Interest, Poll, Token};

#[derive(Parser)]
struct Options {
    /// TCP port of dipc on the loopback interface
    #[arg(long)]
    port: u16,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lock handovers of one mailbox per second
    Handover {
        #[arg(long, default_value_t = 100)]
        clients: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Time from the kill -9 of a lock's holder to the reply to the next holder
    Kill {
        #[arg(long, default_value_t = 100)]
        rounds: usize,
    },
    /// Time from a write to the event of the last of many watchers
    Watchers {
        #[arg(long, default_value_t = 10_000)]
        clients: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Locks mailbox 0 until the process is killed; started by `kill`
    Hold,
}

fn main() -> io::Result<()> {
    let Options { port, what } = Options::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match what {
        What::Handover { clients, seconds } => handover(address, clients, Duration::from_secs_f64(seconds)),
        What::Kill { rounds } => kill(address, rounds),
        What::Watchers { clients, rounds } => watchers(address, clients, rounds),
        What::Hold => hold(address),
    }
}

/// Every client requests the lock of mailbox 0 again and again. The holder unlocks at once.
fn handover(address: SocketAddr, clients: usize, time: Duration) -> io::Result<()> {
    let mut group = Group::connect(address, clients)?;
    group.send_all(b"lock 0 wait=inf\n")?;
    let (mut locks, start) = (0u64, Instant::now());
    while start.elapsed() < time {
        for (client, bytes) in group.receive()? {
            if find(&bytes, b"grant=") {
                locks += 1;
                group.send(client, b"unlock 0\nlock 0 wait=inf\n")?;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{:.0} locks handed over per second, {clients} clients, {locks} in all", locks as f64 / seconds);
    Ok(())
}

fn kill(address: SocketAddr, rounds: usize) -> io::Result<()> {
    let mut waiter = Client::connect(address)?;
    let mut delays = Vec::new();
    for _ in 0..rounds {
        let program = std::env::current_exe()?;
        let mut holder = Command::new(program)
            .args(["--port", &address.port().to_string(), "hold"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line)?;
        waiter.send(b"lock 0 wait=inf\n")?;
        until_a_request_waits(address)?;
        let start = Instant::now();
        holder.kill()?;
        waiter.line()?;
        delays.push(start.elapsed());
        holder.wait()?;
        waiter.send(b"unlock 0\n")?;
        waiter.line()?;
    }
    report("from kill -9 of the holder to the reply to the next holder", &mut delays);
    Ok(())
}

/// Returns when a request waits for mailbox 0.
fn until_a_request_waits(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    loop {
        client.send(b"stat 0\n")?;
        if client.data()?.lines().any(|line| line == "waiting 1") {
            return Ok(());
        }
    }
}

fn hold(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    client.send(b"lock 0 wait=inf ttl=600\n")?;
    print!("{}", client.line()?);
    io::stdout().flush()?;
    client.line().map(drop)
}

fn watchers(address: SocketAddr, clients: usize, rounds: usize) -> io::Result<()> {
    let mut group = Group::connect(address, clients)?;
    group.send_all(b"watch 0\n")?;
    group.await_all(|bytes| find(bytes, b"OK v="))?;
    let (mut writer, mut other) = (Client::connect(address)?, Client::connect(address)?);
    let (mut last, mut middle, mut pings) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        writer.send(b"w 0\nnews\n")?;
        let pinger = std::thread::spawn(move || -> io::Result<_> {
            let asked = Instant::now();
            other.send(b"r 1\n")?;
            other.data()?;
            Ok((other, asked.elapsed()))
        });
        let mut times = group.await_all(|bytes| find(bytes, b"EVENT 4 box=0"))?;
        times.sort_unstable();
        last.push(times[clients - 1] - start);
        middle.push(times[clients / 2] - start);
        writer.line()?;
        let (back, ping) = pinger.join().expect("no panic")?;
        (other, _) = (back, pings.push(ping));
    }
    report(&format!("from a write to the last of {clients} watchers"), &mut last);
    report("from a write to the median watcher", &mut middle);
    report("a read by another client meanwhile", &mut pings);
    Ok(())
}

fn report(what: &str, delays: &mut [Duration]) {
    delays.sort_unstable();
    let millis = |delay: &Duration| delay.as_secs_f64() * 1e3;
    let (median, max) = (millis(&delays[delays.len() / 2]), millis(&delays[delays.len() - 1]));
    println!("{what}: median {median:.3} ms, max {max:.3} ms, of {}", delays.len());
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// One blocking client.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }

    fn data(&mut self) -> io::Result<String> {
        let header = self.line()?;
        let len = header.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
        let len = len.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, header.clone()))?;
        let mut data = vec![0; len + 1];
        self.0.read_exact(&mut data)?;
        Ok(String::from_utf8_lossy(&data).into_owned())
    }
}

/// Many nonblocking clients in one event loop.
struct Group {
    poll: Poll,
    events: Events,
    clients: Vec<mio::net::TcpStream>,
}

impl Group {
    fn connect(address: SocketAddr, clients: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let connect = |number| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(stream)
        };
        let clients = (0..clients).map(connect).collect::<io::Result<_>>()?;
        Ok(Group { poll, events: Events::with_capacity(1024), clients })
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()> {
        self.clients[client].write_all(bytes)
    }

    fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        (0..self.clients.len()).try_for_each(|client| self.send(client, bytes))
    }

    /// Receives from every readable client. Returns the number of each such client, and its bytes.
    fn receive(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>> {
        self.poll.poll(&mut self.events, Some(Duration::from_secs(1)))?;
        let mut received = Vec::new();
        for event in &self.events {
            let Token(client) = event.token();
            let mut buffer = [0; 4096];
            match self.clients[client].read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => received.push((client, buffer[..len].to_vec())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }

    /// Receives until every client has received bytes that match. Returns the time of each match.
    fn await_all(&mut self, matches: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Instant>> {
        let mut times = Vec::with_capacity(self.clients.len());
        while times.len() < self.clients.len() {
            let received = self.receive()?;
            let now = Instant::now();
            times.extend(received.iter().filter(|(_, bytes)| matches(bytes)).map(|_| now));
        }
        Ok(times)
    }
}
