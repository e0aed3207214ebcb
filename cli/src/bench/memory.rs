//! Memory of a process on this machine.

use std::fs;

/// Resident memory of a process including shared mappings, in kB (VmRSS). None: no such process, or no
/// permission.
pub(super) fn resident_kb(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_known_of_existing_processes() {
        assert!(resident_kb(std::process::id()) > Some(100));
        assert_eq!(resident_kb(u32::MAX), None);
    }
}
