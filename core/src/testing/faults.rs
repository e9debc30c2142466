//! Fault points and planted faults, for the fault campaign.
//!
//! A point is armed for the whole process with the syntax of the `fail` crate: `return(enospc)`, `10%return(eio)`,
//! `3*off->return`, `panic` … Points inside sled are its own and take a bit set: bit *n* fails its *n*-th passage.

pub use crate::fault_point::{POINTS, Plant, failed, plant};

/// The points inside sled at which a write, an fsync or a rename can fail.
pub const SLED_POINTS: [&str; 12] = [
    "write_config bytes",
    "write_config crc",
    "write_config post",
    "buffer write",
    "buffer write post",
    "file truncation",
    "zero garbage segment SA",
    "snap write",
    "snap write len",
    "snap write crc",
    "snap write post",
    "snap write mv",
];

/// Arms one of [`POINTS`]; `off` disarms it.
///
/// # Errors
/// The action cannot be parsed.
pub fn arm(point: &str, action: &str) -> Result<(), String> {
    fail::cfg(point, action)
}

/// Arms one of [`SLED_POINTS`] for the passages whose bit is set.
pub fn arm_sled(point: &'static str, passages: u64) {
    crate::store::sled::arm_fault(point, passages);
}

/// Disarms one of [`SLED_POINTS`]; how many of its passages were still to fail.
pub fn disarm_sled(point: &'static str) -> u32 {
    // sled tells nothing but whether the next passage fails, and forgets it then.
    let passed = (0..u64::BITS).map(|_| u32::from(crate::store::sled::pass_fault(point)));
    passed.sum()
}
