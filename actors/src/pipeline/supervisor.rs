//! One for all: a bug in a stage restarts every stage. Engines stay loaded, credit and ledger stay.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::{Parts, Stages, stages};
use crate::{
    chain::{Abandoned, Chain},
    delivery::Delivery,
    engine::panicked,
    envelope::Envelope,
    error::Reason,
    intake::{Entry, Intake},
    message::{Admitted, PublishMessage, Rejected},
    ports::Source,
    request,
    stage::Stage,
    stages::pass,
};

/// How long a stage may take to stop: its handler only forwards.
const STOP: Duration = Duration::from_secs(5);

/// The actor that the stages are linked to.
pub(super) struct Supervisor {
    pub(super) chain: Arc<Chain>,
    pub(super) parts: Arc<Parts>,
    pub(super) intake: Intake,
    pub(super) source: Arc<Mutex<Option<Arc<dyn Source>>>>,
}

pub(super) struct State {
    stages: Vec<ActorCell>,
    restarts: VecDeque<Instant>,
}

impl Actor for Supervisor {
    type Msg = Abandoned;
    type State = State;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Abandoned>,
        (): (),
    ) -> Result<State, ActorProcessingErr> {
        self.chain.supervised_by(myself.clone());
        Ok(State {
            stages: self.spawn(&myself).await?,
            restarts: VecDeque::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Abandoned>,
        Abandoned { id, epoch }: Abandoned,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Of an older epoch: a restart or a revocation has answered it already.
        if self.chain.ledger.is_current(&id, epoch) {
            let why = format!("{id} was dropped without an answer");
            self.restart(&myself, state, &why).await;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Abandoned>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                (cell, format!("a stage failed: {error}"))
            }
            SupervisionEvent::ActorTerminated(cell, ..) => (cell, String::from("a stage ended")),
            _ => return Ok(()),
        };
        // What an earlier restart stopped is in the list no more.
        if state
            .stages
            .iter()
            .any(|stage| stage.get_id() == cell.get_id())
        {
            self.restart(&myself, state, &why).await;
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Abandoned>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        self.intake.shut();
        stop(&mut state.stages).await;
        Ok(())
    }
}

impl Supervisor {
    async fn spawn(&self, myself: &ActorRef<Abandoned>) -> Result<Vec<ActorCell>, SpawnErr> {
        let Stages {
            fetch,
            publish,
            cells,
        } = stages(&self.parts, myself).await?;
        let chain = Arc::clone(&self.chain);
        let entry: Entry = Box::new(move |record, epoch, permit| {
            let value = record.value.clone();
            let failed = chain.ledger.attempts(&record.id, Stage::Intake);
            let delivery = Delivery::new(record, epoch, permit, Arc::clone(&chain));
            let rejected = |id, reason, detail: String, attempts| Rejected {
                id,
                stage: Stage::Intake,
                reason,
                detail,
                attempts,
                // No model has seen it this time; restarts have a budget of their own.
                held: false,
            };
            let rejected = match request::parse(value.as_deref()) {
                Err(error) => rejected(None, Reason::BadRequest, error.to_string(), 1),
                Ok(request) if failed >= chain.config.attempts => {
                    let detail = format!("a stage panicked over it {failed} times");
                    rejected(Some(request.id), Reason::ModelFailed, detail, failed)
                }
                Ok(request) => {
                    pass(&fetch, Admitted(Envelope::new(delivery, request)));
                    return;
                }
            };
            let envelope = Envelope::new(delivery, rejected);
            pass(&publish, PublishMessage::Rejected(envelope));
        });
        self.intake.open(entry);
        Ok(cells)
    }

    /// Bumps every epoch, then stops, then starts, then goes back to the watermark.
    async fn restart(&self, myself: &ActorRef<Abandoned>, state: &mut State, why: &str) {
        self.intake.close();
        self.chain.ledger.rewind();
        stop(&mut state.stages).await;
        self.chain.restarted();
        let tolerance = &self.chain.config.tolerance;
        let now = Instant::now();
        state.restarts.push_back(now);
        (state.restarts).retain(|&at| now.duration_since(at) <= tolerance.window);
        if state.restarts.len() > tolerance.restarts {
            let (restarts, window) = (tolerance.restarts, tolerance.window);
            self.chain.fail(format!(
                "more than {restarts} restarts of the chain within {window:?}; the last: {why}"
            ));
            return;
        }
        tracing::error!("restarting the chain: {why}");
        let source = (self.source.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(source) = source
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| source.rewind()))
        {
            let panic = panicked(panic.as_ref());
            self.chain
                .fail(format!("the source cannot go back: {panic}"));
            return;
        }
        match self.spawn(myself).await {
            Ok(stages) => state.stages = stages,
            Err(error) => self.chain.fail(format!("the stages cannot start: {error}")),
        }
    }
}

async fn stop(stages: &mut Vec<ActorCell>) {
    for stage in std::mem::take(stages) {
        // One that failed is gone already.
        drop(stage.stop_and_wait(None, Some(STOP)).await);
    }
}
