//! Tiles cut ahead of time on other threads, so that the engine's thread has the model to itself.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, Sender, channel},
    },
};

use vila2_actors::{
    error::ModelError,
    image::{Image, ImageId},
};

use super::{Cut, Tiles};

/// What became of the tiles of a picture.
type Tiled = Result<Tiles, ModelError>;

/// Tiles of the pictures whose turn comes next, by picture, kept no longer than the picture.
#[derive(Debug)]
pub(super) struct TilesAhead {
    cutter: Arc<dyn Cut>,
    /// How many pictures may be cut or lie cut at the same time: their tiles are many times as
    /// large as they are.
    most: usize,
    sender: Sender<(ImageId, Tiled)>,
    receiver: Receiver<(ImageId, Tiled)>,
    /// `None` while they are being cut.
    by_image: HashMap<ImageId, (Weak<Image>, Option<Tiled>)>,
}

impl TilesAhead {
    pub(super) fn new(cutter: Arc<dyn Cut>, most: usize) -> Self {
        let (sender, receiver) = channel();
        Self {
            cutter,
            most,
            sender,
            receiver,
            by_image: HashMap::new(),
        }
    }

    /// Begins to cut a picture, unless that was begun before or there is no room for its tiles.
    pub(super) fn begin(&mut self, image: &Arc<Image>) {
        if self.by_image.len() < self.most {
            self.cut(image);
        }
    }

    fn cut(&mut self, image: &Arc<Image>) {
        if self.by_image.contains_key(&image.id()) {
            return;
        }
        self.by_image
            .insert(image.id(), (Arc::downgrade(image), None));
        let (cutter, sender) = (Arc::clone(&self.cutter), self.sender.clone());
        let image = Arc::clone(image);
        rayon::spawn(move || {
            let tiles = catch_unwind(AssertUnwindSafe(|| cutter.tiles(&image)))
                .map_err(|_| ModelError::Run("cutting the picture into tiles panicked".to_owned()));
            // Nobody listens any more where the model has gone.
            let _ = sender.send((image.id(), tiles));
        });
    }

    /// Takes in what is done, lets go of pictures that nobody holds any more.
    pub(super) fn collect(&mut self) {
        while let Ok((id, cut)) = self.receiver.try_recv() {
            self.keep(id, cut);
        }
        self.by_image
            .retain(|_, (image, _)| image.strong_count() > 0);
    }

    /// Whether [`TilesAhead::take`] would give tiles at once.
    pub(super) fn ready(&self, image: &Image) -> bool {
        (self.by_image.get(&image.id())).is_some_and(|(_, cut)| cut.is_some())
    }

    /// The tiles of a picture; waits for them. One that was not begun is cut beyond the room there
    /// is.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the picture cannot be cut.
    pub(super) fn take(&mut self, image: &Arc<Image>) -> Tiled {
        self.cut(image);
        loop {
            if self.ready(image)
                && let Some((_, Some(cut))) = self.by_image.remove(&image.id())
            {
                return cut;
            }
            let (id, cut) = (self.receiver.recv()).expect("bug: a sender is held here");
            self.keep(id, cut);
        }
    }

    fn keep(&mut self, id: ImageId, cut: Tiled) {
        if let Some((_, kept)) = self.by_image.get_mut(&id) {
            *kept = Some(cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::smolvlm::Preprocess;

    #[test]
    fn no_more_pictures_are_cut_ahead_than_there_is_room_for() {
        let config = json!({
            "size": { "longest_edge": 16 },
            "max_image_size": { "longest_edge": 8 },
        });
        let preprocess = Preprocess::read(&config).expect("right");
        assert_eq!(preprocess.most_tiles(), 5);
        assert_eq!(preprocess.most_bytes(), 5 * 3 * 64 * 4 + 2 * 3 * 256);
        let mut ahead = TilesAhead::new(Arc::new(preprocess), 2);
        let image = || Image::new(4, 4, vec![0; 48].into(), (4, 4));
        let images: Vec<_> = (0..4).map(|_| image()).collect();
        images.iter().for_each(|image| ahead.begin(image));
        assert_eq!(ahead.by_image.len(), 2);
        // One that was not begun is cut all the same when its turn comes.
        assert_eq!(ahead.take(&images[3]).expect("cut").count, 5);
        assert_eq!(ahead.take(&images[0]).expect("cut").count, 5);
        ahead.begin(&images[2]);
        assert_eq!(ahead.by_image.len(), 2);
    }
}
