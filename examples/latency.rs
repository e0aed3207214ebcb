//! How long what is special about dipc takes: a lock from one client to the next, also when the holder is killed, and a
//! message to everybody who watches.
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
    /// Where dipc listens, on this machine
    #[arg(long)]
    port: u16,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Locks of one mailbox handed over per second
    Handover {
        #[arg(long, default_value_t = 100)]
        clients: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// From the kill -9 of a holder to the next holder's answer
    Kill {
        #[arg(long, default_value_t = 100)]
        rounds: usize,
    },
    /// From a write to the last of many watchers
    Watchers {
        #[arg(long, default_value_t = 10_000)]
        clients: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Locks mailbox 0 and stays: what `kill` kills
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

/// Everybody wants the lock of mailbox 0 all the time; whoever has it gives it back at once.
fn handover(address: SocketAddr, clients: usize, time: Duration) -> io::Result<()> {
    let mut crowd = Crowd::connect(address, clients)?;
    crowd.everybody_sends(b"lock 0 wait=inf\n")?;
    let (mut locks, start) = (0u64, Instant::now());
    while start.elapsed() < time {
        for (client, bytes) in crowd.receive()? {
            if find(&bytes, b"grant=") {
                locks += 1;
                crowd.send(client, b"unlock 0\nlock 0 wait=inf\n")?;
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
        waiting(address)?;
        let start = Instant::now();
        holder.kill()?;
        waiter.line()?;
        delays.push(start.elapsed());
        holder.wait()?;
        waiter.send(b"unlock 0\n")?;
        waiter.line()?;
    }
    report("from kill -9 of the holder to the next holder's answer", &mut delays);
    Ok(())
}

/// Returns when somebody waits for mailbox 0.
fn waiting(address: SocketAddr) -> io::Result<()> {
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
    let mut crowd = Crowd::connect(address, clients)?;
    crowd.everybody_sends(b"watch 0\n")?;
    crowd.hear_from_everybody(|bytes| find(bytes, b"OK v="))?;
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
        let mut heard = crowd.hear_from_everybody(|bytes| find(bytes, b"EVENT 4 box=0"))?;
        heard.sort_unstable();
        last.push(heard[clients - 1] - start);
        middle.push(heard[clients / 2] - start);
        writer.line()?;
        let (back, ping) = pinger.join().expect("no panic")?;
        (other, _) = (back, pings.push(ping));
    }
    report(&format!("from a write to the last of {clients} watchers"), &mut last);
    report("from a write to the one in the middle", &mut middle);
    report("an answer to somebody else meanwhile", &mut pings);
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

/// One client that waits for its answers.
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

/// Many clients in one event loop.
struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<mio::net::TcpStream>,
}

impl Crowd {
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
        Ok(Crowd { poll, events: Events::with_capacity(1024), clients })
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()> {
        self.clients[client].write_all(bytes)
    }

    fn everybody_sends(&mut self, bytes: &[u8]) -> io::Result<()> {
        (0..self.clients.len()).try_for_each(|client| self.send(client, bytes))
    }

    /// What has come, from whom.
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

    /// When each client heard what is `good`.
    fn hear_from_everybody(&mut self, good: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Instant>> {
        let mut heard = Vec::with_capacity(self.clients.len());
        while heard.len() < self.clients.len() {
            let received = self.receive()?;
            let now = Instant::now();
            heard.extend(received.iter().filter(|(_, bytes)| good(bytes)).map(|_| now));
        }
        Ok(heard)
    }
}
