//! A file system of a test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::geteuid;

use crate::process::run;

/// A mounted tmpfs. It is unmounted when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a tmpfs at a new directory, with these options of mount(8). Returns `None` if this user may not
    /// mount.
    pub fn new(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&at).expect("a new directory");
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at));
        if geteuid().is_root() && mounted.code == Some(0) { Some(Mount(at)) } else { None }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}
