//! What the workers' logs say of lost jobs.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use crate::say;

/// Jobs whose story is told.
const STORIES: usize = 20;

/// Lines of each log to a story: the last ones.
const LINES: usize = 6;

/// Tells how the first of these jobs, each with its id at the start, got lost.
pub(crate) fn tell(folder: &Path, lost: &[String]) -> anyhow::Result<()> {
    for job in lost.iter().take(STORIES) {
        say(&format!("lost: {job}"));
        let id = job.split(' ').next().unwrap_or_default();
        for log in fs::read_dir(folder.join("logs"))? {
            let log = log?.path();
            let said = BufReader::new(File::open(&log)?).lines().map_while(Result::ok);
            let said: Vec<_> = said.filter(|line| line.contains(&format!("\"{id}\""))).collect();
            for line in &said[said.len().saturating_sub(LINES)..] {
                say(&format!("  {}: {line}", log.display()));
            }
        }
    }
    Ok(())
}
