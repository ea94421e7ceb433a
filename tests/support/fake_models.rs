//! Models that answer at once, for tests that are not about models.

use std::{collections::VecDeque, sync::Arc};

use vila2_actors::{
    annotation::{Finish, ModelFacts, Quad, TextLine},
    error::ModelError,
    image::Image,
    ports::{BatchModel, Generated, Generator, Load, Prompt, RequestId, TextReader},
};

/// A generator that says the same of every picture, one step after it was asked.
pub fn generator() -> Load<dyn Generator> {
    Arc::new(|| Ok(Box::new(Sayer(VecDeque::new()))))
}

/// A text reader that reads one word in every picture.
pub fn text_reader() -> Load<TextReader> {
    Arc::new(|| Ok(Box::new(Reader)))
}

struct Sayer(VecDeque<RequestId>);

impl Generator for Sayer {
    fn free_slots(&self) -> usize {
        8 - self.0.len()
    }

    fn admit(&mut self, id: RequestId, _: Arc<Image>, _: &Prompt) -> Result<(), ModelError> {
        self.0.push_back(id);
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        let say = || Generated {
            text: "A red circle [100,100,400,400] and a blue square [500,500,900,900].".into(),
            tokens: 12,
            finish: Finish::Stop,
        };
        Ok(self.0.drain(..).map(|id| (id, Ok(say()))).collect())
    }

    fn cancel(&mut self, id: RequestId) {
        self.0.retain(|running| *running != id);
    }

    fn facts(&self) -> ModelFacts {
        facts("sayer")
    }
}

struct Reader;

impl BatchModel for Reader {
    type Question = Arc<Image>;
    type Answer = Vec<TextLine>;

    fn max_batch(&self) -> usize {
        4
    }

    fn run(
        &mut self,
        batch: &[Arc<Image>],
    ) -> Result<Vec<Result<Vec<TextLine>, ModelError>>, ModelError> {
        let line = TextLine {
            id: "t0".into(),
            text: "OPEN".into(),
            quad: Quad([[1.0, 1.0], [9.0, 1.0], [9.0, 5.0], [1.0, 5.0]]),
            score: 0.9,
        };
        Ok(batch.iter().map(|_| Ok(vec![line.clone()])).collect())
    }

    fn facts(&self) -> ModelFacts {
        facts("reader")
    }
}

fn facts(model: &str) -> ModelFacts {
    ModelFacts {
        model: model.into(),
        revision: "000000000000".into(),
        prompt: None,
    }
}
