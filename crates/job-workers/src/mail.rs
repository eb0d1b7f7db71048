//! [`MailWorker`]: sends the mails that wait, some at once, for as long as the process runs.

use std::time::Duration;

use clinics::Post;
use clinics::mail::{LeasedMail, Settled};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Mails that are sent at once.
const AT_ONCE: u16 = 8;
/// Between two looks at an outbox in which nothing was due.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks while the store does not answer.
const OUTAGE_POLL: Duration = Duration::from_secs(5);
/// Between two prunings.
const PRUNE: Duration = Duration::from_hours(1);
/// How long [`MailWorker::stop`] waits for mails that are being sent. What is cut then is sent
/// again when its lease has run out.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// A running worker. Dropped, it ends at once, which is safe: see [`clinics::mail`].
#[derive(Debug)]
pub struct MailWorker {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl MailWorker {
    /// Starts on the present runtime. Nothing is refused here: a store or a mail server that does
    /// not answer is asked again until it does.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn start(post: Post) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(work(post, stopped));
        Self { stop, task }
    }

    /// Leases nothing more, and waits for what is being sent.
    pub async fn stop(mut self) {
        // An error means that it has ended already.
        let _ = self.stop.send(true);
        if timeout(STOP_WITHIN, &mut self.task).await.is_err() {
            tracing::warn!("mails were cut: they are sent again");
        }
    }
}

impl Drop for MailWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(post: Post, mut stopped: watch::Receiver<bool>) {
    let mut answers = true;
    // At the first idle look.
    let mut prune_at = Instant::now();
    loop {
        if *stopped.borrow() {
            return;
        }
        let pause = match post.lease(AT_ONCE).await {
            Ok(mails) => {
                if !answers {
                    answers = true;
                    tracing::info!("mails are leased again");
                }
                let full = mails.len() >= usize::from(AT_ONCE);
                send_all(&post, mails).await;
                if full {
                    continue;
                }
                POLL
            }
            Err(error) => {
                if answers {
                    answers = false;
                    tracing::warn!(error = %error, "mails cannot be leased: trying again");
                }
                OUTAGE_POLL
            }
        };
        if answers && prune_at <= Instant::now() {
            prune_at = Instant::now() + PRUNE;
            if let Err(error) = post.prune().await {
                tracing::warn!(error = %error, "old mails were not pruned");
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = sleep(pause) => {}
        }
    }
}

async fn send_all(post: &Post, mails: Vec<LeasedMail>) {
    let mut sending = JoinSet::new();
    for mail in mails {
        let post = post.clone();
        sending.spawn(async move { send(&post, mail).await });
    }
    // One that panicked is told by the panic's own line, and sent again.
    while sending.join_next().await.is_some() {}
}

async fn send(post: &Post, mail: LeasedMail) {
    let (kind, attempt) = (mail.kind.name(), mail.attempt);
    match post.deliver(mail).await {
        Ok(Some(Settled::Done(None))) => {
            tracing::info!(operation = kind, attempt, "a mail was sent");
        }
        Ok(Some(Settled::Done(Some(code)))) => {
            tracing::info!(
                operation = kind,
                attempt,
                code,
                "a mail was not needed any more"
            );
        }
        Ok(Some(Settled::RetryAt(_, code))) => {
            tracing::warn!(
                operation = kind,
                attempt,
                code,
                "a mail failed and is tried again"
            );
        }
        Ok(Some(Settled::Dead(code))) => {
            tracing::error!(
                operation = kind,
                attempt,
                code,
                "a mail failed for good and stays unsent"
            );
        }
        Ok(None) => tracing::warn!(operation = kind, attempt, "a mail's lease was lost"),
        Err(error) => {
            tracing::warn!(operation = kind, attempt, error = %error, "a mail could not be noted");
        }
    }
}
