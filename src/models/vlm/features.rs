//! Vision features of the images in flight, computed once for all their prompts.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use vila2_actors::image::{Image, ImageId};

/// Features of one image, all its tiles: f32 `[tiles × tokens, hidden]`.
#[derive(Debug)]
pub struct Features(pub Vec<f32>);

/// Features by image, kept no longer than the image itself.
#[derive(Debug, Default)]
pub(super) struct FeatureCache {
    by_image: HashMap<ImageId, (Weak<Image>, Arc<Features>)>,
}

impl FeatureCache {
    /// The features of an image, where they are known.
    pub(super) fn get(&self, id: ImageId) -> Option<Arc<Features>> {
        self.by_image
            .get(&id)
            .map(|(_, features)| Arc::clone(features))
    }

    /// Keeps the features of an image.
    pub(super) fn insert(&mut self, image: &Arc<Image>, features: Features) {
        self.by_image
            .insert(image.id(), (Arc::downgrade(image), Arc::new(features)));
    }

    /// Lets go of the features of images that nobody holds any more.
    pub(super) fn forget_dropped(&mut self) {
        self.by_image
            .retain(|_, (image, _)| image.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_go_with_their_image() {
        let image = Image::new(1, 1, vec![0; 3].into(), (1, 1));
        let mut cache = FeatureCache::default();
        cache.insert(&image, Features(vec![1.0]));
        cache.forget_dropped();
        assert!(cache.get(image.id()).is_some());
        let id = image.id();
        drop(image);
        cache.forget_dropped();
        assert!(cache.get(id).is_none());
    }
}
