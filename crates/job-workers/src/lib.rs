//! The side that time and events call: leases the jobs that are due and runs each through the
//! domain services, as the HTTP side runs requests.
//!
//! A job is a row of its clinic, enqueued in the transaction of its cause. [`Workers`] lease
//! such rows through [`kernel::job::JobLeases`], take turns between clinics, and hand each to the
//! [`JobHandler`] of its kind. What never happens:
//!
//! * A job that succeeded is never run again: the success is written by the effect's own
//!   transaction, together with the proof of the lease, so that either both stand or none does.
//! * A job is never lost. A worker that dies leaves a lease that runs out; whoever leases next
//!   takes the job. A job that cannot be run ends as a dead letter with a stable code.
//! * One job never stops another: panics and endless waits are failed attempts of their own job.
//! * No failure loops hotly: each is tried again after a [`BackOff`] that is kept in the row.
//! * Nothing of a job's content, and no error's own text, is logged: only ids, kinds and codes.
//!
//! ```
//! # use std::sync::Arc;
//! # use job_workers::{Handlers, JobPorts, WakeSignal, Workers, WorkerSettings};
//! # use job_workers::webhook::ProcessChange;
//! # fn wire(ports: JobPorts, processing: conversations::ChangeProcessing, signal: WakeSignal) {
//! let handlers = Handlers::new().with(ProcessChange::new(processing));
//! let workers = Workers::start(ports, handlers, WorkerSettings::default(), signal);
//! # }
//! ```

#![warn(missing_docs)]

pub mod attempt;
pub mod back_off;
pub mod handler;
mod held;
pub mod mail;
mod outage;
mod queue;
pub mod settings;
pub mod signal;
pub mod webhook;
pub mod workers;

pub use back_off::BackOff;
pub use handler::{Handlers, JobError, JobHandler};
pub use mail::MailWorker;
pub use settings::{QueueSettings, WorkerSettings};
pub use signal::WakeSignal;
pub use workers::{JobPorts, Workers};
