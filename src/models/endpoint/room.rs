//! The bytes that bodies of requests may take, so that pictures under way are bounded like all
//! others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vila2_actors::image::Image;

use super::settings::EndpointSettings;

/// Bytes of one permit.
const UNIT: u64 = 1 << 10;
/// The most bytes that a pixel takes while a body is written: as JPEG (noise at this quality stays
/// below 3), and that again in base64.
const PER_PIXEL: u64 = 7;
/// What a body holds beside its picture, and the smallest picture's own header.
const BESIDE: u64 = 16 << 10;

/// Room for bodies. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    units: u32,
}

/// Room that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken(Option<OwnedSemaphorePermit>);

impl Room {
    pub(super) fn new(settings: &EndpointSettings) -> Self {
        let bytes = settings.room.max(most(settings.most_pixels));
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        // A semaphore holds fewer permits than 32 bits count on 32-bit machines only.
        let free = (units as usize).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(free)),
            units,
        }
    }

    /// All of it, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// Waits for what a picture may take at most; one that may take more than all goes alone.
    pub(super) async fn take(&self, image: &Image) -> Taken {
        let bytes = most(u64::from(image.width) * u64::from(image.height));
        let units = units(bytes).min(self.units);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Taken(permit.ok()) // it is never closed
    }
}

impl Taken {
    /// Gives back what a body of so many bytes does not need.
    pub(super) fn keep(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let needed = units(bytes as u64) as usize;
            let spare = permit.num_permits().saturating_sub(needed);
            drop(permit.split(spare));
        }
    }
}

fn most(pixels: u64) -> u64 {
    pixels * PER_PIXEL + BESIDE
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use url::Url;

    use super::*;

    #[tokio::test]
    async fn pictures_wait_for_room_and_give_back_what_they_do_not_need() {
        let url = Url::parse("http://localhost").expect("a URL");
        let mut settings = EndpointSettings::new(url, "m");
        (settings.room, settings.most_pixels) = (0, 100 * 100);
        let room = Room::new(&settings);
        let image = Image::new(100, 100, Bytes::from(vec![0; 30_000]), (100, 100));
        let mut first = room.take(&image).await;
        assert!(
            room.take(&image).now_or_never().is_none(),
            "one at a time is what fits"
        );
        first.keep(20_000);
        let small = Image::new(10, 10, Bytes::from(vec![0; 300]), (10, 10));
        let _small = room.take(&small).await;
        drop(first);
        let huge = Image::new(500, 100, Bytes::from(vec![0; 150_000]), (500, 100));
        drop(_small);
        let _alone = room.take(&huge).await;
    }

    use futures_util::FutureExt as _;
}
