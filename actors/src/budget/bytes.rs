//! Image bytes: one limit, two ordered pools.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::error::FetchError;

/// The `image_bytes` gate: how many bytes of bodies and pixels may be alive at once.
///
/// Inside the one limit there are two ordered pools, so that waiting can never close a circle:
///
/// - **bodies** take at most a quarter. Who waits for room for a body holds nothing. A quarter of
///   that quarter is kept for bodies that turn out larger than expected: they grow at once or are
///   given up and asked for again, and never wait with a response open.
/// - **pixels** take the rest. Who waits for them holds a body; who holds them waits for nothing, so
///   they come back.
///
/// What is larger than its pool goes when it is alone in it. While such a picture waits, no further
/// body is let in, and smaller pictures pass it, until the bodies before it are gone.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    shared: Arc<Bytes>,
}

#[derive(Debug)]
struct Bytes {
    limit: u64,
    pools: Mutex<Pools>,
    bodies: Queue,
    pixels: Queue,
    /// Pictures larger than the pool of pixels.
    oversize: Queue,
}

/// Whoever has the turn is next: large ones are not overtaken for ever by small ones.
#[derive(Debug, Default)]
struct Queue {
    turn: tokio::sync::Mutex<()>,
    returned: Notify,
}

#[derive(Debug, Default)]
struct Pools {
    /// Taken out of the limit for good.
    aside: u64,
    bodies: u64,
    pixels: u64,
    /// Most that was ever out.
    most: u64,
    /// Oversize pictures that wait, and the bodies they hold.
    oversize: usize,
    oversize_bodies: u64,
}

impl Pools {
    fn used(&self) -> u64 {
        self.bodies + self.pixels
    }
}

/// How the limit is shared out.
#[derive(Debug, Clone, Copy)]
struct Shares {
    whole: u64,
    bodies: u64,
    pixels: u64,
    /// What bodies may take before they are read.
    first: u64,
}

impl Shares {
    fn of(whole: u64) -> Self {
        let bodies = whole / 4;
        Self {
            whole,
            bodies,
            pixels: whole - bodies,
            first: bodies - bodies / 4,
        }
    }
}

impl ByteBudget {
    /// A gate for `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            shared: Arc::new(Bytes {
                limit,
                pools: Mutex::default(),
                bodies: Queue::default(),
                pixels: Queue::default(),
                oversize: Queue::default(),
            }),
        }
    }

    /// Bytes that are out now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.pools().used()
    }

    /// The most bytes that were ever out.
    #[must_use]
    pub fn most_used(&self) -> u64 {
        self.shared.pools().most
    }

    /// Takes `bytes` out of the limit for good, for what models hold whatever is in flight.
    pub(crate) fn set_aside(&self, bytes: u64) {
        self.shared.pools().aside = bytes.min(self.shared.limit);
    }

    /// Credit for one image, empty until [`ImageCredit::reserve`].
    #[must_use]
    pub fn credit(&self) -> ImageCredit {
        ImageCredit {
            shared: Arc::clone(&self.shared),
            held: 0,
            pixels: 0,
            waited: Duration::ZERO,
        }
    }
}

impl Bytes {
    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares(&self) -> Shares {
        Shares::of(self.limit - self.pools().aside)
    }

    /// Changes the pools if `fits` allows it.
    fn try_change(
        &self,
        fits: impl FnOnce(&Pools, Shares) -> bool,
        change: impl FnOnce(&mut Pools),
    ) -> bool {
        let mut pools = self.pools();
        let shares = Shares::of(self.limit - pools.aside);
        let fits = fits(&pools, shares);
        if fits {
            let before = pools.used();
            change(&mut pools);
            pools.most = pools.most.max(pools.used());
            let less = pools.used() < before;
            drop(pools);
            if less {
                self.returned();
            }
        }
        fits
    }

    /// Something may fit now that did not. `notify_one` keeps a permit where nobody waits yet: no
    /// return is missed.
    fn returned(&self) {
        for queue in [&self.bodies, &self.pixels, &self.oversize] {
            queue.returned.notify_one();
        }
    }

    /// Waits for the turn in a queue, then until `fits` allows the change.
    async fn change_in_turn(
        &self,
        queue: &Queue,
        fits: impl Fn(&Pools, Shares) -> bool,
        change: impl Fn(&mut Pools),
    ) {
        let _turn = queue.turn.lock().await;
        while !self.try_change(&fits, &change) {
            queue.returned.notified().await;
        }
    }

    fn too_large(&self, bytes: u64) -> Result<(), FetchError> {
        let limit = self.shares().whole;
        if bytes > limit {
            return Err(FetchError::TooLarge { got: bytes, limit });
        }
        Ok(())
    }
}

/// Credit for one image's bytes: first those of its body, then those of its pixels. What is held
/// goes back on drop.
#[derive(Debug)]
pub struct ImageCredit {
    shared: Arc<Bytes>,
    /// Bytes of the body.
    held: u64,
    pixels: u64,
    waited: Duration,
}

