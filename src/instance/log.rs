//! The log: written to a file or to stderr. SIGHUP reopens the file, for log rotation.
//!
//! A separate thread writes the lines. **The law**: no other thread of a running server waits for the log.
//! Lines go to a bounded queue. Lines that find the queue full are dropped and counted. Lines that the file
//! does not accept are also dropped and counted. While the writing thread does not run yet, [`flush`] writes
//! the lines on the calling thread.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::log::LevelFilter;
use nix::fcntl::OFlag;
use nix::unistd::dup2_stderr;
use parking_lot::{Condvar, Mutex};
use simplelog::{ConfigBuilder, WriteLogger};

use super::files::Files;
use super::terminal;
use crate::options::LogLevel;

/// Largest number of lines in the queue.
const QUEUE_MAX: usize = 1024;

/// Largest number of bytes of a line. The rest is cut off. A pipe takes this many bytes whole or not at all
/// (`PIPE_BUF`).
const LINE_MAX: usize = 4096;

/// How long the end of the process waits for the lines in the queue.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the panic of a second thread waits while the panic of the first thread logs and removes files.
const PANIC_TIMEOUT: Duration = Duration::from_secs(5);

static SINK: Mutex<Sink> = Mutex::new(Sink::None);
static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { lines: VecDeque::new(), reopen: false, has_writer: false, is_writing: false });
static CHANGED: Condvar = Condvar::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

enum Sink {
    None,
    Stderr,
    /// With `is_stderr`, the process' stderr is this file, too.
    File {
        path: PathBuf,
        file: File,
        is_stderr: bool,
    },
}

/// The work of the writing thread.
struct Queue {
    lines: VecDeque<Vec<u8>>,
    reopen: bool,
    has_writer: bool,
    is_writing: bool,
}

/// Collects the parts of a line, and puts whole lines into the queue.
struct LineWriter(Vec<u8>);

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (LINE_MAX - 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.ends_with(b"\n") {
            let mut line = std::mem::take(&mut self.0);
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging to `file`. Without a file, logs to stderr if `foreground` is set. Panics are logged and end
/// the process.
pub(super) fn start(file: Option<&Path>, foreground: bool, level: LogLevel) -> io::Result<()> {
    *SINK.lock() = match file {
        Some(path) => Sink::File { path: path.to_owned(), file: append(path)?, is_stderr: false },
        None if foreground => Sink::Stderr,
        None => Sink::None,
    };
    let config = ConfigBuilder::new().set_time_format_rfc3339().set_target_level(LevelFilter::Off).build();
    WriteLogger::init(filter(level), config, LineWriter(Vec::new())).map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| {
        if HAS_PANICKED.swap(true, Ordering::Relaxed) {
            // Another thread ends the process.
            std::thread::sleep(PANIC_TIMEOUT);
            std::process::abort();
        }
        ::log::error!("{}", panic.to_string().replace('\n', " "));
        flush();
        if !is_stderr() || !::log::log_enabled!(::log::Level::Error) {
            terminal::print_error(&format!("dipc: {panic}"));
        }
        Files::discard_unfinished();
        // A server without one of its threads cannot be trusted. The segment keeps every acknowledged
        // message.
        std::process::abort();
    }));
    Ok(())
}

/// Starts the thread that writes. To be called after the last fork.
pub(super) fn start_writer() -> io::Result<()> {
    std::thread::Builder::new().name("log".into()).spawn(write_queued)?;
    QUEUE.lock().has_writer = true;
    Ok(())
}

/// Makes the log file the process' stderr. The file then also has the message that the runtime prints when it
/// aborts the process, for example when no memory is left. Returns whether there is a log file.
pub(super) fn redirect_stderr() -> io::Result<bool> {
    match &mut *SINK.lock() {
        Sink::File { file, is_stderr, .. } => {
            dup2_stderr(&*file)?;
            *is_stderr = true;
            Ok(true)
        }
        Sink::Stderr | Sink::None => Ok(false),
    }
}

/// Reopens the log file.
pub(super) fn reopen() {
    QUEUE.lock().reopen = true;
    CHANGED.notify_all();
}

/// Number of lines that were dropped.
pub(super) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Logs why the process ends, if the log is a file. The caller reports the reason to the user.
pub(super) fn record_failure(reason: &str) {
    if matches!(*SINK.lock(), Sink::File { .. }) {
        ::log::error!("{reason}");
        flush();
    }
}

/// Waits until the queue has been written, at most [`FLUSH_TIMEOUT`].
pub(super) fn flush() {
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let mut queue = QUEUE.lock();
    if !queue.has_writer {
        let lines = std::mem::take(&mut queue.lines);
        drop(queue);
        return write(lines);
    }
    while !queue.lines.is_empty() || queue.is_writing {
        if CHANGED.wait_until(&mut queue, deadline).timed_out() {
            return;
        }
    }
}

/// Whether stderr and the log are the same.
pub(super) fn is_stderr() -> bool {
    // The writing thread may have panicked while it holds the sink.
    SINK.try_lock().is_some_and(|sink| matches!(*sink, Sink::Stderr | Sink::File { is_stderr: true, .. }))
}

fn push(line: Vec<u8>) {
    let mut queue = QUEUE.lock();
    if queue.lines.len() < QUEUE_MAX {
        queue.lines.push_back(line);
        CHANGED.notify_all();
    } else {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread that writes.
fn write_queued() {
    loop {
        let mut queue = QUEUE.lock();
        queue.is_writing = false;
        CHANGED.notify_all();
        while queue.lines.is_empty() && !queue.reopen {
            CHANGED.wait(&mut queue);
        }
        queue.is_writing = true;
        // One line, so that the others are in the bounded queue while this one blocks.
        let line = queue.lines.pop_front();
        let must_reopen = std::mem::take(&mut queue.reopen);
        drop(queue);
        if must_reopen {
            reopen_file();
        }
        write(line);
    }
}

fn write(lines: impl IntoIterator<Item = Vec<u8>>) {
    let mut sink = SINK.lock();
    for line in lines {
        let written = match &mut *sink {
            Sink::None => Ok(()),
            Sink::Stderr => io::stderr().write_all(&line),
            Sink::File { file, .. } => file.write_all(&line),
        };
        if written.is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn reopen_file() {
    let mut sink = SINK.lock();
    if let Sink::File { path, file, is_stderr } = &mut *sink {
        match append(path) {
            Ok(opened) => {
                *file = opened;
                if *is_stderr {
                    // If this fails, stderr remains the old file.
                    let _ = dup2_stderr(&*file);
                }
            }
            Err(error) => {
                // The log continues in the old file.
                let _ = writeln!(file, "cannot reopen {}: {error}", path.display());
            }
        }
    }
}

/// Opens a log file. Opening a FIFO without a reader is an error. A FIFO with a slow reader takes no more
/// lines. Neither blocks.
fn append(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().create(true).append(true).custom_flags(flags.bits()).open(path)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}
