//! The allocator of Concord's binaries.

use libmimalloc_sys as sys;

/// The topology allocates much and briefly: with the system's allocator that was a fifth of its CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3 (mimalloc.h, `mi_option_e`), which the bindings do not name.
const PURGE_DELAY: sys::mi_option_t = 15;

/// Memory that was freed goes back to the system after 10 ms, and not after a second: with threads that hand records to each other
/// a second's worth of freed memory was a fifth to a third of what the process held, and giving it back sooner cost no measurable time.
/// Call it first in `main`.
#[allow(unsafe_code)] // A setting of the C library; it takes no pointer.
pub fn give_back_soon() {
    unsafe { sys::mi_option_set(PURGE_DELAY, 10) }
}

#[cfg(test)]
mod tests {
    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_one_that_is_meant() {
        let get = || unsafe { super::sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(get(), 1_000, "mimalloc's default: another number may mean another option");
        super::give_back_soon();
        assert_eq!(get(), 10);
    }
}
