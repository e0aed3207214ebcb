//! Memory of a process on this machine.

use std::fs;

/// Resident memory of a process including shared mappings, in kB (VmRSS). None: no such process, no
/// permission, or a process without memory (a zombie).
pub(super) fn resident_kb(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_an_existing_process_is_known() {
        assert!(resident_kb(std::process::id()) > Some(100));
        assert_eq!(resident_kb(u32::MAX), None);
    }
}
