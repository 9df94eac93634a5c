//! Page faults that need no disk, as Linux counts them. Another system does not tell.

use std::fs;

/// Those of this thread so far.
pub(crate) fn of_this_thread() -> Option<u64> {
    read("thread-self")
}

/// Those of a process so far, with all of its threads.
pub(crate) fn of_process(pid: u32) -> Option<u64> {
    read(&pid.to_string())
}

fn read(whose: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{whose}/stat")).ok()?;
    // The name, in brackets, may hold anything. The tenth field is the eighth after it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_sees_its_own_faults_and_the_process_all_of_them() {
        let (own, all) = (of_this_thread().unwrap(), of_process(std::process::id()).unwrap());
        let touched = vec![1_u8; 4 * 1024 * 1024];
        assert!(of_this_thread().unwrap() >= own + 100, "{}", touched.len());
        assert!(of_process(std::process::id()).unwrap() >= all + 100);
    }
}
