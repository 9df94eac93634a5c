//! `[grants.jobs]`: which jobs a plugin may enqueue, and into which queues. Pure.

use serde::Deserialize;

use crate::config::{Grants, check_queue_name};
use crate::job::MAX_TEXT_BYTES;

/// This capability's key below `[grants]`.
pub(super) const KEY: &str = "jobs";

/// Most names and most queues in one grant. Each is compared with at every call.
const MAX_PATTERNS: usize = 100;

/// What of jobs is granted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsGrant {
    /// The names of the jobs. One that ends with `*` stands for all that begin so.
    names: Vec<String>,
    /// The queues they may go to, beside that of the job which enqueues them. In the same form.
    #[serde(default)]
    queues: Vec<String>,
}

impl JobsGrant {
    /// Whether it covers jobs of this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether it covers this queue.
    pub(super) fn has_queue(&self, queue: &str) -> bool {
        self.queues.iter().any(|pattern| matches(pattern, queue))
    }

    fn check(&self) -> Result<(), String> {
        if self.names.is_empty() {
            return Err("jobs: names is empty, so nothing is granted".to_owned());
        }
        if self.names.len().max(self.queues.len()) > MAX_PATTERNS {
            return Err(format!("jobs: at most {MAX_PATTERNS} names and as many queues"));
        }
        for name in &self.names {
            if !(1..=MAX_TEXT_BYTES).contains(&name.len()) {
                return Err(format!("jobs: a job's name has 1 to {MAX_TEXT_BYTES} bytes"));
            }
        }
        for queue in self.queues.iter().map(|queue| queue.strip_suffix('*').unwrap_or(queue)) {
            if !queue.is_empty() {
                check_queue_name(queue).map_err(|why| format!("jobs: {why}"))?;
            }
        }
        match self.names.iter().chain(&self.queues).find(|pattern| is_odd(pattern)) {
            Some(odd) => Err(format!(
                "jobs: {odd:?}: a * stands at the end, for all that begin with what is before it"
            )),
            None => Ok(()),
        }
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

/// Whether it has a `*` where that means nothing.
fn is_odd(pattern: &str) -> bool {
    pattern.strip_suffix('*').unwrap_or(pattern).contains('*')
}

/// What a manifest grants; none: nothing.
pub(super) fn read(grants: &Grants) -> Result<Option<JobsGrant>, String> {
    let grant: Option<JobsGrant> = grants.read(KEY)?;
    if let Some(grant) = &grant {
        grant.check().map_err(|why| grants.wrong(KEY, &why))?;
    }
    Ok(grant)
}

/// What is granted, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    let Some(JobsGrant { names, queues }) = read(grants)? else {
        return Ok(Vec::new());
    };
    let queues = match &*queues {
        [] => "into its own queue".to_owned(),
        queues => format!("into its own queue, {}", queues.join(", ")),
    };
    Ok(names.into_iter().map(|name| format!("{name} ({queues})")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_queues_are_granted_whole_or_by_how_they_begin() {
        let grants = Grants::of("[grants.jobs]\nnames = [\"resize\", \"mail-*\"]\nqueues = [\"images\"]");
        let grant = read(&grants).unwrap().unwrap();
        for (name, granted) in [
            ("resize", true),
            ("resize2", false),
            ("mail-", true),
            ("mail-a", true),
            ("mail", false),
        ] {
            assert_eq!(grant.has_name(name), granted, "{name}");
        }
        assert!(grant.has_queue("images") && !grant.has_queue("default"));
        assert_eq!(
            granted(&grants).unwrap(),
            [
                "resize (into its own queue, images)",
                "mail-* (into its own queue, images)"
            ]
        );
        assert!(read(&Grants::default()).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_grant_is_named_with_its_place() {
        for (written, why) in [
            ("names = []", "line 1, column 1: jobs: names is empty"),
            ("queues = []", "missing field `names`"),
            ("names = [\"a\"]\nqeue = 1", "unknown field `qeue`"),
            ("names = [\"a*b\"]", "jobs: \"a*b\": a * stands at the end"),
            ("names = [\"a\"]\nqueues = [\"a b\"]", "jobs: queue name \"a b\""),
            ("names = [\"\"]", "jobs: a job's name has 1 to"),
        ] {
            let err = read(&Grants::of(&format!("[grants.jobs]\n{written}"))).unwrap_err();
            assert!(err.contains(why), "{written}: {err}");
        }
    }
}
