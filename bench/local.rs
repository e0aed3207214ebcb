//! Measures local readers of a running server: the time of a read beside a copy of the same bytes in this
//! process and beside a request `r` over the Unix-domain socket, and the delay of `wait` beside that of a
//! watcher.
//!
//! `bench/local` starts a server and runs this.
//!
//! ```text
//! cargo run --release --example local -- --dir /tmp/d --port 5000 --socket /tmp/d/socket
//! ```

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use dipc::client::local::Local;
use dipc::client::{Address, Client, Event};

/// Repetitions of each measurement; the median is printed.
const ROUNDS: usize = 9;

/// The pause before a message, so that the reader and the server sleep when it comes.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Parser)]
struct Options {
    /// Directory that dipc was started with
    #[arg(long)]
    dir: PathBuf,
    /// Port of dipc
    #[arg(long)]
    port: u16,
    /// Unix-domain socket of dipc
    #[arg(long)]
    socket: PathBuf,
    /// Messages whose delay is measured
    #[arg(long, default_value_t = 1000)]
    messages: u64,
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let options = Options::parse();
    let local = Local::open_in(&options.dir, options.port)?;
    let mut client = connect(&options)?;
    println!("{:>9} {:>14} {:>14} {:>14} {:>9}", "bytes", "local read", "memcpy", "Unix socket", "ratio");
    for (size, count) in [(100, 200_000), (64 * 1024, 5_000), (1024 * 1024, 300)] {
        reads(&local, &mut client, size, count)?;
    }
    beside_a_writer(&local, &options)?;
    delays(&local, &options)
}

fn connect(options: &Options) -> Outcome<Client> {
    Ok(Address::Unix(options.socket.clone()).connect(None)?)
}

fn reads(local: &Local, client: &mut Client, size: usize, count: usize) -> Outcome {
    let data: Vec<u8> = (0..size).map(|index| index as u8).collect();
    client.write(0, &data)?;
    let mut buffer = Vec::new();
    local.read(0, &mut buffer)?;
    assert_eq!(buffer, data);
    let local_read = median(count, || {
        black_box(local.read(0, &mut buffer)).expect("no other process changes the mailbox");
    });
    let mut copy = vec![0; size];
    let memcpy = median(count, || {
        black_box(&mut copy[..]).copy_from_slice(black_box(&data));
    });
    let socket = median((count / 20).max(50), || {
        black_box(client.read(0)).expect("read");
    });
    let ratio = socket / local_read;
    println!("{size:>9} {local_read:>11.1} ns {memcpy:>11.1} ns {socket:>11.0} ns {ratio:>8.0}x");
    Ok(())
}

/// Reads of 100 bytes while a client writes the mailbox all the time.
fn beside_a_writer(local: &Local, options: &Options) -> Outcome {
    let mut writer = connect(options)?;
    writer.write(0, [b'x'; 100])?;
    let is_over = AtomicU64::new(0);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut writes = 0u64;
            while is_over.load(Ordering::Relaxed) == 0 {
                writer.write(0, [b'x'; 100]).expect("written");
                writes += 1;
            }
            writes
        });
        let (mut buffer, mut missed) = (Vec::new(), 0);
        let time = median(200_000, || missed += u32::from(black_box(local.read(0, &mut buffer)).is_err()));
        is_over.store(1, Ordering::Relaxed);
        let writes = writing.join().expect("no panic");
        println!("100 bytes beside a writer: {time:.1} ns, {missed} refused, {writes} writes meanwhile");
    });
    Ok(())
}

/// The median of the nanoseconds that a call takes.
fn median(count: usize, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..count).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e9 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The time from a write to the return of `wait` with its message, and to the event of a watcher.
fn delays(local: &Local, options: &Options) -> Outcome {
    let mut version = local.version(1)?;
    let waiter = delay(options, 1, |seen| {
        let mut buffer = Vec::new();
        local.wait(&[(1, version)], None).expect("waits");
        version = local.read(1, &mut buffer).expect("read").version;
        seen(&buffer);
    })?;
    report("local wait", waiter);
    let mut client = connect(options)?;
    client.watch(2, None)?;
    let watcher = delay(options, 2, |seen| {
        let event = client.event(None).expect("an event");
        let Some(Event::Message { data, .. }) = event else { panic!("{event:?}") };
        seen(&data);
    })?;
    report("watcher, Unix socket", watcher);
    Ok(())
}

/// Sends messages with the time at which they were sent. Each call of `receive` waits for the next one and
/// passes it on. Returns the microseconds between.
fn delay(
    options: &Options,
    mailbox: u32,
    mut receive: impl FnMut(&mut dyn FnMut(&[u8])) + Send,
) -> Outcome<Vec<f64>> {
    let mut sender = connect(options)?;
    let (start, received) = (Instant::now(), AtomicU64::new(0));
    let delays = thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut delays = Vec::new();
            for _ in 0..options.messages {
                receive(&mut |data| {
                    let sent: [u8; 8] = data.try_into().expect("a time");
                    let nanoseconds = start.elapsed().as_nanos() as u64 - u64::from_ne_bytes(sent);
                    delays.push(nanoseconds as f64 / 1000.0);
                });
                received.fetch_add(1, Ordering::Relaxed);
            }
            delays
        });
        for count in 0..options.messages {
            while received.load(Ordering::Relaxed) < count {
                thread::yield_now();
            }
            thread::sleep(PAUSE);
            let now = start.elapsed().as_nanos() as u64;
            sender.write(mailbox, now.to_ne_bytes()).expect("written");
        }
        receiving.join().expect("no panic")
    });
    Ok(delays)
}

fn report(what: &str, mut delays: Vec<f64>) {
    delays.sort_by(f64::total_cmp);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!("{what}: median {:.1} us, 99 % {:.1} us, of {}", at(0.5), at(0.99), delays.len());
}
