//! The log: written to a file or to stderr. SIGHUP reopens the file, for log rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ::log::LevelFilter;
use parking_lot::Mutex;
use simplelog::{ConfigBuilder, WriteLogger};

use crate::options::LogLevel;

static SINK: Mutex<Sink> = Mutex::new(Sink::None);

enum Sink {
    None,
    Stderr,
    File(PathBuf, File),
}

/// Writes to the current sink.
struct SinkWriter;

impl Write for SinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *SINK.lock() {
            Sink::None => Ok(bytes.len()),
            Sink::Stderr => io::stderr().write(bytes),
            Sink::File(_, file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging to `file`; without a file to stderr, if `foreground`. Panics are logged and end the
/// process.
pub(super) fn start(file: Option<&Path>, foreground: bool, level: LogLevel) -> io::Result<()> {
    *SINK.lock() = match file {
        Some(path) => Sink::File(path.to_owned(), append(path)?),
        None if foreground => Sink::Stderr,
        None => Sink::None,
    };
    let config = ConfigBuilder::new().set_time_format_rfc3339().set_target_level(LevelFilter::Off).build();
    WriteLogger::init(filter(level), config, SinkWriter).map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| {
        ::log::error!("{}", panic.to_string().replace('\n', " "));
        eprintln!("dipc: {panic}");
        // A server without one of its threads cannot be trusted. The segment keeps every acknowledged
        // message.
        std::process::abort();
    }));
    Ok(())
}

/// Reopens the log file.
pub(super) fn reopen() {
    let mut sink = SINK.lock();
    if let Sink::File(path, file) = &mut *sink {
        match append(path) {
            Ok(opened) => *file = opened,
            Err(error) => {
                // The log continues in the old file.
                let _ = writeln!(file, "cannot reopen {}: {error}", path.display());
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
