//! The threads that decode: a fixed few, each with the memory it needs again and again. (A pool
//! that grows gives every new thread a heap of its own, and each of them keeps what it freed.)

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end with the last of the handles.
#[derive(Debug)]
pub(crate) struct Threads {
    jobs: mpsc::Sender<Job>,
    free: Arc<Semaphore>,
}

/// A thread that is free for one job.
pub(crate) struct Thread<'a> {
    jobs: &'a mpsc::Sender<Job>,
    permit: OwnedSemaphorePermit,
}

impl Threads {
    /// Starts `count` threads, one at least.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..count {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("decode {number}"));
            thread.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            })?;
        }
        Ok(Self {
            jobs,
            free: Arc::new(Semaphore::new(count)),
        })
    }

    /// Waits for a thread; first come, first served.
    pub(crate) async fn one(&self) -> Thread<'_> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Thread {
            jobs: &self.jobs,
            permit: permit.expect("bug: the semaphore is never closed"),
        }
    }
}

impl Thread<'_> {
    /// Runs `work`, which must not panic; the thread is free again when it ends, whether anybody
    /// waits for the answer or not.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let permit = self.permit;
        let job = move || {
            let done = work();
            drop(permit);
            // Nobody waits any more where the record was given up.
            let _ = answer.send(done);
        };
        self.jobs.send(Box::new(job)).ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn any_number_of_jobs_runs_on_the_same_few_threads() {
        let threads = Arc::new(Threads::start(2).expect("threads"));
        let mut jobs = tokio::task::JoinSet::new();
        for number in 0..50 {
            let threads = Arc::clone(&threads);
            jobs.spawn(async move {
                let thread = threads.one().await;
                let name = || std::thread::current().name().map(str::to_owned);
                thread.run(move || (number, name())).await.expect("done")
            });
        }
        let done = jobs.join_all().await;
        let names: BTreeSet<_> = done.iter().map(|(_, name)| name.clone()).collect();
        let numbers: BTreeSet<_> = done.iter().map(|(number, _)| *number).collect();
        assert!(names.len() <= 2, "{names:?}");
        assert_eq!(numbers, (0..50).collect());
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_frees_its_thread_when_it_ends() {
        let threads = Threads::start(1).expect("a thread");
        let (go, gone) = mpsc::channel::<()>();
        let given_up = threads.one().await.run(move || gone.recv().is_ok());
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, given_up)
                .await
                .is_err()
        );
        assert_eq!(threads.free.available_permits(), 0);
        go.send(()).expect("it runs");
        assert_eq!(threads.one().await.run(|| 7).await, Some(7));
    }
}
