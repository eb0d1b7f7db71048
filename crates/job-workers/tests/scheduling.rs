//! When jobs are leased, run, tried again and given up: on ports in memory and a clock that only
//! goes on when nothing is left to do. What PostgreSQL adds is tested on PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fakes;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fakes::{Does, Lines, Process, State};
use job_workers::JobError;
use kernel::job::{FailureCode, Queue};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const AT_ONCE: Does = Does::Succeeds {
    after: Duration::ZERO,
};

#[tokio::test(start_paused = true)]
async fn a_wake_up_starts_a_job_without_waiting_for_a_poll() {
    let mut process = Process::new();
    process.kind("good", AT_ONCE);
    let _workers = process.start();
    sleep(5 * SECOND).await;
    let job = process.jobs.add("good");
    process.signal.wake(Queue::Message);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(process.jobs.job(job).state, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nobody_announced_is_found_within_a_second() {
    let mut process = Process::new();
    process.kind("good", AT_ONCE);
    let _workers = process.start();
    sleep(30 * SECOND).await;
    let job = process.jobs.add("good");
    sleep(SECOND + Duration::from_millis(10)).await;
    assert_eq!(process.jobs.job(job).state, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_is_looked_at_once_a_second() {
    let process = Process::new();
    let _workers = process.start();
    sleep(3 * SECOND).await;
    let before = process.jobs.leased_times.load(Ordering::SeqCst);
    sleep(100 * SECOND).await;
    let looks = process.jobs.leased_times.load(Ordering::SeqCst) - before;
    assert!((99..=112).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn wake_ups_in_a_storm_share_looks() {
    let process = Process::new();
    let _workers = process.start();
    for _ in 0..1_000 {
        process.signal.wake(Queue::Message);
        sleep(Duration::from_millis(1)).await;
    }
    let looks = process.jobs.leased_times.load(Ordering::SeqCst);
    assert!((100..=350).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_run_at_once_than_the_queue_allows_and_all_get_done() {
    let mut process = Process::new();
    let seen = process.kind("good", Does::Succeeds { after: SECOND });
    for _ in 0..95 {
        process.jobs.add("good");
    }
    let _workers = process.start();
    sleep(Duration::from_millis(10_100)).await;
    assert_eq!(seen.most_at_once.load(Ordering::SeqCst), 10);
    assert_eq!(process.jobs.count(State::Completed), 95);
    assert_eq!(seen.runs(), 95);
}

#[tokio::test(start_paused = true)]
async fn a_failing_job_waits_twice_as_long_each_time_and_ends_as_a_dead_letter() {
    let mut process = Process::new();
    let error = JobError::Transient(FailureCode("provider_away"));
    let seen = process.kind("bad", Does::Fails(error));
    let job = process.jobs.add("bad");
    let _workers = process.start();
    sleep(300 * SECOND).await;
    let job = process.jobs.job(job);
    assert_eq!(job.state, State::Dead);
    assert_eq!(seen.runs(), 8);
    assert_eq!(job.codes, ["provider_away"; 8]);
    assert_eq!(job.waits.len(), 7);
    for (nth, wait) in job.waits.iter().enumerate() {
        let plain = SECOND * 2_u32.pow(u32::try_from(nth).unwrap());
        assert!((plain..=plain * 5 / 4).contains(wait), "{nth}: {wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_never_passes_is_a_dead_letter_at_once() {
    let mut process = Process::new();
    let error = JobError::Permanent(FailureCode("change_missing"));
    let seen = process.kind("bad", Does::Fails(error));
    let job = process.jobs.add("bad");
    let _workers = process.start();
    sleep(60 * SECOND).await;
    assert_eq!(process.jobs.job(job).state, State::Dead);
    assert_eq!(process.jobs.job(job).codes, ["change_missing"]);
    assert_eq!(seen.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_stops_no_other_job() {
    let mut process = Process::new();
    process.kind("good", AT_ONCE);
    let bad = process.kind("bad", Does::Panics);
    let poisoned: Vec<_> = (0..20).map(|_| process.jobs.add("bad")).collect();
    for _ in 0..20 {
        process.jobs.add("good");
    }
    let _workers = process.start();
    sleep(SECOND / 2).await;
    assert_eq!(process.jobs.count(State::Completed), 20);
    sleep(300 * SECOND).await;
    for job in poisoned {
        assert_eq!(process.jobs.job(job).state, State::Dead);
        assert_eq!(process.jobs.job(job).codes, ["panicked"; 8]);
    }
    assert_eq!(bad.runs(), 160);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kind_or_version_is_left_to_others_for_a_while_and_then_a_dead_letter() {
    let mut process = Process::new();
    let seen = process.kind("good", AT_ONCE);
    let kind = process.jobs.add("of.tomorrow");
    let version = process.jobs.add("good");
    process.jobs.change(version, |job| job.version = 2);
    let _workers = process.start();
    sleep(SECOND / 2).await;
    assert_eq!(process.jobs.job(kind).state, State::Waiting);
    sleep(300 * SECOND).await;
    assert_eq!(process.jobs.job(kind).state, State::Dead);
    assert_eq!(process.jobs.job(kind).codes, ["unknown_kind"; 8]);
    assert_eq!(process.jobs.job(version).state, State::Dead);
    assert_eq!(process.jobs.job(version).codes, ["unknown_version"; 8]);
    assert_eq!(seen.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_kills_its_workers_is_not_run_beyond_its_attempts() {
    let mut process = Process::new();
    let seen = process.kind("deadly", AT_ONCE);
    let job = process.jobs.add("deadly");
    process.jobs.change(job, |job| job.attempts = 8);
    let _workers = process.start();
    sleep(SECOND).await;
    assert_eq!(seen.runs(), 0);
    assert_eq!(process.jobs.job(job).state, State::Dead);
    assert_eq!(process.jobs.job(job).codes, ["attempts_exhausted"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_end_is_cut_and_counts_as_failed() {
    let mut process = Process::new();
    process.kind("hangs", Does::NeverEnds);
    let job = process.jobs.add("hangs");
    let _workers = process.start();
    sleep(119 * SECOND).await;
    assert!(matches!(process.jobs.job(job).state, State::Leased { .. }));
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(process.jobs.job(job).codes, ["timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn contention_is_tried_again_at_once_within_the_same_attempt() {
    let mut process = Process::new();
    let contended = JobError::Contended(FailureCode("store_contention"));
    let seen = process.kind("busy", Does::FailsAtFirst(3, contended));
    let job = process.jobs.add("busy");
    let _workers = process.start();
    sleep(SECOND / 4).await;
    assert_eq!(seen.runs(), 4);
    assert_eq!(process.jobs.job(job).state, State::Completed);
    assert_eq!(process.jobs.job(job).attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn lasting_contention_is_a_failed_attempt() {
    let mut process = Process::new();
    let contended = JobError::Contended(FailureCode("store_contention"));
    let seen = process.kind("busy", Does::Fails(contended));
    let job = process.jobs.add("busy");
    let _workers = process.start();
    sleep(SECOND / 2).await;
    assert_eq!(seen.runs(), 4);
    assert_eq!(process.jobs.job(job).codes, ["store_contention"]);
}

#[tokio::test(start_paused = true)]
async fn a_running_job_keeps_its_lease_and_runs_once() {
    let mut process = Process::new();
    let seen = process.kind(
        "slow",
        Does::Succeeds {
            after: 110 * SECOND,
        },
    );
    let job = process.jobs.add("slow");
    // Two processes on the same queue.
    let _workers = (process.start(), process.start());
    sleep(111 * SECOND).await;
    assert_eq!(process.jobs.job(job).state, State::Completed);
    assert_eq!(seen.runs(), 1);
    assert_eq!(process.jobs.renewed_times.load(Ordering::SeqCst), 10);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told_and_its_effect_does_not_stand() {
    let lines = Lines::default();
    let _listening = tracing::subscriber::set_default(lines.clone());
    let mut process = Process::new();
    let seen = process.kind(
        "slow",
        Does::Succeeds {
            after: 100 * SECOND,
        },
    );
    let job = process.jobs.add("slow");
    let _workers = process.start();
    sleep(SECOND).await;
    // An operator discards it.
    process.jobs.change(job, |job| job.state = State::Dead);
    sleep(50 * SECOND).await;
    assert_eq!(lines.with("a running job lost its lease").len(), 1);
    sleep(60 * SECOND).await;
    assert_eq!(lines.with("its effect does not stand").len(), 1);
    assert_eq!(process.jobs.job(job).state, State::Dead);
    assert_eq!(process.jobs.job(job).codes, [""; 0]);
    assert_eq!(seen.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_when_it_begins_and_once_when_it_ends() {
    let lines = Lines::default();
    let _listening = tracing::subscriber::set_default(lines.clone());
    let mut process = Process::new();
    process.kind("good", AT_ONCE);
    process.jobs.failing.store(20, Ordering::SeqCst);
    let _workers = process.start();
    for _ in 0..60 {
        // Wake-ups do not shorten the waits.
        process.signal.wake(Queue::Message);
        sleep(SECOND).await;
    }
    let looks = process.jobs.leased_times.load(Ordering::SeqCst);
    assert!((10..=18).contains(&looks), "{looks} looks");
    process.jobs.failing.store(0, Ordering::SeqCst);
    let job = process.jobs.add("good");
    sleep(7 * SECOND).await;
    assert_eq!(process.jobs.job(job).state, State::Completed);
    assert_eq!(lines.with("WARN").len(), 1);
    assert_eq!(lines.with("store_unavailable").len(), 1);
    assert_eq!(lines.with("jobs are leased again").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_could_not_be_recorded_at_first_is_recorded_later() {
    let mut process = Process::new();
    process.kind("hangs", Does::NeverEnds);
    process.settings.attempt_timeout = SECOND;
    // With its only slot taken, the queue asks for nothing meanwhile.
    process.settings.queues[0].concurrency = 1;
    let job = process.jobs.add("hangs");
    let _workers = process.start();
    sleep(SECOND / 2).await;
    process.jobs.failing.store(2, Ordering::SeqCst);
    sleep(SECOND).await;
    assert_eq!(process.jobs.failing.load(Ordering::SeqCst), 0);
    assert_eq!(process.jobs.job(job).codes, [""; 0]);
    sleep(SECOND / 2).await;
    assert_eq!(process.jobs.job(job).codes, ["timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_never_recorded_leaves_the_job_to_its_lease() {
    let mut process = Process::new();
    let seen = process.kind("hangs", Does::NeverEnds);
    process.settings.attempt_timeout = SECOND;
    process.settings.queues[0].concurrency = 1;
    let job = process.jobs.add("hangs");
    let _workers = process.start();
    sleep(SECOND / 2).await;
    process.jobs.failing.store(6, Ordering::SeqCst);
    sleep(29 * SECOND).await;
    assert_eq!(process.jobs.job(job).codes, [""; 0]);
    assert_eq!(seen.runs(), 1);
    sleep(3 * SECOND).await;
    assert_eq!(process.jobs.job(job).codes, ["timed_out"]);
    assert_eq!(process.jobs.job(job).attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_leases_nothing_more_and_waits_for_what_runs() {
    let mut process = Process::new();
    let seen = process.kind("slow", Does::Succeeds { after: 5 * SECOND });
    for _ in 0..15 {
        process.jobs.add("slow");
    }
    let workers = process.start();
    sleep(SECOND).await;
    assert_eq!(workers.running(), 10);
    let began = Instant::now();
    assert_eq!(workers.stop().await, 0);
    assert_eq!(began.elapsed().as_secs(), 4);
    assert_eq!(process.jobs.count(State::Completed), 10);
    assert_eq!(process.jobs.count(State::Waiting), 5);
    assert_eq!(seen.runs(), 10);
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_what_does_not_end_in_time_and_others_take_it_up() {
    let mut process = Process::new();
    process.kind("slow", Does::Succeeds { after: 20 * SECOND });
    let job = process.jobs.add("slow");
    let workers = process.start();
    sleep(SECOND).await;
    let began = Instant::now();
    assert_eq!(workers.stop().await, 1);
    assert_eq!(began.elapsed().as_secs(), 8);
    let _others = process.start();
    sleep(60 * SECOND).await;
    assert_eq!(process.jobs.job(job).state, State::Completed);
    assert_eq!(process.jobs.job(job).attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_an_idle_process_takes_no_time_and_neither_does_an_outage() {
    let process = Process::new();
    let workers = process.start();
    sleep(10 * SECOND).await;
    let began = Instant::now();
    assert_eq!(workers.stop().await, 0);
    process.jobs.failing.store(1_000, Ordering::SeqCst);
    let workers = process.start();
    sleep(10 * SECOND).await;
    assert_eq!(workers.stop().await, 0);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_concurrency_is_left_to_others() {
    let mut process = Process::new();
    process.settings.queues[0].concurrency = 0;
    let workers = process.start();
    sleep(10 * SECOND).await;
    assert_eq!(process.jobs.leased_times.load(Ordering::SeqCst), 0);
    assert_eq!(workers.stop().await, 0);
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_one_line_with_its_code_and_nothing_personal() {
    let lines = Lines::default();
    let _listening = tracing::subscriber::set_default(lines.clone());
    let mut process = Process::new();
    process.kind("bad", Does::Panics);
    let job = process.jobs.add("bad");
    process.jobs.change(job, |job| job.max_attempts = 2);
    let unknown = process.jobs.add("Maria da Silva, 11987654321");
    process.jobs.change(unknown, |job| job.max_attempts = 1);
    let _workers = process.start();
    sleep(5 * SECOND).await;
    process.jobs.failing.store(3, Ordering::SeqCst);
    sleep(5 * SECOND).await;
    assert_eq!(lines.with("is tried again").len(), 1);
    assert_eq!(lines.with("code=\"panicked\"").len(), 2);
    assert_eq!(lines.with("code=\"unknown_kind\"").len(), 1);
    assert_eq!(lines.with("stays as a dead letter").len(), 2);
    assert_eq!(lines.with("process message-worker").len(), 3);
    assert_eq!(lines.with("error.type=\"panicked\"").len(), 2);
    for personal in ["Maria", "11987654321"] {
        assert_eq!(lines.with(personal), [""; 0]);
    }
}
