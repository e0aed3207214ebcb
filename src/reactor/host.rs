//! What the reactor needs of its instance.

use std::os::fd::OwnedFd;

use super::handover::Successor;

/// The functions of the instance that the reactor uses.
pub(crate) struct Host {
    /// Reopens the log file.
    pub reopen_log: fn(),
    /// Number of lines that the log has dropped.
    pub dropped_log_lines: fn() -> u64,
    /// Checks whether the instance's files still have their names, and restores lost ones.
    pub check_files: Box<dyn FnMut() -> FileCheck>,
    /// What a new server needs that takes over.
    pub successor: Successor,
}

/// Why [`Reactor::run`](super::Reactor::run) has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    /// A new server has the files.
    HandedOver,
}

/// The result of a check of the instance's files.
#[derive(Debug, Default)]
pub(crate) struct FileCheck {
    /// Files without their names.
    pub missing: u64,
    /// Files that this check has restored.
    pub restored: u64,
    /// The listening control socket that has replaced a lost one.
    pub control: Option<OwnedFd>,
}
