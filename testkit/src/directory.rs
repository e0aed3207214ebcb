//! Temporary directories of a test, and the files in a directory.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::text;

/// A new directory in shared memory, open to its owner only. It is removed when this is dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes the directory.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes a directory, which a default value should not")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = Path::new("/dev/shm").join(format!("dipc-test-{}-{number}", std::process::id()));
            // The mode is set here and not left to the umask: dipc refuses a directory that other users can
            // write to.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Directory(path),
                // An earlier run that was killed had the same process number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no new directory: {error}"),
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names of the files in a directory, sorted; none when there is no such directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| text(name.as_encoded_bytes())).collect();
    names.sort();
    names
}

/// The name, inode, mode, size and times of change of each file in a directory, and of the directory. Equal
/// fingerprints mean that no file was changed.
pub fn fingerprint(directory: &Path) -> Vec<(String, u64, u32, u64, i64, i64)> {
    let of = |name: String| {
        let found = fs::symlink_metadata(directory.join(&name)).expect("a file");
        (name, found.ino(), found.mode(), found.size(), found.mtime_nsec(), found.ctime_nsec())
    };
    names(directory).into_iter().chain([".".to_owned()]).map(of).collect()
}

/// The inode of a file or of a link; `None` when there is none.
pub fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).map(|found| found.ino()).ok()
}
