//! Where the log goes. One file, or stderr; it is opened anew on SIGHUP, after somebody has rotated it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ::log::LevelFilter;
use parking_lot::Mutex;
use simplelog::{ConfigBuilder, WriteLogger};

use crate::options::LogLevel;

static SINK: Mutex<Sink> = Mutex::new(Sink::Nowhere);

enum Sink {
    Nowhere,
    Stderr,
    File(PathBuf, File),
}

/// What the logger writes to: whatever the sink is at that moment.
struct ToSink;

impl Write for ToSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *SINK.lock() {
            Sink::Nowhere => Ok(bytes.len()),
            Sink::Stderr => io::stderr().write(bytes),
            Sink::File(_, file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to log to `file`, else to stderr if `foreground`. A panic is logged too, and ends the process.
pub fn start(file: Option<&Path>, foreground: bool, level: LogLevel) -> io::Result<()> {
    *SINK.lock() = match file {
        Some(path) => Sink::File(path.to_owned(), append(path)?),
        None if foreground => Sink::Stderr,
        None => Sink::Nowhere,
    };
    let config = ConfigBuilder::new().set_time_format_rfc3339().set_target_level(LevelFilter::Off).build();
    WriteLogger::init(filter(level), config, ToSink).map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| {
        ::log::error!("{}", panic.to_string().replace('\n', " "));
        eprintln!("dipc: {panic}");
        // Half a server is worse than none; the segment keeps every acknowledged message.
        std::process::abort();
    }));
    Ok(())
}

/// Opens the log file anew.
pub fn reopen() {
    let mut sink = SINK.lock();
    if let Sink::File(path, file) = &mut *sink {
        match append(path) {
            Ok(opened) => *file = opened,
            Err(error) => {
                // The old file is better than none.
                let _ = writeln!(file, "cannot open {} again: {error}", path.display());
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
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
