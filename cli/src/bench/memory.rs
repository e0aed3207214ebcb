//! Memory of a process of this machine.

use std::fs;

/// What it has in memory, shared mappings too, in kB (VmRSS); None: it is not there, or not to be seen.
pub fn resident_kb(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_as_long_as_it_is_there() {
        assert!(resident_kb(std::process::id()) > Some(100));
        assert_eq!(resident_kb(u32::MAX), None);
    }
}
