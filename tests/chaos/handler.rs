//! The handlers whose jobs are pushed: what each is given, and how its jobs may end.

use std::path::Path;

use anyhow::Context;
use fastrand::Rng;

use crate::guests::component_of;
use crate::places;
use crate::ticks;

/// What a job asks for. Those that complete return their payload, so that each leaves a proof of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Echo,
    Nap,
    Compute,
    /// Counts itself on completion.
    Count,
    /// Waits, and so many at once: over all workers, by its payload and in all.
    Limited,
    Retry,
    Permanent,
    Trap,
}

impl Handler {
    pub(crate) const ALL: [Self; 8] = [
        Self::Echo,
        Self::Nap,
        Self::Compute,
        Self::Count,
        Self::Limited,
        Self::Retry,
        Self::Permanent,
        Self::Trap,
    ];

    /// The plugin, and so the job.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limited => places::NAME,
            _ => self.guest(),
        }
    }

    fn guest(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Nap | Self::Limited => "nap",
            Self::Compute => "compute",
            Self::Count => "state",
            Self::Retry => "retry",
            Self::Permanent => "permanent",
            Self::Trap => "trap",
        }
    }

    /// Most do next to nothing, some wait; few compute, since all the workers share this machine.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..100) {
            0..36 => Self::Echo,
            36..42 => Self::Limited,
            42..62 => Self::Count,
            62..82 => Self::Nap,
            82..85 => Self::Compute,
            85..91 => Self::Retry,
            91..95 => Self::Permanent,
            _ => Self::Trap,
        }
    }

    pub(crate) fn payload(self, number: usize) -> String {
        match self {
            // Between 50 and 500 ms.
            Self::Nap => (50 + number * 37 % 451).to_string(),
            Self::Count => r#""later counts done""#.to_owned(),
            Self::Limited => places::payload(number),
            _ => format!(r#"{{"n": {number}.0}}"#),
        }
    }

    /// What its jobs return that complete.
    pub(crate) fn result(self, number: usize) -> String {
        match self {
            Self::Count => "[0,0]".to_owned(),
            _ => self.payload(number),
        }
    }

    /// Whether another job comes after each of its jobs that completes.
    pub(crate) fn is_chained(self) -> bool {
        self == Self::Echo
    }

    /// What its jobs fail as, if that is what they do.
    pub(crate) fn failure(self) -> Option<&'static str> {
        match self {
            Self::Echo | Self::Nap | Self::Compute | Self::Count | Self::Limited => None,
            Self::Retry => Some("error"),
            Self::Permanent => Some("rejected"),
            Self::Trap => Some("trap"),
        }
    }

    /// Renames a version of the plugin into its place. Versions differ in their bytes alone.
    pub(crate) fn deploy(self, folder: &Path, version: u64) -> anyhow::Result<()> {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/guests")
            .join(self.guest());
        let text = std::fs::read_to_string(guest.with_extension("wat"))?;
        let open = text
            .trim_end()
            .strip_suffix(')')
            .context("a module ends with a bracket")?;
        // Beyond what any of them reads, below what it hands out.
        let text = format!("{open} (data (i32.const 3072) \"version {version}\"))");
        let new = folder.join(format!("{}.{version}.new", self.name()));
        std::fs::write(&new, component_of("guest", &text)?)?;
        std::fs::rename(new, folder.join(self.name()).with_extension("wasm"))?;
        Ok(())
    }
}

/// Fills the folder with the first versions. Their manifests stay.
pub(crate) fn deploy_all(folder: &Path) -> anyhow::Result<()> {
    // Half of a worker's attempts at most, so that jobs for one handler now and then wait for each other.
    let manifest =
        "concurrency = 8\nretry = { policy = \"fixed\", base = \"200ms\" }\n[grants.state.counts]\nmax_keys = 1";
    for handler in Handler::ALL {
        std::fs::write(folder.join(handler.name()).with_extension("toml"), manifest)?;
        handler.deploy(folder, 0)?;
    }
    places::limit(folder)?;
    ticks::deploy(folder)
}
