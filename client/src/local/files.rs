//! Finds and checks the files of an instance: only directories and files of this user are used, and no links.

use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::system;

/// The open directory of an instance.
#[derive(Debug)]
pub(super) struct Instance(File);

impl Instance {
    /// Opens the directory of `port` below `base`.
    pub(super) fn open(base: &Path, port: u16) -> io::Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(base);
        let opened =
            opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", base.display())));
        let path = base.join(port.to_string());
        let base = opened?;
        check(base.metadata()?.uid() == system::user(), "the directory belongs to another user")?;
        let name = CString::new(port.to_string())?;
        let directory = system::open_at(&base, &name, libc::O_RDONLY | libc::O_DIRECTORY)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let found = directory.metadata()?;
        check(found.uid() == system::user(), "the directory belongs to another user")?;
        check(found.mode() & 0o077 == 0, "the directory is open to other users")?;
        Ok(Instance(directory))
    }

    /// The segment, for reading.
    pub(super) fn segment(&self) -> io::Result<File> {
        self.file(c"segment", libc::O_RDONLY)
    }

    /// The flags of waiting processes, for reading and writing.
    pub(super) fn waiters(&self) -> io::Result<File> {
        self.file(c"waiters", libc::O_RDWR)
    }

    fn file(&self, name: &std::ffi::CStr, flags: i32) -> io::Result<File> {
        let name_of = || name.to_string_lossy();
        let file = system::open_at(&self.0, name, flags)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name_of())))?;
        let found = file.metadata()?;
        check(is_plain(&found) && found.uid() == system::user(), "not a plain file of this user")?;
        Ok(file)
    }
}

/// Whether an open file has lost its name. A file whose properties cannot be read counts as lost.
pub(super) fn is_unlinked(file: &File) -> bool {
    file.metadata().map_or(true, |found| found.nlink() == 0)
}

/// Whether it is a regular file. Its name may have been removed since it was opened: `is_unlinked` finds
/// that.
fn is_plain(found: &Metadata) -> bool {
    found.is_file() && found.nlink() <= 1
}

fn check(is_right: bool, what: &str) -> io::Result<()> {
    if is_right { Ok(()) } else { Err(io::Error::new(ErrorKind::PermissionDenied, what)) }
}
