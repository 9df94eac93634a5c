//! How deep the jobs that come after a job may stand in one another.

/// Most levels: a callback that belongs to a batch with a callback, and so on. Each level is read again as a whole, and by a
/// function within that of the level around it.
pub const MAX_NESTED_JOBS: u32 = 16;

/// A level.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nesting(u32);

impl Nesting {
    /// The level below.
    ///
    /// # Errors
    /// When it is too deep.
    pub(super) fn deeper(self) -> Result<Self, String> {
        if self.0 >= MAX_NESTED_JOBS {
            return Err(format!(
                "jobs that come after one another are nested more than {MAX_NESTED_JOBS} deep"
            ));
        }
        Ok(Self(self.0 + 1))
    }
}
