//! Opens a dump. The dump is read several times, so one from a pipe is copied into an unnamed temporary file.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;

use nix::libc;

use crate::failure::Failure;
use crate::stdio;

/// Opens the dump. Returns its name too.
pub(super) fn open(path: &Path) -> Result<(File, String), Failure> {
    if path.as_os_str() == "-" {
        stdio::require_input()?;
        let name = "standard input".to_owned();
        return Ok((spool(&mut io::stdin().lock(), &name)?, name));
    }
    let name = path.display().to_string();
    let failed = |error| Failure::local(&name, error);
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        return Ok((file, name));
    }
    Ok((spool(&mut file, &name)?, name))
}

/// Copies a stream into a temporary file.
fn spool(source: &mut dyn io::Read, name: &str) -> Result<File, Failure> {
    let directory = env::temp_dir();
    let failed = |error| Failure::local(&directory.display().to_string(), error);
    let mut file = unnamed(&directory).map_err(failed)?;
    // The error may be one of either side: the name tells both.
    io::copy(source, &mut file)
        .map_err(|error| Failure::local(&format!("{name}, or the copy in {}", directory.display()), error))?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// A new file without a name. File systems without such files get one whose name is removed at once.
fn unnamed(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.clone().custom_flags(libc::O_TMPFILE).open(directory).or_else(|_| {
        let path = directory.join(format!(".dipc-restore.{}.tmp", process::id()));
        let file = options.create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    })
}
