//! Memory on its way back to the system.
//!
//! The C library keeps what is freed for later use, also after thousands of connections have ended at once. This
//! asks it to hand back what it can.

/// Gives every free page back; takes some milliseconds, so call it off the data path.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    #[expect(
        unsafe_code,
        reason = "the C library's function has no safe wrapper; it takes no pointer and keeps none"
    )]
    // SAFETY: `malloc_trim` may be called at any time from any thread (malloc_trim(3)); 0 is the padding to leave.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Gives nothing back: this C library does so by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn give_back() {}
