//! A real generator that is slower than it is.

use std::{sync::Arc, time::Duration};

use vila2_actors::{
    annotation::ModelFacts,
    error::ModelError,
    image::Image,
    pipeline::Ports,
    ports::{Footprint, Generated, Generator, Load, Prompt, RequestId},
};

/// Takes `each` more for every answer it gives, however many run at the same time.
struct Slowed {
    model: Box<dyn Generator>,
    each: Duration,
}

/// Slows every generator of a service down.
pub fn slow_down(ports: &mut Ports, each: Duration) {
    for load in ports.generators.values_mut() {
        let fast: Load<dyn Generator> = Arc::clone(load);
        *load = Arc::new(move || {
            let model = fast()?;
            Ok(Box::new(Slowed { model, each }))
        });
    }
}

impl Generator for Slowed {
    fn free_slots(&self) -> usize {
        self.model.free_slots()
    }

    fn announce(&mut self, image: &Arc<Image>) {
        self.model.announce(image);
    }

    fn admit(
        &mut self,
        request: RequestId,
        image: Arc<Image>,
        prompt: &Prompt,
    ) -> Result<(), ModelError> {
        self.model.admit(request, image, prompt)
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        let ended = self.model.step()?;
        for _ in &ended {
            std::thread::sleep(self.each);
        }
        Ok(ended)
    }

    fn cancel(&mut self, request: RequestId) {
        self.model.cancel(request);
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        self.model.self_check()
    }

    fn facts(&self) -> ModelFacts {
        self.model.facts()
    }

    fn footprint(&self) -> Footprint {
        self.model.footprint()
    }
}