impl ImageCredit {
    /// Takes credit for a body of `bytes` bytes, waiting for room. Where some is held already, that
    /// is [`ImageCredit::resize`], which does not wait.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`] where one image would exceed the whole budget; as `resize`.
    pub async fn reserve(&mut self, bytes: u64) -> Result<(), FetchError> {
        if self.held > 0 {
            return self.resize(bytes);
        }
        self.shared.too_large(bytes)?;
        let started = Instant::now();
        let fits = |pools: &Pools, shares: Shares| {
            let pool = pools.bodies == 0 || pools.bodies + bytes <= shares.first;
            pool && pools.oversize == 0 && pools.used() + bytes <= shares.whole
        };
        let change = |pools: &mut Pools| pools.bodies += bytes;
        let shared = Arc::clone(&self.shared);
        shared.change_in_turn(&shared.bodies, fits, change).await;
        self.held = bytes;
        self.waited += started.elapsed();
        Ok(())
    }

    /// Takes credit for a body whose size is not known yet, waiting for room: `expected` bytes, less
    /// where the budget is small. Does nothing where some is held already.
    pub async fn reserve_expected(&mut self, expected: u64) {
        if self.held == 0 {
            let first = expected.min(self.shared.shares().first / 8).max(1);
            // A part of the budget is never more than all of it.
            let _ = self.reserve(first).await;
        }
    }

    /// Replaces what is held for the body, without waiting.
    ///
    /// # Errors
    /// [`FetchError::NoRoom`] where it does not fit now: let go of the response,
    /// [`ImageCredit::release`], reserve the whole and ask again. [`FetchError::TooLarge`] where one
    /// image would exceed the whole budget. What was held stays.
    pub fn resize(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.shared.too_large(bytes)?;
        let held = self.held;
        let fits = |pools: &Pools, shares: Shares| {
            let others = pools.bodies - held;
            let pool = others == 0 || others + bytes <= shares.bodies;
            bytes <= held || (pool && pools.used() - held + bytes <= shares.whole)
        };
        let change = |pools: &mut Pools| pools.bodies = pools.bodies - held + bytes;
        if !self.shared.try_change(fits, change) {
            return Err(FetchError::NoRoom { bytes });
        }
        self.held = bytes;
        Ok(())
    }

    /// Takes credit for the pixels of the body that is held, waiting for room.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`] where body and pixels together would exceed the whole budget.
    pub(crate) async fn reserve_pixels(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.shared.too_large(self.held.saturating_add(bytes))?;
        let shared = Arc::clone(&self.shared);
        let started = Instant::now();
        let shares = shared.shares();
        let change = |pools: &mut Pools| pools.pixels += bytes;
        if bytes <= shares.pixels {
            let fits = |pools: &Pools, shares: Shares| {
                pools.pixels + bytes <= shares.pixels && pools.used() + bytes <= shares.whole
            };
            shared.change_in_turn(&shared.pixels, fits, change).await;
        } else {
            let _waits = Oversize::waits(&shared, self.held);
            // Bodies of others as large can leave only after this one: the last resort is to go
            // with them in memory.
            let fits = |pools: &Pools, shares: Shares| {
                let stuck = pools.bodies == pools.oversize_bodies;
                pools.pixels == 0 && (stuck || pools.used() + bytes <= shares.whole)
            };
            shared.change_in_turn(&shared.oversize, fits, change).await;
        }
        self.pixels = bytes;
        self.waited += started.elapsed();
        Ok(())
    }

    /// The body is decoded: its credit goes back, and `bytes` are held for the pixels.
    pub(crate) fn keep_pixels(&mut self, bytes: u64) {
        let (held, pixels) = (self.held, self.pixels);
        let change = |pools: &mut Pools| {
            pools.bodies -= held;
            pools.pixels = pools.pixels - pixels + bytes;
        };
        // They are there already, whatever was claimed.
        self.shared.try_change(|_, _| true, change);
        (self.held, self.pixels) = (0, bytes);
    }

    /// Gives everything back.
    pub fn release(&mut self) {
        self.keep_pixels(0);
    }

    /// Bytes held now for the body.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// What one image may hold at most.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.shared.shares().whole
    }

    /// How long reservations waited for room, in all.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Credit out of a budget of its own, so that it never waits and admits up to `limit` bytes:
    /// for tests of fetchers.
    #[must_use]
    pub fn unlimited(limit: u64) -> Self {
        ByteBudget::new(limit).credit()
    }
}

impl Drop for ImageCredit {
    fn drop(&mut self) {
        self.release();
    }
}

/// An oversize picture that waits, for as long as this lives.
struct Oversize<'a> {
    shared: &'a Bytes,
    body: u64,
}

impl<'a> Oversize<'a> {
    fn waits(shared: &'a Bytes, body: u64) -> Self {
        let mut pools = shared.pools();
        pools.oversize += 1;
        pools.oversize_bodies += body;
        drop(pools);
        // What waits before it may be all that is left.
        shared.returned();
        Self { shared, body }
    }
}

impl Drop for Oversize<'_> {
    fn drop(&mut self) {
        let mut pools = self.shared.pools();
        pools.oversize -= 1;
        pools.oversize_bodies -= self.body;
        drop(pools);
        self.shared.returned();
    }
}
