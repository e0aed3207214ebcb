//! Limits of open descriptors.

use std::io;
use std::path::Path;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The hard limit of open descriptors of this process.
pub fn hard_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1
}

/// Lets this test process open at least `count` descriptors, or as many as the system allows.
pub fn allow(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard.min(count) {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(count), hard).expect("allowed");
    }
}

/// Sets the limit of open descriptors of another process.
#[track_caller]
#[allow(unsafe_code, reason = "nix has no prlimit for another process")]
pub fn limit(pid: i32, limit: u64) {
    let new = libc::rlimit { rlim_cur: limit, rlim_max: hard_limit() };
    // SAFETY: `new` is read during the call, and nothing is written.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
    assert_eq!(done, 0, "prlimit: {}", io::Error::last_os_error());
}

/// The limit with which a process can open exactly `more` descriptors. There may be free numbers between the
/// open descriptors of the process.
pub fn limit_with_room_for(pid: i32, more: usize) -> u64 {
    let is_free = |number: &u64| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    (0..).filter(is_free).nth(more).expect("the numbers do not end")
}
