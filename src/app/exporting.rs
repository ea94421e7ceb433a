//! Where an export has its pictures from that are neither files nor in tars.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Error, fetcher};
use crate::{
    config::{Config, Layers},
    export::Fetching,
};

/// Fetching as configured.
///
/// # Errors
/// Every fault of the settings.
pub fn fetching(config: &Config, layers: &Layers, handle: Handle) -> Result<Fetching, Error> {
    Ok(Fetching {
        fetcher: Arc::new(fetcher(config, layers)?),
        max_bytes: config.fetch.max_bytes,
        retries: config.fetch.retries,
        handle,
    })
}
