//! The file that a dump is written to: a temporary file beside the final one, which gets its name at the end.
//!
//! **Invariant**: a file with the final name is a whole dump. The temporary file is removed if the dump
//! fails, and if a signal ends this program. A KILL leaves it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::low_level::emulate_default_handler;

/// Signals that end this program.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The path of the temporary file. None: there is no file that has to be removed.
type RemovedLater = Arc<Mutex<Option<PathBuf>>>;

pub(super) struct Temporary {
    file: File,
    target: PathBuf,
    path: RemovedLater,
}

impl Temporary {
    /// Creates the temporary file beside `target`, which may exist if it is a regular file.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        let target = resolve(target)?;
        let name = target.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a file"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", process::id()));
        let temporary = target.with_file_name(hidden);
        let path = RemovedLater::default();
        // Before the file exists, so that no signal can come between.
        remove_on_signals(path.clone())?;
        let mut current = path.lock().unwrap_or_else(PoisonError::into_inner);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        *current = Some(temporary);
        drop(current);
        Ok(Temporary { file, target, path })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its final name, when its bytes are on the disk.
    pub(super) fn commit(self) -> io::Result<()> {
        self.file.sync_all()?;
        let mut current = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(temporary) = current.as_ref() {
            fs::rename(temporary, &self.target)?;
            *current = None;
        }
        drop(current);
        let directory = self.target.parent().filter(|path| !path.as_os_str().is_empty());
        // A directory that may be written may be unreadable. Its name for the file is then written later.
        File::open(directory.unwrap_or(Path::new("."))).map_or(Ok(()), |directory| directory.sync_all())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The file that is replaced: that of a symbolic link, if there is one. A device or a pipe is not replaced.
fn resolve(target: &Path) -> io::Result<PathBuf> {
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_file() => fs::canonicalize(target),
        Ok(_) => Err(Error::new(ErrorKind::InvalidInput, "not a regular file; - is standard output")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(target.to_owned()),
        Err(error) => Err(error),
    }
}

fn remove(path: &RemovedLater) {
    if let Some(temporary) = path.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Fails only if another process has removed the file or its directory.
        let _ = fs::remove_file(temporary);
    }
}

/// Blocks the signals that end this program. A thread waits for them, removes the file, and ends the program.
fn remove_on_signals(path: RemovedLater) -> io::Result<()> {
    let ignored = ignored()?;
    let signals: SigSet =
        ENDING.into_iter().filter(|&signal| ignored >> (signal as u32 - 1) & 1 == 0).collect();
    signals.thread_block()?;
    thread::Builder::new().spawn(move || {
        if let Ok(signal) = signals.wait() {
            let mut current = path.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(temporary) = current.take() {
                let _ = fs::remove_file(temporary);
            }
            // The lock is kept, so that the file is neither created nor renamed meanwhile.
            let _ = emulate_default_handler(signal as i32);
            process::exit(128 + signal as i32);
        }
    })?;
    Ok(())
}

/// The signals that this program ignores, as after nohup: a bit for each.
fn ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}
