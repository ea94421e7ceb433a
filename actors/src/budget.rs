//! The two gates of credit: records at intake, image bytes in fetch.

/// Credit for one image's bytes. [`ImageCredit::reserve`] waits until the budget has room.
#[derive(Debug)]
pub struct ImageCredit {
    limit: u64,
}

impl ImageCredit {
    /// Takes credit for a body of `bytes` bytes, waiting for room. A second call replaces the
    /// first amount without waiting.
    ///
    /// # Errors
    /// [`crate::error::FetchError::TooLarge`] where one image would exceed the whole budget.
    pub async fn reserve(&mut self, bytes: u64) -> Result<(), crate::error::FetchError> {
        if bytes > self.limit {
            return Err(crate::error::FetchError::TooLarge {
                got: bytes,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// Credit that never waits and admits up to `limit` bytes: for tests of fetchers.
    #[must_use]
    pub fn unlimited(limit: u64) -> Self {
        Self { limit }
    }
}
