//! How late a worker's event loop is: the one sign that its processor has more to do than it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::Limits;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How often the gauges are told, in looks.
const TOLD: u32 = 20;

/// Watches the worker that calls this, for as long as it runs. `number` counts the workers.
pub(crate) fn watch(limits: &Arc<Limits>, number: &AtomicU16) {
    let worker = number.fetch_add(1, Ordering::Relaxed);
    // Not held: the watch ends with the application, not the other way round.
    let limits = Arc::downgrade(limits);
    actix_web::rt::spawn(async move {
        let mut looks = 0_u32;
        loop {
            let began = Instant::now();
            actix_web::rt::time::sleep(EVERY).await;
            let lag = began.elapsed().saturating_sub(EVERY);
            let Some(limits) = limits.upgrade() else {
                return;
            };
            limits.admission().note_lag(worker, lag);
            limits.measure_lag(worker, lag);
            looks = looks.wrapping_add(1);
            if worker == 0 && looks.is_multiple_of(TOLD) {
                limits.measure();
            }
        }
    });
}
